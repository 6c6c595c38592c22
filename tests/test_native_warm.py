"""What compiling ahead leaves behind."""

import gc

import pytest

from tsne_backends.native import warm


@pytest.mark.parametrize("collecting", [True, False])
def test_garbage_is_collected_after_compiling_as_before(collecting, monkeypatch):
    seen = []

    def failing(*_):
        seen.append(gc.isenabled())
        raise RuntimeError("compiling failed")

    was = gc.isenabled()
    try:
        (gc.enable if collecting else gc.disable)()
        warm.warm_up.__wrapped__()
        assert gc.isenabled() is collecting
        monkeypatch.setattr("tsne_backends.native.search.find_neighbors", failing)
        with pytest.raises(RuntimeError, match="compiling failed"):
            warm.warm_up.__wrapped__()
        assert gc.isenabled() is collecting
    finally:
        (gc.enable if was else gc.disable)()
    assert seen == [False]
