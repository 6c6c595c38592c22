"""The network on the way to Modal: whether it is there, and whether it answers in time.

What is asked of Modal is in ``client`` and ``volume``, which do each step through this module. What
Modal's own exceptions mean is in ``failures``.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies

from tsne_backends.errors import ServiceUnreachableError

#: Seconds for a first sign of life of Modal's servers; its library alone would wait 57 to 59.
CONNECT_SECONDS = 5.0
#: Seconds for any other step, such as a look-up.
CALL_SECONDS = 30.0
#: Slowest upload that counts as one, in bytes per second.
SLOWEST_UPLOAD = 50e3
#: Seconds that an interrupted step has to be undone.
UNDO_SECONDS = 3.0

T = TypeVar("T")


def within(
    seconds: float, work: Callable[[], T], undo: Callable[[T], object] = lambda _: None
) -> T:
    """Return what ``work`` returns, or raise `ServiceUnreachableError` when its time is up.

    Modal's library waits without limit in some cases, as for an upload whose connection was reset,
    and warns of blocking calls where an event loop runs, as in notebooks. A thread of its own,
    which nobody waits for when the process ends, answers both. Where the caller left early, by
    Ctrl-C or for lack of time, ``undo`` is called with what ``work`` returned after all.

    Parameters
    ----------
    seconds : float
    work : callable
        Called without arguments, in a thread.
    undo : callable, optional
        ``undo(result)``.

    Raises
    ------
    ServiceUnreachableError
        The time is up.
    """
    future: Future[T] = Future()
    undone = threading.Event()

    def do() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # whatever it is, it belongs to the caller
            future.set_exception(error)

    def clean_up(done: Future[T]) -> None:
        if done.exception() is None:
            undo(done.result())
        undone.set()

    threading.Thread(target=do, name="serverless-tsne-call", daemon=True).start()
    try:
        return future.result(timeout=seconds)
    except KeyboardInterrupt:
        future.add_done_callback(clean_up)
        undone.wait(UNDO_SECONDS)  # the thread ends with the process
        raise
    except TimeoutError:
        if future.done():  # it came in the last moment, or the work itself raised this
            return future.result()
        future.add_done_callback(clean_up)
        raise ServiceUnreachableError(
            f"Modal did not answer within {seconds:.0f} s. Check the network, or go on with a "
            "local backend."
        ) from None


def check_reachable() -> None:
    """Raise `ServiceUnreachableError` soon where Modal's servers do not answer.

    Where the user goes through a proxy, Modal's own library has to find out.
    """
    if not {"https", "all"} & set(getproxies()):
        within(CONNECT_SECONDS, _try_servers)


def _try_servers() -> None:
    from modal.config import config

    trouble: list[str] = []
    # Modal's configuration may name several servers, of which one is enough.
    for url in str(config.get("server_url")).split(","):
        place = urlsplit(url.strip())
        port = place.port or (443 if place.scheme == "https" else 80)
        try:
            socket.create_connection((str(place.hostname), port), CONNECT_SECONDS).close()
            return
        except OSError as error:
            trouble.append(f"{place.hostname} does not answer ({error})")
    raise ServiceUnreachableError(
        f"Modal cannot be reached: {'; '.join(trouble)}. Check the network; local backends "
        "need none."
    )
