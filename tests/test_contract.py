"""Every built-in backend keeps the contract that third parties are held to."""

from typing import ClassVar

from tsne_backends.testing import BackendContract


class TestOpenTSNE(BackendContract):
    name = "opentsne"


class TestOpenTSNEOnTheGrid(BackendContract):
    name = "opentsne"
    parameters: ClassVar = {"method": "fft"}


class TestSklearn(BackendContract):
    name = "sklearn"


class TestSklearnExact(BackendContract):
    name = "sklearn"
    parameters: ClassVar = {"method": "exact"}

    # Its affinities reach beyond 3 × perplexity neighbours, so its divergence is another number.
    test_same_objective_as_opentsne = None
    test_reports_the_divergence_of_its_map = None


class TestNative(BackendContract):
    name = "native"


class TestNativeOnTheGrid(BackendContract):
    name = "native"
    parameters: ClassVar = {"method": "fft"}
