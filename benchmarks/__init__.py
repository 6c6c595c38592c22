"""Benchmarks: every comparison of engines in this repository is a table that one of these wrote."""
