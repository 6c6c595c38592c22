"""`Problem`: an immutable description of one run, in the field's own words.

Nothing here holds or copies data. Every backend reads the same `Problem`, which is what gives each
parameter one meaning on every engine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

#: Iterations run with early exaggeration; part of ``max_iter``, as in ``sklearn.manifold.TSNE``.
EARLY_EXAGGERATION_ITER = 250

#: What ``max_iter="auto"`` means to engines that have only the plain schedule: the default.
AUTO_ITER = 1000

#: scikit-learn's floor for ``learning_rate="auto"``, in scikit-learn's units.
LEARNING_RATE_FLOOR = 50.0

#: scikit-learn's gradient carries the factor 4 of van der Maaten & Hinton (2008); openTSNE's,
#: FIt-SNE's and cuML's do not. The same step is therefore a 4 times larger number there.
GRADIENT_FACTOR = 4.0

#: Momentum, openTSNE's value. scikit-learn, cuML and the original code take 0.5 in early
#: exaggeration, which leaves the islands of patches and heavy tails less well arranged
#: (docs/architecture.md).
MOMENTUM = 0.8
#: Momentum of early exaggeration where its rate is above n / exaggeration / 4 in scikit-learn's
#: units, as the floor makes it for few rows: such steps overshoot with more (3 to 16 % higher KL
#: divergence on 300 rows).
CALM_MOMENTUM = 0.5


@dataclass(frozen=True)
class Phase:
    """One phase of the optimisation.

    Attributes
    ----------
    name : str
        ``"early exaggeration"`` or ``"main"``.
    n_iter : int
        Iterations in this phase.
    exaggeration : float
        Factor on the attractive forces.
    learning_rate : float
        Effective learning rate in scikit-learn's units; 4 times this is openTSNE's number.
    momentum : float
        Momentum of the gradient descent.
    """

    name: str
    n_iter: int
    exaggeration: float
    learning_rate: float
    momentum: float


@dataclass(frozen=True)
class Problem:
    """What is to be computed: the shape of the data and every t-SNE parameter.

    What is not explained here means what it does in `tsne_backends.ServerlessTSNE`.

    Attributes
    ----------
    n_samples, n_features : int
        Shape of X.
    dtype : str
        Type of X, ``"float32"`` or ``"float64"``.
    n_bytes : int
        Bytes of X in memory; of a sparse matrix, those of what is stored.
    is_sparse : bool
    n_components : int
        Dimensions of the map.
    perplexity, early_exaggeration : float
    learning_rate : float or "auto"
        In scikit-learn's units.
    max_iter : int or "auto"
        Iterations, those with early exaggeration included.
    n_iter_without_progress : int
        Iterations.
    min_grad_norm : float
        In scikit-learn's units.
    metric : str or callable
    metric_params : mapping of str to object
    init : {"pca", "random", "array"}
        An array itself accompanies the run, in `tsne_backends.run.Run`.
    method : {"auto", "barnes_hut", "exact", "fft"}
    angle : float
    n_threads : int
        Threads, resolved from ``n_jobs``; at least 1.
    seed : int
        Drawn where ``random_state`` is no int.
    repeatable : bool
        Whether ``random_state`` was given, so that another run must make the same map.
    options : mapping of str to object
        ``backend_options``.
    """

    n_samples: int
    n_features: int
    dtype: str = "float32"
    n_bytes: int = 0
    is_sparse: bool = False
    n_components: int = 2
    perplexity: float = 30.0
    early_exaggeration: float = 12.0
    learning_rate: float | str = "auto"
    max_iter: int | str = 1000
    n_iter_without_progress: int = 300
    min_grad_norm: float = 1e-7
    metric: str | Callable[..., float] = "euclidean"
    metric_params: Mapping[str, Any] = field(default_factory=dict)
    init: str = "pca"
    method: str = "auto"
    angle: float = 0.5
    n_threads: int = 1
    seed: int = 0
    repeatable: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def n_neighbors(self) -> int:
        """Neighbours per row: 3 × perplexity (van der Maaten 2014), within 1 and n - 1."""
        return max(1, min(self.n_samples - 1, int(3 * self.perplexity)))

    @property
    def iterations(self) -> int:
        """Iterations of the plain schedule: ``max_iter``, and scikit-learn's 1,000 for "auto"."""
        return AUTO_ITER if isinstance(self.max_iter, str) else self.max_iter

    @property
    def metric_name(self) -> str:
        """The metric as it can be printed."""
        return self.metric if isinstance(self.metric, str) else "a callable"

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The optimisation schedule, the same on every engine.

        With ``learning_rate="auto"`` the rate is n / exaggeration *in each phase* (Belkina et al.
        2019, in openTSNE's units; a quarter of that in scikit-learn's), never below scikit-learn's
        floor. A number is used as given in both phases.
        """
        rate = self._rate(self.early_exaggeration)
        is_hot = rate > self._natural_rate(self.early_exaggeration)
        early = Phase(
            "early exaggeration",
            min(EARLY_EXAGGERATION_ITER, self.iterations),
            float(self.early_exaggeration),
            rate,
            CALM_MOMENTUM if is_hot else MOMENTUM,
        )
        main = Phase("main", self.iterations - early.n_iter, 1.0, self._rate(1.0), MOMENTUM)
        return (early, main) if main.n_iter else (early,)

    def _natural_rate(self, exaggeration: float) -> float:
        return self.n_samples / exaggeration / GRADIENT_FACTOR

    def _rate(self, exaggeration: float) -> float:
        if isinstance(self.learning_rate, str):
            return max(self._natural_rate(exaggeration), LEARNING_RATE_FLOOR)
        return float(self.learning_rate)
