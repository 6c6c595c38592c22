"""Our own CPU engine: t-SNE on grids of growing spacing, compiled by numba when first used.

The files follow the data: `precision` says whether single precision serves, `features` reads rows
in it, `lists` groups them, `scan` and `candidates` compare them and `search` finds neighbours,
`affinities` turns distances into a sparse P, `order` decides where each row lies in memory and
`layout` lays P out so, `splitting` parts the kernel, `grid` and `convolution` lay out what carries
the parts, `spreading`, `repulsion` and `exact` give the repulsion, `attraction` the attraction and
the step of each point, `schedule` says how often and how far, `engine` runs it all. `jit` compiles
loops, `vectors` are those written in vectors; `threads` shares long work out, and `calls`, `board`
and `crew` what an iteration does; `heap` gives freed memory back between the steps. Nothing
here knows of estimators or backends.
"""
