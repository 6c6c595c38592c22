"""One module per engine; none is imported before it is asked for."""
