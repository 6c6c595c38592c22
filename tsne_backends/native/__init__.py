"""Our own CPU engine: t-SNE by one real FFT per iteration, compiled by numba when first used.

The files follow the data: `precision` makes them fit for single precision, `lists` groups the rows
and `search` finds neighbours, `affinities` turns distances into a sparse P, `order` decides where
each row lies in memory, `grid`, `spreading`, `repulsion` and `exact` give the repulsion,
`attraction` the attraction and the step of each point, `schedule` says how often and how far,
`engine` runs it all. Nothing here knows of estimators or backends.
"""
