"""t-SNE on the fastest engine within reach, as a scikit-learn estimator.

Public names only; importing this package loads no engine.
"""

from tsne_backends.answers import Embedding, Estimate, Offer, Verdict
from tsne_backends.backend import Backend
from tsne_backends.compat import gpu_tsne
from tsne_backends.errors import (
    BackendError,
    BackendUnavailableError,
    BackendWarning,
    ConfigurationError,
    EmbeddingError,
    LimitError,
    MemoryOfRunsWarning,
    UnknownBackendError,
    UnsupportedProblemError,
)
from tsne_backends.estimator import ServerlessTSNE
from tsne_backends.problem import Problem
from tsne_backends.registry import list_backends, register_backend
from tsne_backends.report import QualityReport, quality_report
from tsne_backends.sampling import sample_rows
from tsne_backends.sweeps import sweep
from tsne_backends.sweeps.result import Sweep, SweepRow

__version__ = "0.1.0"

__all__ = [
    "Backend",
    "BackendError",
    "BackendUnavailableError",
    "BackendWarning",
    "ConfigurationError",
    "Embedding",
    "EmbeddingError",
    "Estimate",
    "LimitError",
    "MemoryOfRunsWarning",
    "Offer",
    "Problem",
    "QualityReport",
    "ServerlessTSNE",
    "Sweep",
    "SweepRow",
    "UnknownBackendError",
    "UnsupportedProblemError",
    "Verdict",
    "gpu_tsne",
    "list_backends",
    "quality_report",
    "register_backend",
    "sample_rows",
    "sweep",
]
