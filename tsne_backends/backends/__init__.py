"""One module per engine, and ``options`` for what several share; none is imported before its use.

The names of the engines and where to find them are in `tsne_backends.registry`, the interface they
implement is in `tsne_backends.backend`. The one for rented GPUs is in `backends_remote`.
"""
