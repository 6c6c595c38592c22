"""t-SNE on an NVIDIA GPU: neighbours, affinities, repulsion and descent; nothing of backends."""
