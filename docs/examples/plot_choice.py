"""
Which engine, and why
=====================

Ask before a fit what each engine would take, and look afterwards what it took.
"""

# %%
# A plan needs the shape of the data only. Nothing is computed; the first plan on a machine measures
# it for a quarter of a second.
from sklearn.datasets import load_digits

from tsne_backends import ServerlessTSNE

ServerlessTSNE().plan(shape=(250_000, 768))

# %%
# After a fit, ``plan_`` is the same table with what the run took below what was expected.
digits = load_digits()
tsne = ServerlessTSNE(random_state=0).fit(digits.data)
tsne.plan_

# %%
# The map, with names at the clusters where they find room.
from tsne_backends.plot import scatter

figure = scatter(tsne.embedding_, digits.target, "1,797 handwritten digits", label_name="digit")
figure
