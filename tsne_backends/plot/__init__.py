"""Pictures of maps, with matplotlib, which is loaded on the first call and without pyplot's state.

This is the only door: `scatter`, `facets`, `plot_sweep` and `save_figure`, and `write_html` for a
page to move about in, which needs Bokeh and no matplotlib. In the order data flows,
``points`` checks the map, ``colors`` turns labels into colours, ``layout`` and ``legends`` give
everything its room, ``placing_labels`` names the clusters, ``drawing`` draws one map on axes with
the help of ``density``, ``static`` and ``sweeps`` make figures of all this, ``saving`` writes
files, and ``html`` with ``html_page`` makes pages.
"""

from tsne_backends.plot.colors import MAX_CATEGORIES, PALETTE
from tsne_backends.plot.html import write_html
from tsne_backends.plot.saving import check_picture, save_figure
from tsne_backends.plot.static import facets, scatter
from tsne_backends.plot.sweeps import plot_sweep

__all__ = [
    "MAX_CATEGORIES",
    "PALETTE",
    "check_picture",
    "facets",
    "plot_sweep",
    "save_figure",
    "scatter",
    "write_html",
]
