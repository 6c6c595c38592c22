"""
Several perplexities and seeds at once
======================================

The neighbours are searched once, for the largest perplexity, and serve every map.
"""

# %%
# One row per map: KL divergence, share of neighbours kept, seconds.
from sklearn.datasets import load_digits

from tsne_backends import sweep
from tsne_backends.plot import plot_sweep

digits = load_digits()
result = sweep(digits.data, {"perplexity": [5, 30, 100], "random_state": range(2)}, max_iter="auto")
result

# %%
# The KL divergence falls with the perplexity whatever the map is like; the share of neighbours can
# be compared.
best = result.best("preservation")
print(best.parameters, f"keeps {100 * best.preservation:.1f} % of 15 neighbours")

# %%
# All maps in a grid: what every seed shows is more than chance.
figure = plot_sweep(result, digits.target, label_name="digit")
figure
