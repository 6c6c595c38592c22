"""t-SNE on an NVIDIA GPU: neighbours, affinities, repulsion and descent.

Nothing here is a backend: these are `tsne_backends.backends.cuml` and, for rented GPUs,
`backends_remote`. No module loads a GPU library when it is imported, only when it computes.
"""
