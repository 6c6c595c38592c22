"""`ServerlessTSNE`: validate, describe the problem, ask for a plan, run it, keep the result.

Only the order of these steps is here, and what a single parameter may be. Everything else that is
refused is in ``validation``; the choice is made in ``decision``, ``dispatch`` runs what was chosen,
and ``placement`` places new rows.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from numbers import Integral, Real
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    _fit_context,
)
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils._set_output import _get_output_config
from sklearn.utils.validation import check_is_fitted

from tsne_backends.cache import Cache
from tsne_backends.callbacks import (
    CallbackSupportMixin,
    check_callbacks,
    protocol_callback,
    with_callbacks,
)
from tsne_backends.decision import decide
from tsne_backends.dispatch import check_finite, run_first_that_starts
from tsne_backends.display import choose_display
from tsne_backends.gpu.arrays import has_cupy, in_kind, is_on_gpu, on_host
from tsne_backends.machine import thread_count
from tsne_backends.outline import given_outline, outline
from tsne_backends.plan import Plan
from tsne_backends.plan_view import fitted_html
from tsne_backends.run import Run
from tsne_backends.settings import PREFERENCES, settings_of
from tsne_backends.validation import (
    check_cache,
    check_init,
    check_new_data,
    check_outline,
    check_training_data,
    describe,
    safe_scale,
    scaled,
)

logger = logging.getLogger("tsne_backends")


class ServerlessTSNE(
    CallbackSupportMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    BaseEstimator,
):
    """t-SNE on the fastest engine within reach.

    A drop-in for ``sklearn.manifold.TSNE``: every keyword of it has the same meaning and default,
    except ``method``, whose default ``"auto"`` takes the engine's best for the size.

    Parameters
    ----------
    n_components : int, default=2
        Dimensions of the map: 1, 2 or 3; more only with ``method="exact"``, as in scikit-learn.
    perplexity : float, default=30.0
        Effective number of neighbours; must be less than ``n_samples``.
    early_exaggeration : float, default=12.0
        Factor on the attraction in the first 250 iterations.
    learning_rate : float or "auto", default="auto"
        In scikit-learn's units, whose gradient carries a factor 4: 200 here is 800 to openTSNE,
        and is converted. ``"auto"`` is ``n_samples / exaggeration / 4`` in each phase [2]_, at
        least 50.
    max_iter : int or "auto", default=1000
        Iterations, the 250 of early exaggeration included; at least 250. ``"auto"`` lets an engine
        that has a faster schedule of its own use it (``"native"``: 550 iterations); the others
        take 1,000.
    n_iter_without_progress : int, default=300
        Iterations without a lower KL divergence before stopping, after early exaggeration;
        checked every 50.
    min_grad_norm : float, default=1e-7
        Gradient norm at which to stop.
    metric : str or callable, default="euclidean"
        Any metric of scikit-learn's neighbour search, or ``"precomputed"``: X is then a square
        distance matrix or a sparse graph of neighbours.
    metric_params : dict, default=None
        Further arguments of the metric.
    init : {"pca", "random"}, array-like of shape (n_samples, n_components) or fitted estimator, \
            default="pca"
        Initial positions. ``"pca"`` and ``"random"`` have standard deviation 1e-4. An array is used
        as it is, but for a finished map, wider than 1: it is scaled to that standard deviation,
        from where early exaggeration keeps its arrangement. With ``early_exaggeration=1`` it is
        used as it is, and the run goes on where that one ended. An estimator stands for its
        ``embedding_``.
    verbose : int, default=0
        1 shows progress even where the output is not a terminal.
    random_state : int, RandomState instance or None, default=None
        An int makes a run repeatable on one machine with one backend and number of threads.
    method : {"auto", "barnes_hut", "exact", "fft"}, default="auto"
        How repulsion is computed.
    angle : float, default=0.5
        Barnes–Hut's trade-off between speed (1) and accuracy (0).
    n_jobs : int, default=None
        Threads. None uses every usable core, as scikit-learn's t-SNE gradient does.
    backend : str, default="auto"
        ``"auto"``, or the name of one engine, which is then used or refused, never swapped. See
        `tsne_backends.list_backends`. ``"auto"`` takes the one that should finish first.
    backend_options : dict, default=None
        Options of the engine; see its documentation.
    memory : str, path or joblib.Memory, default=None
        Where to keep the neighbours graph and principal components between fits, by the content
        of X. A lower perplexity, and any other learning rate, exaggeration, number of iterations,
        seed or ``init``, then searches no more.
    callbacks : callable or list of callables, default=None
        ``callback(iteration, kl, embedding)``, every 50 iterations. A true result ends the
        optimisation and keeps the map so far.
    max_cost : float, default=None
        US dollars that one fit may cost at most: the list price of the rented GPU, the time
        included in which it may wait for another run; its machine's processor and memory come on
        top. None leaves it to the environment variable ``SERVERLESS_TSNE_MAX_COST`` and the
        configuration file, else there is no limit.
    allow_remote : bool, default=None
        Whether X may leave this machine. None leaves it to ``SERVERLESS_TSNE_ALLOW_REMOTE`` and
        the configuration file, else it may go to a service that you deployed yourself.
    prefer : {"time", "cost", "order"}, default=None
        What ``"auto"`` aims at: finishing first, spending least, or the first in the list of
        backends. None leaves it to ``SERVERLESS_TSNE_PREFER`` and the configuration file, else
        it is ``"time"``.

    Attributes
    ----------
    embedding_ : ndarray of shape (n_samples, n_components), float32
        The map.
    kl_divergence_ : float
        KL divergence at the end.
    n_iter_ : int
        Iterations run; scikit-learn's own t-SNE reports the index of the last, one less.
    learning_rate_ : float
        Effective learning rate of the early-exaggeration phase, scikit-learn's number; ``plan_``
        holds the rate of every phase.
    n_features_in_ : int
        Number of features seen during `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of features, where X had names that are all strings.
    backend_ : str
        The engine that made the map.
    plan_ : Plan
        The choice, its reasons, the schedule, and what was expected beside what it took.
    timings_ : dict of str to float
        Seconds per phase: neighbours, affinities, initialisation and optimisation; start, where the
        native engine was loaded or a container waited for; check, where a GPU looked at its map; of
        a rented GPU encoding, upload, decoding and download, too. What was not done is not listed.
        total is the whole fit, planning included.
    details_ : dict
        What the engine chose: version, neighbour search, gradients, threads, GPU.
    quality_ : dict of str to float
        What the engine measured of the finished map: on a GPU the share of 15 nearest neighbours
        that it keeps, on a sample of rows, with its standard error. Empty on other engines, for
        which `tsne_backends.quality` has functions.

    References
    ----------
    .. [1] L. van der Maaten and G. Hinton, "Visualizing Data using t-SNE", JMLR 9 (2008).
    .. [2] A. Belkina et al., "Automated optimized parameters for T-distributed stochastic neighbor
       embedding improve visualization and analysis of large datasets", Nat. Commun. 10 (2019).

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from tsne_backends import ServerlessTSNE
    >>> tsne = ServerlessTSNE(random_state=0)
    >>> tsne.fit_transform(load_iris().data).shape
    (150, 2)
    >>> tsne.n_iter_
    1000
    """

    _parameter_constraints: dict[str, list[Any]] = {  # noqa: RUF012 — scikit-learn's protocol
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "perplexity": [Interval(Real, 0, None, closed="neither")],
        "early_exaggeration": [Interval(Real, 1, None, closed="left")],
        "learning_rate": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "max_iter": [StrOptions({"auto"}), Interval(Integral, 250, None, closed="left")],
        "n_iter_without_progress": [Interval(Integral, -1, None, closed="left")],
        "min_grad_norm": [Interval(Real, 0, None, closed="left")],
        "metric": [str, callable],
        "metric_params": [dict, None],
        "init": [StrOptions({"pca", "random"}), "array-like", HasMethods(["fit_transform"])],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
        "method": [StrOptions({"auto", "barnes_hut", "exact", "fft"})],
        "angle": [Interval(Real, 0, 1, closed="both")],
        "n_jobs": [None, Integral],
        "backend": [str],
        "backend_options": [dict, None],
        "memory": [str, PathLike, HasMethods(["cache"]), None],
        "callbacks": [callable, list, tuple, None],
        "max_cost": [Interval(Real, 0, None, closed="left"), None],
        "allow_remote": ["boolean", None],
        "prefer": [StrOptions(set(PREFERENCES)), None],
    }

    def __init__(
        self,
        n_components: int = 2,
        *,
        perplexity: float = 30.0,
        early_exaggeration: float = 12.0,
        learning_rate: float | str = "auto",
        max_iter: int | str = 1000,
        n_iter_without_progress: int = 300,
        min_grad_norm: float = 1e-7,
        metric: Any = "euclidean",
        metric_params: dict[str, Any] | None = None,
        init: Any = "pca",
        verbose: int = 0,
        random_state: Any = None,
        method: str = "auto",
        angle: float = 0.5,
        n_jobs: int | None = None,
        backend: str = "auto",
        backend_options: dict[str, Any] | None = None,
        memory: Any = None,
        callbacks: Any = None,
        max_cost: float | None = None,
        allow_remote: bool | None = None,
        prefer: str | None = None,
    ) -> None:
        self.n_components = n_components
        self.perplexity = perplexity
        self.early_exaggeration = early_exaggeration
        self.learning_rate = learning_rate
        self.max_iter = max_iter
        self.n_iter_without_progress = n_iter_without_progress
        self.min_grad_norm = min_grad_norm
        self.metric = metric
        self.metric_params = metric_params
        self.init = init
        self.verbose = verbose
        self.random_state = random_state
        self.method = method
        self.angle = angle
        self.n_jobs = n_jobs
        self.backend = backend
        self.backend_options = backend_options
        self.memory = memory
        self.callbacks = callbacks
        self.max_cost = max_cost
        self.allow_remote = allow_remote
        self.prefer = prefer

    def plan(
        self,
        X: Any = None,
        *,
        shape: tuple[int, int] | None = None,
        dtype: str = "float32",
    ) -> Plan:
        """Say which backend `fit` would use, and what each would take; nothing is computed.

        The values of X are not looked at: they are checked by `fit`. The first plan on a machine
        measures its speed, for a fraction of a second.

        Parameters
        ----------
        X : array-like, data frame or sparse matrix of shape (n_samples, n_features), optional
            The data.
        shape : tuple of int, optional
            ``(n_samples, n_features)`` instead of X.
        dtype : {"float32", "float64"}, default="float32"
            Type of data given by shape.

        Returns
        -------
        Plan
            Prints as a table; see `tsne_backends.plan.Plan`.

        Raises
        ------
        ValueError
            Parameters, shape or settings are not valid.
        BackendUnavailableError, UnsupportedProblemError, LimitError
            As in `fit`.
        """
        self._validate_params()
        if (X is None) == (shape is None):
            raise ValueError("A plan needs either X or its shape, and not both.")
        data = outline(X) if shape is None else given_outline(shape, dtype)
        check_outline(self, data)
        problem = describe(self, data, draw_seed=False)
        return decide(problem, self.backend, settings_of(self), probe=True).plan

    def fit(self, X: Any, y: Any = None) -> ServerlessTSNE:
        """Compute the map of X.

        Parameters
        ----------
        X : array-like, data frame or sparse matrix of shape (n_samples, n_features)
            Data; distances of shape (n_samples, n_samples) if ``metric="precomputed"``.
        y : None
            Ignored; present for pipelines.

        Returns
        -------
        ServerlessTSNE
            The fitted estimator.

        Raises
        ------
        ValueError
            Parameters or data are not valid; nothing was computed.
        BackendUnavailableError
            The backend asked for is not usable here.
        UnsupportedProblemError
            The backend asked for cannot compute this, or none can.
        LimitError
            ``allow_remote``, ``max_cost`` or a list of backends leaves nothing that can run.
        ConfigurationError
            An environment variable or the configuration file makes no sense.
        EmbeddingError
            The optimisation diverged; ``embedding_`` is not set.
        """
        self.fit_transform(X)
        return self

    @_fit_context(prefer_skip_nested_validation=False)
    @with_callbacks
    def fit_transform(self, X: Any, y: Any = None) -> Any:
        """Compute the map of X and return it.

        Parameters
        ----------
        X : array-like, data frame or sparse matrix of shape (n_samples, n_features)
            Data, in the processor's memory or on a GPU (CuPy, cuDF, torch, DLPack); distances of
            shape (n_samples, n_samples) if ``metric="precomputed"``.
        y : None
            Ignored; present for pipelines.

        Returns
        -------
        ndarray of shape (n_samples, n_components), float32
            The map; a data frame where ``set_output`` asks for one, else on the GPU, and of the
            same kind, where X is on one.

        Raises
        ------
        ValueError, BackendUnavailableError, UnsupportedProblemError, LimitError, EmbeddingError
            As in `fit`.
        """
        started = time.perf_counter()
        self._forget_fit()
        settings = settings_of(self)
        given, X = X, check_training_data(self, X)
        initial = check_init(self, X.shape[0])
        callbacks = check_callbacks(self.callbacks)
        cache = Cache(check_cache(self.memory))
        scale = safe_scale(X, self.metric)
        X = scaled(X, scale)
        problem = describe(self, outline(X))
        decision = decide(problem, self.backend, settings)
        plan = decision.plan
        logger.info(plan.sentence())

        protocol, context = protocol_callback(self, X, plan.phases)
        display = choose_display(self.verbose, sum(phase.n_iter for phase in plan.phases))
        run = Run([*callbacks, *protocol], display, cache, initial, settings.max_cost)
        try:
            way, embedding = run_first_that_starts(
                plan, decision.candidates, problem, X, run, decision.announce
            )
        finally:
            display.close()
        check_finite(embedding, way.backend, problem)

        self.embedding_ = embedding.coordinates
        self.kl_divergence_ = embedding.kl_divergence
        self.n_iter_ = embedding.n_iter
        self.backend_ = way.backend
        self.plan_ = decision.learn(way, run, embedding.n_iter)
        self.learning_rate_ = self.plan_.phases[0].learning_rate
        logger.info(self.plan_.outcome())
        self.timings_ = {**run.timings, "total": time.perf_counter() - started}
        self.details_ = dict(embedding.details)
        self.quality_ = dict(embedding.quality)
        self._problem = problem
        self._input_scale = scale
        self._fit_X = None if problem.metric == "precomputed" else X
        if context is not None:
            context.call_on_fit_task_end(estimator=self, X=X)
        return self._in_kind(given)

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Place new rows on the fitted map, which does not move.

        X of `fit` itself gives back the map as it is. Else a row equal to one seen in `fit` takes
        the place of the first such row; every other row is placed on its own, whatever else is in
        X. The rows given to `fit` are compared with, not a
        copy of them: do not change them in between.

        Parameters
        ----------
        X : array-like, data frame or sparse matrix of shape (n_new, n_features)
            New rows; their distances to the fitted rows, of shape (n_new, n_samples), if
            ``metric="precomputed"``.

        Returns
        -------
        ndarray of shape (n_new, n_components), float32
            Places on the map; a data frame where ``set_output`` asks for one.

        Raises
        ------
        NotFittedError
            `fit` has not been called.
        ValueError
            X does not fit the data seen in `fit`, or is not finite.
        EmbeddingError
            A new row could not be placed at finite coordinates.
        """
        from tsne_backends.placement import place

        check_is_fitted(self)
        X = check_new_data(self, X)
        fitted = self._fit_X = on_host(self._fit_X)
        X = scaled(X, self._input_scale)
        if fitted is not None and X.shape == fitted.shape and _equal(X, fitted):
            return self.embedding_.copy()
        if fitted is not None:
            scale = safe_scale(X, self.metric)  # new rows may be far beyond the fitted ones
            X, fitted = scaled(X, scale), scaled(fitted, scale)
        problem = replace(self._problem, n_threads=thread_count(self.n_jobs))
        return place(problem, fitted, self.embedding_, X)

    def _in_kind(self, given: Any) -> Any:
        """Return the map as a copy on the GPU where the data lie on one, unless told otherwise."""
        is_default = _get_output_config("transform", self)["dense"] == "default"
        if is_default and is_on_gpu(given) and has_cupy():
            return in_kind(self.embedding_, given)
        return self.embedding_

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        # A fitted model must load where there is no GPU.
        return {**state, "_fit_X": on_host(state["_fit_X"])} if "_fit_X" in state else state

    def _forget_fit(self) -> None:
        """Drop what an earlier fit left, so that a failed one cannot be taken for it."""
        kept = self.get_params()
        for name in [name for name in vars(self) if name.endswith("_") and name not in kept]:
            delattr(self, name)

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        """Return what a notebook shows: scikit-learn's diagram, and which engine made the map.

        IPython's protocol, which scikit-learn's representations follow in every version.
        """
        bundle: dict[str, Any] = super()._repr_mimebundle_(**kwargs)
        if "text/html" in bundle and hasattr(self, "plan_"):
            bundle["text/html"] += fitted_html(self)
        return bundle

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "embedding_")

    @property
    def _n_features_out(self) -> int:
        return int(self.embedding_.shape[1])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.pairwise = isinstance(self.metric, str) and self.metric == "precomputed"
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float32"]  # the map is float32 whatever X is
        return tags


def _equal(a: Any, b: Any) -> bool:
    if hasattr(a, "tocsr") or hasattr(b, "tocsr"):
        return type(a) is type(b) and (a != b).nnz == 0
    return np.array_equal(a, b)
