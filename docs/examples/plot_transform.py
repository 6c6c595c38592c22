"""
New rows on a finished map
==========================

The map of a training set stays where it is; new rows are placed on it one by one.
"""

# %%
# Two thirds of the digits make the map, and the rest are placed.
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier

from tsne_backends import ServerlessTSNE
from tsne_backends.plot import facets

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.33, random_state=0)
tsne = ServerlessTSNE(random_state=0).fit(X_train)
places = tsne.transform(X_test)
print(f"{len(places)} new rows among {len(X_train)}")

# %%
# How well are they placed? A vote of the five nearest training rows on the map, for each new row:
vote = KNeighborsClassifier(5).fit(tsne.embedding_, y_train)
print(f"{100 * vote.score(places, y_test):.1f} % are placed among their own digit")

# %%
# Both sets on one map, each over all points in grey.
import numpy as np

both = np.concatenate([tsne.embedding_, places])
origin = ["fitted"] * len(X_train) + ["placed"] * len(X_test)
digit = np.concatenate([y_train, y_test])
figure = facets(both, origin, digit, "Fitted and placed", label_name="digit")
figure
