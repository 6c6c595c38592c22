"""Settings every test shares; loaded before any numerical library."""

import os

# Spinning OpenMP threads of several test processes ruin one another on a machine of few cores.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import pytest


@pytest.fixture(scope="session")
def digits() -> np.ndarray:
    """300 real rows of 64 features, float32."""
    from sklearn.datasets import load_digits

    return load_digits().data[:300].astype(np.float32)


@pytest.fixture(autouse=True)
def _own_cache_folder(tmp_path_factory, monkeypatch):
    """Keep the user's own cache and configuration folders out of the tests."""
    folder = str(tmp_path_factory.mktemp("xdg"))
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, folder)
