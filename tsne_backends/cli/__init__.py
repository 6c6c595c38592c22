"""The command ``serverless-tsne``: one module for each command, `main` for all together."""

from tsne_backends.cli.command import main

__all__ = ["main"]
