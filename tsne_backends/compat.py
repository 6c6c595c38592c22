"""Names that code written for earlier packages expects.

Each hands its arguments on to ``estimator`` and computes nothing itself. The rest of this package
does not use them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsne_backends.estimator import ServerlessTSNE


def gpu_tsne(X: Any, n_iter: int = 1000, **parameters: Any) -> NDArray[np.float32]:
    """Make a map on a rented GPU, as the client ``gpu_embedding`` did.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Data.
    n_iter : int, default=1000
        Iterations, early exaggeration included; ``max_iter`` of `ServerlessTSNE`.
    **parameters
        Further parameters of `ServerlessTSNE`; ``backend`` is ``"modal"`` unless given.

    Returns
    -------
    ndarray of shape (n_samples, 2), float32

    Raises
    ------
    ValueError, BackendError
        As in `ServerlessTSNE.fit`.
    """
    coordinates: NDArray[np.float32] = ServerlessTSNE(
        **{"backend": "modal", "max_iter": n_iter, **parameters}
    ).fit_transform(X)
    return coordinates
