"""
AnnData
=======

``tsne_backends.anndata.tsne`` reads and writes where ``scanpy.tl.tsne`` does.
"""

# %%
# Counts of 2,000 cells of five types, 40 genes each; no download.
import anndata
import numpy as np
import pandas as pd
from sklearn.decomposition import PCA

from tsne_backends.anndata import tsne
from tsne_backends.plot import scatter

random = np.random.default_rng(0)
types = np.array(["B", "T", "NK", "monocyte", "stem"])[random.integers(0, 5, 2_000)]
means = {name: random.gamma(2.0, 2.0, 40) for name in sorted(set(types))}
counts = np.array([random.poisson(means[name]) for name in types], dtype="float32")
adata = anndata.AnnData(
    counts, obs=pd.DataFrame({"type": types}, index=[f"cell{i}" for i in range(2_000)])
)
adata.obs["counts"] = counts.sum(axis=1)

# %%
# As usual: logarithms, principal components into ``X_pca``, and the map of these into ``X_tsne``.
adata.obsm["X_pca"] = PCA(10, random_state=0).fit_transform(np.log1p(adata.X))
tsne(adata)
print(adata.obsm["X_tsne"].shape, adata.uns["tsne"]["params"])

# %%
# Labels are columns of ``obs``: categories, or quantities on a scale.
figure = scatter(adata.obsm["X_tsne"], adata.obs["type"], "Cells by type")
figure

# %%
counts_figure = scatter(adata.obsm["X_tsne"], adata.obs["counts"], "Cells by counts")
counts_figure
