"""Our own CPU engine: t-SNE by one real FFT per iteration, compiled by numba when first used.

The files follow the data: `search` finds neighbours, `affinities` turns distances into a sparse P,
`order` decides where each row lies in memory, `attraction`, `grid`, `repulsion` and `exact` give the
forces, `step` moves the points, `schedule` says how often and how far, `engine` runs it all.
Nothing here knows of estimators or backends.
"""
