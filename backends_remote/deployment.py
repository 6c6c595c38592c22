"""What is deployed: names, limits and packages that client, app and tests agree on.

Nothing is deployed here: the app is put together in ``modal_app``, and ``account`` deploys it. What
a GPU holds and costs is in `tsne_backends.transfer`.
"""

from __future__ import annotations

#: The app, its class and its volume in the user's account.
APP_NAME = "serverless-tsne"
CLASS_NAME = "Embedder"
VOLUME_NAME = "serverless-tsne-data"
#: Where the volume lies in a container.
DATA_FOLDER = "/data"
#: Folder of the volume with compiled kernels, which every container would compile anew; no data.
KERNELS_FOLDER = "kernels"

#: Kinds of GPU to take where a call names none, the cheapest first.
FALL_BACK_GPUS = ("T4", "L4")
#: Engines of a container, the first available computes; no silent turn to a slow one.
ENGINES = ("cuml",)
#: Containers at once, each of which is billed.
MAX_CONTAINERS = 8

#: Seconds after which a container's run is ended; each is a pool of containers of its own, so there
#: are few. Modal's own default of 300 ends long runs.
TIMEOUTS_SECONDS = (1200, 7200, 43200)
DEFAULT_TIMEOUT_SECONDS = TIMEOUTS_SECONDS[0]

#: Largest encoded frame a service takes, in bytes: more than fits the largest GPU decoded.
MAX_FRAME_BYTES = 32 << 30

#: A container that starts removes uploaded data that were written longer ago.
DATA_DAYS = 7
DAY_SECONDS = 86400.0

#: Pythons for which cuML has wheels.
PYTHONS = ("3.11", "3.12", "3.13")
#: Pinned, because cuML changes t-SNE's defaults and repeatability between releases.
IMAGE_PACKAGES = (
    "cuml-cu13==26.10.*",
    "cuvs-cu13==26.10.*",
    "scikit-learn>=1.7,<2",
    "opentsne>=1.0.2,<2",
    "usearch>=2.20,<3",
    "threadpoolctl>=3.5",
    "psutil>=5.9.6",
    "filelock>=3.13",
    "platformdirs>=4.2",
    "xxhash>=3.4",
    "rich>=13.7",
    "click>=8.1",
    "zstandard>=0.22",
)


def part_name(number: int) -> str:
    """Return the file name of one part of a data set; part 0 is the frame's head."""
    return f"{number:05d}"
