"""The serverless side: a GPU borrowed for the seconds a map takes.

Nothing here is imported by `tsne_backends`.
"""
