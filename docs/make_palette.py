"""Makes ``PALETTE`` of ``tsne_backends/plot/colors.py``: ``python docs/make_palette.py`` prints it.

Needs colorspacious, which knows how far apart two colours look, and how they look to eyes without
receptors for red (protanopia) or green (deuteranopia). Colour after colour, the one is taken that
is farthest from all before in the worst of these three views. glasbey has the same idea for one
kind of colour blindness at a time: at 40 colours, the other kind is left with pairs that nobody
can tell apart.
"""

import numpy as np
from colorspacious import cspace_convert
from numpy.typing import NDArray

#: M. Petroff, arXiv:2107.02270, without two greys and an orange close to its neighbours here.
FIRST = ("#3f90da", "#ffa90e", "#bd1f01", "#832db6", "#a96b59", "#b9ac70", "#92dadd")
#: To keep away from: missing, merged, the paper.
TAKEN = ("#c4c4c4", "#858585", "#ffffff")
N_COLOURS = 40
#: Lightness (J' of CAM02-UCS, 0 to 100) of the first few colours and of all; least colourfulness.
CALM, N_CALM, LIGHTNESS, COLOURFULNESS = (38, 78), 12, (25, 85), 10
#: All three receptors tell colours apart so well that more distance is asked of them.
FULL_SIGHT = 1.5


def main() -> None:
    """Print the colours, and the least distance of two in each view."""
    steps = np.linspace(0, 1, 26)
    pool = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 3)
    lightness, a, b = cspace_convert(pool, "sRGB1", "CAM02-UCS").T
    pool = pool[_within(lightness, LIGHTNESS) & (np.hypot(a, b) >= COLOURFULNESS)]
    colours = np.vstack([from_hex(FIRST), pool])
    seen, others = views(colours), views(from_hex(TAKEN))
    calm = _within(seen[0, :, 0], CALM)
    nearest = np.min([_distances(seen, others[:, [i]]) for i in range(len(TAKEN))], axis=0)
    chosen: list[int] = []
    while len(chosen) < N_COLOURS:
        allowed = calm if len(chosen) < N_CALM else np.ones(len(colours), dtype=bool)
        best = int(np.where(allowed, nearest, -1).argmax())
        chosen.append(len(chosen) if len(chosen) < len(FIRST) else best)
        nearest = np.minimum(nearest, _distances(seen, seen[:, [chosen[-1]]]))
    print([f"#{''.join(f'{round(255 * channel):02x}' for channel in colours[i])}" for i in chosen])
    for count in (10, 20, N_COLOURS):
        print(count, least_distances(seen[:, chosen[:count]]).round(1))


def views(colours: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return colours in CAM02-UCS, as seen with all receptors, without green, and without red.

    Parameters
    ----------
    colours : ndarray of shape (n_colours, 3), float64
        sRGB in [0, 1].

    Returns
    -------
    ndarray of shape (3, n_colours, 3), float64
    """
    kinds = ("deuteranomaly", "protanomaly")
    spaces = [{"name": "sRGB1+CVD", "cvd_type": kind, "severity": 100} for kind in kinds]
    seen = [colours, *(cspace_convert(colours, space, "sRGB1") for space in spaces)]
    return np.stack([cspace_convert(np.clip(view, 0, 1), "sRGB1", "CAM02-UCS") for view in seen])


def least_distances(seen: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the least distance of two different colours in each view of `views`."""
    distances = np.linalg.norm(seen[:, :, None] - seen[:, None], axis=-1)
    pairs = np.triu_indices(seen.shape[1], 1)
    return distances[:, pairs[0], pairs[1]].min(axis=1)


def from_hex(colours: tuple[str, ...]) -> NDArray[np.float64]:
    """Return "#rrggbb" as numbers in [0, 1], of shape (n_colours, 3)."""
    return np.array([list(bytes.fromhex(colour[1:])) for colour in colours]) / 255


def _distances(seen: NDArray[np.float64], one: NDArray[np.float64]) -> NDArray[np.float64]:
    distances = np.linalg.norm(seen - one, axis=-1)
    distances[0] /= FULL_SIGHT
    return distances.min(axis=0)


def _within(values: NDArray[np.float64], ends: tuple[float, float]) -> NDArray[np.bool_]:
    return (values >= ends[0]) & (values <= ends[1])


if __name__ == "__main__":
    main()
