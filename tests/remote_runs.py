"""Remote fits as tests ask for them: here, in another process, and with a GPU that looks quick."""

import os
import subprocess
import sys
import textwrap
import time

import numpy as np

from backends_remote import journal
from tsne_backends import ServerlessTSNE


def remote(seed=0, max_iter=250, options=None, **more):
    return ServerlessTSNE(
        backend="modal",
        perplexity=10.0,
        max_iter=max_iter,
        random_state=seed,
        backend_options=options,
        **more,
    )


def expected(X):
    return ServerlessTSNE(
        backend="opentsne", perplexity=10.0, max_iter=250, random_state=0
    ).fit_transform(X)


EXACT = {"transfer_loss": 0}


def fast_gpu(monkeypatch):
    """Let the rented machine look quicker than this one."""
    from backends_remote.backend import ModalBackend
    from tsne_backends import Offer
    from tsne_backends.backend import Estimate

    def offers(self, problem, machine):
        return (Offer("T4", Estimate(neighbours=0.0, optimise=1e-6), "", {"gpu": "T4"}),)

    monkeypatch.setattr(ModalBackend, "offers", offers)
    monkeypatch.setattr("tsne_backends.planning.AS_GOOD_SECONDS", 0.0)


CHILD = """
    import sys, time
    import numpy as np
    from tsne_backends import ServerlessTSNE
    X = np.load(sys.argv[1])
    ServerlessTSNE(backend="modal", perplexity=10, max_iter=int(sys.argv[2]), random_state=3,
                   n_iter_without_progress=1_000_000, min_grad_norm=0.0).fit(X)
"""


def child(cloud, X, tmp_path, max_iter):
    """A fit in another process, up to the moment its job is running."""
    np.save(tmp_path / "X.npy", X)
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CHILD), str(tmp_path / "X.npy"), str(max_iter)],
        env={**os.environ, **cloud.environment()},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not [job for job in journal.jobs() if job.state == "running"]:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    time.sleep(0.3)
    return process
