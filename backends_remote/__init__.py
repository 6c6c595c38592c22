"""The serverless side: a GPU borrowed for the seconds a map takes.

`tsne_backends` knows this package by name only: its registry and its command hold dotted paths,
and import what is behind them when somebody asks for it.
"""
