"""`Backend`, the one interface every engine implements, and the tables that describe an engine.

What it answers with is in ``answers`` and can be imported from here, too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from tsne_backends.answers import Embedding, Estimate, Offer, Verdict
from tsne_backends.errors import did_you_mean
from tsne_backends.problem import Phase, Problem

if TYPE_CHECKING:
    from tsne_backends.machine import Machine
    from tsne_backends.run import Run

__all__ = [
    "ESTIMATOR_PARAMETERS",
    "Backend",
    "Embedding",
    "Estimate",
    "Offer",
    "Option",
    "Parameter",
    "Verdict",
]


@dataclass(frozen=True)
class Parameter:
    """How one estimator parameter reaches an engine.

    Attributes
    ----------
    to : str
        The engine's own name for it, or where it acts.
    how : str
        ``"as given"``, or the conversion in words.
    refuse : callable or None
        ``refuse(problem)`` returns a sentence where the engine cannot do what is asked, else None.
    """

    to: str
    how: str = "as given"
    refuse: Callable[[Problem], str | None] | None = None


@dataclass(frozen=True)
class Option:
    """One key of ``backend_options``.

    Attributes
    ----------
    default : object
        Value where the user gives none.
    meaning : str
        One line for the documentation.
    accepts : callable
        ``accepts(value)`` is True for a legal value.
    legal : str
        The legal values in words, for the error message.
    """

    default: Any
    meaning: str
    accepts: Callable[[Any], bool]
    legal: str


class Backend(ABC):
    """One engine. Subclass it, fill in the class attributes, write `embed`.

    A backend holds no state between calls and does no work in ``__init__``. See
    ``docs/writing-a-backend.md`` for a complete one and `tsne_backends.testing` for the tests it
    should pass.

    Attributes
    ----------
    name : str
        The name users pass as ``backend=``.
    where : str
        Where the work happens, for tables: ``"this CPU"``.
    parameters : mapping of str to Parameter
        One entry for every name in `ESTIMATOR_PARAMETERS`.
    options : mapping of str to Option
        What ``backend_options`` may hold.
    remote : bool
        Whether X leaves this machine; users can forbid that.
    takes_gpu_arrays : bool
        Whether `embed` takes a ``cupy.ndarray`` where X lies on a GPU; other backends get a copy in
        the processor's memory.
    """

    name: ClassVar[str]
    where: ClassVar[str]
    remote: ClassVar[bool] = False
    takes_gpu_arrays: ClassVar[bool] = False
    parameters: ClassVar[Mapping[str, Parameter]]
    options: ClassVar[Mapping[str, Option]] = MappingProxyType({})

    @abstractmethod
    def available(self) -> Verdict:
        """Say whether the engine could start here at all: package, device, credentials."""

    @abstractmethod
    def embed(self, problem: Problem, X: Any, run: Run) -> Embedding:
        """Compute the embedding.

        Parameters
        ----------
        problem : Problem
            What to compute; `can_run` has said yes to it.
        X : ndarray or CSR matrix of shape (n_samples, n_features)
            Validated data, float32 or float64; a distance matrix or sparse neighbours graph where
            ``problem.metric == "precomputed"``. Not to be written to.
        run : Run
            Initial positions, cache, timing, progress and early stopping.

        Returns
        -------
        Embedding

        Raises
        ------
        BackendUnavailableError
            Before any work, where the engine turns out not to start.
        """

    def prepare(self, problem: Problem, X: Any, run: Run) -> None:
        """Put into ``run.cache`` what other fits of X share, before they begin side by side.

        A sweep calls it in the process that the fits are handed out from, with the largest
        perplexity. By default nothing is prepared, and every fit finds its neighbours itself.

        Parameters
        ----------
        problem : Problem
            The fit with the largest perplexity.
        X : ndarray or CSR matrix of shape (n_samples, n_features)
            As `embed` gets it.
        run : Run
            With the cache that the fits will share, and initial positions.

        Raises
        ------
        Exception
            Whatever `embed` would raise; the sweep goes on, and the fit that fails says why.
        """
        return None

    def abandon(self) -> None:
        """End what other threads of this process have running elsewhere: Ctrl-C was pressed."""
        return None

    def can_run(self, problem: Problem) -> Verdict:
        """Say whether this engine computes ``problem`` correctly, and if not, why not.

        Parameters
        ----------
        problem : Problem

        Returns
        -------
        Verdict
            About correctness only; whether it is worthwhile is `should_run`.
        """
        available = self.available()
        if not available.ok:
            return available
        for key, value in problem.options.items():
            refusal = self._refuse_option(key, value)
            if refusal:
                return Verdict(False, refusal)
        for parameter in self.parameters.values():
            refusal = parameter.refuse(problem) if parameter.refuse else None
            if refusal:
                return Verdict(False, refusal)
        return available

    def should_run(self, problem: Problem) -> Verdict:
        """Say whether ``auto`` should consider this engine at all, whatever it would take.

        Parameters
        ----------
        problem : Problem
            `can_run` has said yes to it.

        Returns
        -------
        Verdict
            By default yes. With a no, the engine still runs where the user asks for it by name.
        """
        return Verdict(True, "It has no reason to stand back.")

    def estimate(self, problem: Problem, machine: Machine) -> Estimate | None:
        """Predict what `embed` would take; a pure function that touches no network.

        Parameters
        ----------
        problem : Problem
            `can_run` has said yes to it.
        machine : Machine
            What is known of this machine and its connection.

        Returns
        -------
        Estimate or None
            None where there is no way to tell.
        """
        return None

    def schedule(self, problem: Problem) -> tuple[Phase, ...]:
        """Return the phases this engine runs.

        Parameters
        ----------
        problem : Problem

        Returns
        -------
        tuple of Phase
            The problem's, unless ``max_iter="auto"`` lets the engine choose and it has something
            better.
        """
        return problem.phases

    def ask(self, machine: Machine) -> Machine:
        """Add what only the remote side knows, such as whether a container is warm.

        Called at most once a plan, and only where a remote backend is allowed and could win. It may
        touch the network, but should answer within a second, and with ``machine`` as it is where
        nobody answers.

        Parameters
        ----------
        machine : Machine

        Returns
        -------
        Machine
        """
        return machine

    def offers(self, problem: Problem, machine: Machine) -> Sequence[Offer]:
        """Return every way in which this backend could run ``problem``.

        Parameters
        ----------
        problem : Problem
            `can_run` has said yes to it.
        machine : Machine
            What is known of this machine and its connection.

        Returns
        -------
        sequence of Offer
            At least one; by default one, with what `estimate` predicts.
        """
        return (Offer(estimate=self.estimate(problem, machine)),)

    def option(self, problem: Problem, key: str) -> Any:
        """Return the user's value of a backend option, or its default.

        Parameters
        ----------
        problem : Problem
            Holds what the user gave as ``backend_options``.
        key : str
            One of `options`.

        Returns
        -------
        object
            A legal value: `can_run` has refused others.

        Raises
        ------
        KeyError
            This backend has no such option.
        """
        return problem.options.get(key, self.options[key].default)

    def _refuse_option(self, key: str, value: Any) -> str | None:
        if key not in self.options:
            known = ", ".join(sorted(self.options)) or "none"
            return (
                f'Backend "{self.name}" has no option "{key}"; its options are: {known}.'
                f"{did_you_mean(key, self.options)}"
            )
        if not self.options[key].accepts(value):
            return (
                f'Option "{key}" of backend "{self.name}" must be {self.options[key].legal}; '
                f"it was {value!r}."
            )
        return None


#: The parameters of `tsne_backends.ServerlessTSNE` that change what an engine computes.
ESTIMATOR_PARAMETERS = (
    "n_components",
    "perplexity",
    "early_exaggeration",
    "learning_rate",
    "max_iter",
    "n_iter_without_progress",
    "min_grad_norm",
    "metric",
    "metric_params",
    "init",
    "random_state",
    "method",
    "angle",
    "n_jobs",
)
