"""Lets ``python -m tsne_backends.cli`` do what ``serverless-tsne`` does."""

from tsne_backends.cli import main

if __name__ == "__main__":
    main()
