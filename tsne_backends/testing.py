"""`BackendContract`: the tests every backend passes, ours and third parties'.

A backend author subclasses it in a test module, names the backend, and runs pytest. Nothing here is
about speed or about the quality of one engine's picture beyond what all engines share.
"""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tsne_backends.backend import ESTIMATOR_PARAMETERS, Backend
from tsne_backends.estimator import ServerlessTSNE
from tsne_backends.machine import Machine
from tsne_backends.problem import Problem
from tsne_backends.registry import list_backends, load_backend
from tsne_backends.run import Run


class BackendContract:
    """Subclass as ``class TestMine(BackendContract): name = "mine"`` and run pytest.

    Attributes
    ----------
    name : str
        The backend's registered name.
    parameters : dict
        Estimator parameters to use in every run, for engines that need some.
    kl_tolerance : float
        Share by which the KL divergence may exceed openTSNE's.
    """

    name: ClassVar[str]
    parameters: ClassVar[dict[str, Any]] = {}
    kl_tolerance: ClassVar[float] = 0.05

    # What follows builds the inputs; a subclass need not touch it.

    def backend(self) -> Backend:
        """Return the backend under test."""
        return load_backend(self.name)

    def data(self, n_samples: int = 300) -> NDArray[np.float32]:
        """Return three clusters in eight dimensions."""
        rng = np.random.RandomState(0)
        centres = 8 * rng.standard_normal((3, 8))
        noise = rng.standard_normal((n_samples, 8))
        return (centres[np.arange(n_samples) % 3] + noise).astype(np.float32)

    def estimator(self, **parameters: Any) -> ServerlessTSNE:
        """Return an estimator that insists on the backend under test."""
        defaults = {"backend": self.name, "random_state": 0, "max_iter": 300}
        return ServerlessTSNE(**{**defaults, **self.parameters, **parameters})

    # The contract.

    def test_is_registered_with_an_install_hint(self) -> None:
        """Users who lack the engine must be told how to get it."""
        assert list_backends()[self.name].install
        assert self.backend().name == self.name
        assert self.backend().where

    def test_maps_every_parameter(self) -> None:
        """No estimator parameter may be ignored silently."""
        assert set(self.backend().parameters) == set(ESTIMATOR_PARAMETERS)
        assert all(
            parameter.to and parameter.how for parameter in self.backend().parameters.values()
        )

    def test_verdicts_are_sentences(self) -> None:
        """A verdict is shown to users as it is."""
        problem = Problem(n_samples=100, n_features=5)
        backend = self.backend()
        verdicts = [backend.available(), backend.can_run(problem), backend.should_run(problem)]
        verdicts.append(backend.can_run(replace(problem, options={"no_such_option": 1})))
        for verdict in verdicts:
            assert len(verdict.reason.split()) > 2
            assert verdict.reason.endswith((".", "?"))
        assert not verdicts[-1].ok
        assert "no_such_option" in verdicts[-1].reason

    def test_offers_can_be_compared(self) -> None:
        """Estimates are finite, and more rows never take less; an estimate may be missing."""
        machine = Machine(cores=4)
        sizes = [Problem(n_samples=n, n_features=20, n_bytes=80 * n) for n in (100, 10**4, 10**6)]
        seen: dict[str, list[float]] = {}
        for problem in sizes:
            offers = self.backend().offers(problem, machine)
            variants = [offer.variant for offer in offers]
            assert variants
            assert len(set(variants)) == len(variants)
            for offer in offers:
                assert not offer.refusal or offer.refusal.endswith(".")
                if offer.estimate is not None:
                    values = vars(offer.estimate).values()
                    assert all(np.isfinite(value) and value >= 0 for value in values)
                    seen.setdefault(offer.variant, []).append(offer.estimate.total)
        assert all(totals == sorted(totals) for totals in seen.values())

    def test_options_accept_their_defaults(self) -> None:
        """A default that its own check refuses could never be written out."""
        for option in self.backend().options.values():
            assert option.accepts(option.default)
            assert option.meaning
            assert option.legal

    def test_embeds(self) -> None:
        """Shape, type, finiteness and the fitted attributes."""
        X = self.data()
        fitted = self.estimator().fit(X)
        assert fitted.embedding_.shape == (300, 2)
        assert fitted.embedding_.dtype == np.float32
        assert np.isfinite(fitted.embedding_).all()
        assert fitted.backend_ == self.name
        assert fitted.n_iter_ == 300
        assert fitted.kl_divergence_ > 0
        assert "optimisation" in fitted.timings_
        assert all(seconds >= 0 for seconds in fitted.timings_.values())

    def test_separates_clusters(self) -> None:
        """Rows of one cluster lie nearer to its centre than to the others'."""
        X = self.data()
        labels = np.arange(len(X)) % 3
        Y = self.estimator().fit_transform(X)
        centres = np.array([Y[labels == c].mean(axis=0) for c in range(3)])
        nearest = np.argmin(((Y[:, None] - centres) ** 2).sum(axis=2), axis=1)
        assert (nearest == labels).mean() > 0.99

    def test_same_objective_as_opentsne(self) -> None:
        """The engine minimises what the others minimise, about as well."""
        from tsne_backends.quality import kl_divergence

        X = self.data()
        ours = self.estimator(max_iter=750).fit_transform(X)
        theirs = self.estimator(max_iter=750, backend="opentsne").fit_transform(X)
        assert kl_divergence(X, ours) <= (1 + self.kl_tolerance) * kl_divergence(X, theirs)

    def test_reports_the_divergence_of_its_map(self) -> None:
        """``kl_divergence_`` is the KL divergence, not some scaled relative."""
        from tsne_backends.quality import kl_divergence

        X = self.data()
        fitted = self.estimator().fit(X)
        true = kl_divergence(X, fitted.embedding_)
        assert abs(fitted.kl_divergence_ - true) <= 0.05 * true + 0.01

    def test_is_repeatable(self) -> None:
        """A seed gives the same map twice, another seed another."""
        X = self.data()
        first = self.estimator(init="random").fit_transform(X)
        again = self.estimator(init="random").fit_transform(X)
        other = self.estimator(init="random", random_state=1).fit_transform(X)
        np.testing.assert_array_equal(first, again)
        assert not np.allclose(first, other)

    def test_leaves_its_input_alone(self) -> None:
        """X may be a memory map or in use elsewhere."""
        X = self.data()
        before = X.copy()
        X.flags.writeable = False
        self.estimator().fit(X)
        np.testing.assert_array_equal(X, before)

    def test_callbacks_watch_and_stop(self) -> None:
        """Reports come every 50 iterations; a true answer keeps the map so far."""
        seen: list[tuple[int, float, tuple[int, ...]]] = []

        def stop_at_100(iteration: int, kl: float, embedding: NDArray[Any]) -> bool:
            seen.append((iteration, kl, embedding.shape))
            return iteration >= 100

        fitted = self.estimator(callbacks=stop_at_100).fit(self.data())
        assert [iteration for iteration, _, _ in seen] == [50, 100]
        assert all(np.isfinite(kl) and shape == (300, 2) for _, kl, shape in seen)
        assert fitted.n_iter_ == 100
        assert np.isfinite(fitted.embedding_).all()

    def test_callback_errors_surface(self) -> None:
        """An exception in a callback, Ctrl-C among them, ends the run at once."""

        class WatcherError(Exception):
            pass

        def fail(iteration: int, kl: float, embedding: NDArray[Any]) -> bool:
            raise WatcherError

        for error, callback in ((WatcherError, fail), (KeyboardInterrupt, _interrupt)):
            try:
                self.estimator(callbacks=callback).fit(self.data())
            except error:
                continue
            raise AssertionError(f"{error.__name__} did not surface")

    def test_stops_at_the_gradient_norm(self) -> None:
        """``min_grad_norm`` ends each phase at its first check."""
        assert self.estimator(min_grad_norm=1e9).fit(self.data()).n_iter_ <= 100

    def test_fitted_state_needs_no_engine(self) -> None:
        """A fitted model unpickles anywhere and places new rows without its engine."""
        X = self.data()
        fitted = self.estimator().fit(X)
        copy = pickle.loads(pickle.dumps(fitted))
        assert _module_roots(fitted) <= {"numpy", "builtins", "tsne_backends", "scipy"}
        np.testing.assert_array_equal(copy.transform(X), fitted.embedding_)
        placed = copy.transform(X[:20] + np.float32(0.01))
        spread = np.ptp(fitted.embedding_, axis=0).max()
        assert np.abs(placed - fitted.embedding_[:20]).max() < 0.25 * spread

    def test_survives_duplicates(self) -> None:
        """Equal rows give no NaN."""
        X = np.repeat(self.data(60), 5, axis=0)
        assert np.isfinite(self.estimator().fit_transform(X)).all()

    def test_embed_times_its_phases(self) -> None:
        """`Backend.embed` may be called on its own, as the service does."""
        X = self.data()
        run = Run()
        problem = Problem(n_samples=300, n_features=8, max_iter=250, n_threads=1)
        embedding = self.backend().embed(problem, X, run)
        assert embedding.coordinates.dtype == np.float32
        assert embedding.n_iter == 250
        assert run.timings["optimisation"] > 0


def _interrupt(iteration: int, kl: float, embedding: NDArray[Any]) -> bool:
    raise KeyboardInterrupt


def _module_roots(fitted: ServerlessTSNE) -> set[str]:
    """Return the packages whose types the fitted attributes are made of."""
    roots: set[str] = set()

    def visit(value: object) -> None:
        roots.add(type(value).__module__.partition(".")[0])
        for inner in value.values() if isinstance(value, dict) else ():
            visit(inner)

    for key, value in vars(fitted).items():
        if key not in fitted.get_params():
            visit(value)
    return roots
