"""
Is the map any good?
====================

Five scores of any map, whichever program made it.
"""

# %%
# A map by t-SNE and one by principal components, judged alike.
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from tsne_backends import ServerlessTSNE, quality_report
from tsne_backends.plot import scatter

X, y = load_digits(return_X_y=True)
maps = {
    "t-SNE": ServerlessTSNE(random_state=0).fit_transform(X),
    "principal components": PCA(2, random_state=0).fit_transform(X),
}
for name, embedding in maps.items():
    print(name)
    print(quality_report(X, embedding, y))

# %%
# Neighbours are t-SNE's business, and far distances rather that of principal components.
figure = scatter(maps["principal components"], y, "Two principal components", label_name="digit")
figure
