"""Seconds that others published, with their source: shown beside ours, never mixed with them.

None of it was measured here, and no benchmark changes it. What was measured is in the folder
``results``, where ``tables`` writes it.
"""

from __future__ import annotations

#: Where the figures below were published.
SOURCE = (
    "V. Svensson, Serverless GPUs for fast TSNE visualization, "
    "https://www.nxn.se/p/serverless-gpus-for-fast-tsne-visualization"
)
#: Seconds by rows of 10 features: cuML on a Modal T4 whose container is warm, transfer included;
#: and openTSNE on 12 threads of an Apple M4 Pro.
MODAL_T4 = {50_000: 4.9, 250_000: 16.1, 500_000: 40.2, 1_058_909: 129.0}
OPENTSNE_12_CORES = {50_000: 25.5, 250_000: 79.4, 500_000: 159.9, 1_058_909: 332.0}
