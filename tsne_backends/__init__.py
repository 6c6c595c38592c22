"""t-SNE on the fastest engine within reach, as a scikit-learn estimator.

Public names only. Each is imported when it is first used (PEP 562), so that importing this package
loads nothing: the command has to say how OpenMP's threads wait before scikit-learn loads them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what type checkers see of `_HOMES`
    from tsne_backends.answers import (
        Embedding as Embedding,
        Estimate as Estimate,
        Offer as Offer,
        Verdict as Verdict,
    )
    from tsne_backends.backend import Backend as Backend
    from tsne_backends.compat import gpu_tsne as gpu_tsne
    from tsne_backends.errors import (
        BackendError as BackendError,
        BackendUnavailableError as BackendUnavailableError,
        BackendWarning as BackendWarning,
        ConfigurationError as ConfigurationError,
        EmbeddingError as EmbeddingError,
        LimitError as LimitError,
        MemoryOfRunsWarning as MemoryOfRunsWarning,
        UnknownBackendError as UnknownBackendError,
        UnsupportedProblemError as UnsupportedProblemError,
    )
    from tsne_backends.estimator import ServerlessTSNE as ServerlessTSNE
    from tsne_backends.problem import Problem as Problem
    from tsne_backends.registry import (
        list_backends as list_backends,
        register_backend as register_backend,
    )
    from tsne_backends.report import (
        QualityReport as QualityReport,
        quality_report as quality_report,
    )
    from tsne_backends.sampling import sample_rows as sample_rows
    from tsne_backends.sweeps import sweep as sweep
    from tsne_backends.sweeps.result import Sweep as Sweep, SweepRow as SweepRow

__version__ = "0.1.0"

#: Which module of this package has which public name.
_HOMES = {
    "Backend": "backend",
    "BackendError": "errors",
    "BackendUnavailableError": "errors",
    "BackendWarning": "errors",
    "ConfigurationError": "errors",
    "Embedding": "answers",
    "EmbeddingError": "errors",
    "Estimate": "answers",
    "LimitError": "errors",
    "MemoryOfRunsWarning": "errors",
    "Offer": "answers",
    "Problem": "problem",
    "QualityReport": "report",
    "ServerlessTSNE": "estimator",
    "Sweep": "sweeps.result",
    "SweepRow": "sweeps.result",
    "UnknownBackendError": "errors",
    "UnsupportedProblemError": "errors",
    "Verdict": "answers",
    "gpu_tsne": "compat",
    "list_backends": "registry",
    "quality_report": "report",
    "register_backend": "registry",
    "sample_rows": "sampling",
    "sweep": "sweeps",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
