"""What a container does once, before its first call, so that no call has to wait for it.

It makes tiny maps of noise and forgets them; trouble is logged, never raised. ``modal_app`` says
when this happens, and calls are answered in ``service``.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from tsne_backends import warming
from tsne_backends.registry import list_backends, load_backend

logger = logging.getLogger("tsne_backends")


def keep_kernels(folder: Path) -> None:
    """Let the kernels that CuPy compiles lie in a folder that outlives the container.

    Compiling takes half a minute, and a new container has none of them. To be called before CuPy is
    loaded. Where the folder cannot be written to, CuPy uses its own.

    Parameters
    ----------
    folder : Path
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "in_use").touch()
    except OSError as error:
        logger.warning("Compiled kernels cannot be kept: %s: %s", type(error).__name__, error)
    else:
        os.environ.setdefault("CUPY_CACHE_DIR", str(folder))


def warm_up(engines: tuple[str, ...]) -> None:
    """Make tiny maps with the first engine that is available.

    Trouble is logged, not raised: the first call will say what is wrong in its answer, where a
    container that cannot start would be started again and again.
    """
    for name in engines:
        if name not in list_backends():
            continue
        try:
            engine = load_backend(name)
            if not engine.available().ok:
                continue
            warming.warm_up(engine)
        except Exception as error:
            logger.warning("Warming up %s failed: %s: %s", name, type(error).__name__, error)
        return
