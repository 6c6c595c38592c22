"""
In a scikit-learn pipeline
==========================

`ServerlessTSNE` is a transformer: it takes its place behind scaling and principal components.
"""

# %%
# Wide data with many features are best reduced to some 50 components first: it costs few
# neighbours, and removes noise.
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tsne_backends import ServerlessTSNE
from tsne_backends.plot import scatter

digits = load_digits(as_frame=True)
pipeline = make_pipeline(
    StandardScaler(), PCA(30, random_state=0), ServerlessTSNE(random_state=0)
).set_output(transform="pandas")
embedding = pipeline.fit_transform(digits.data)
embedding.head()

# %%
# Parameters of the step are set as everywhere in scikit-learn.
pipeline.set_params(serverlesstsne__perplexity=50, serverlesstsne__max_iter="auto")
embedding = pipeline.fit_transform(digits.data)

figure = scatter(embedding, digits.target, "Scaled, reduced, embedded", label_name="digit")
figure
