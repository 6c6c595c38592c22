"""Lets ``python -m tsne_backends.cli`` do what ``serverless-tsne`` does.

Both call `tsne_backends.cli.main`, where the process begins; the commands are in ``command``.
"""

from tsne_backends.cli import main

if __name__ == "__main__":
    main()
