"""Benchmarks: every speed claim in this repository comes from a table one of these wrote."""
