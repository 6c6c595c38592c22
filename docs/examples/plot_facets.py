"""
100,000 rows, faceted
=====================

A map of 100,000 rows takes some ten seconds on two cores, and is faceted by what should not matter.
"""

# %%
# Twenty groups of very different sizes in ten dimensions, measured in four batches; the last batch
# lacks some groups.
import numpy as np

from tsne_backends import ServerlessTSNE
from tsne_backends.plot import facets, scatter

ROWS = 100_000
random = np.random.default_rng(0)
centres = random.normal(0, 4, (20, 10))
group = random.choice(20, ROWS, p=random.dirichlet(np.full(20, 2.0)))
X = (centres[group] + random.normal(0, 1, (ROWS, 10))).astype("float32")
batch = np.where(group < 15, random.integers(0, 4, ROWS), random.integers(0, 3, ROWS))

# %%
# ``max_iter="auto"`` is the faster schedule of the native engine.
tsne = ServerlessTSNE(max_iter="auto", random_state=0).fit(X)
print(tsne.plan_.outcome())

# %%
# Twenty names find room on the map; forty colours stay apart.
figure = scatter(tsne.embedding_, [f"group {number}" for number in group], "100,000 rows")
figure

# %%
# One panel per batch over the whole map in grey: the groups that batch 3 lacks stay grey in its
# panel.
by_batch = facets(tsne.embedding_, [f"batch {number}" for number in batch], title="By batch")
by_batch
