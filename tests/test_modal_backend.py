"""What the Modal backend offers, refuses and forbids itself, without any network."""

import subprocess
import sys

import pytest

from backends_remote import backend as module
from backends_remote import journal
from backends_remote.backend import ModalBackend
from backends_remote.deployment import APP_NAME, TIMEOUTS_SECONDS
from tsne_backends import Problem, ServerlessTSNE, __version__, transfer
from tsne_backends.errors import CostLimitError, UnsupportedProblemError
from tsne_backends.machine import Link, Machine
from tsne_backends.run import Run


@pytest.fixture
def account(monkeypatch, tmp_path):
    """An account that is set up and has our service, as far as this machine can see."""
    monkeypatch.setenv("MODAL_CONFIG_PATH", str(tmp_path / "modal.toml"))
    monkeypatch.delenv("MODAL_TOKEN_ID", raising=False)
    monkeypatch.delenv("MODAL_TOKEN_SECRET", raising=False)
    (tmp_path / "modal.toml").write_text("[default]\ntoken_id = 'secret'\n")
    journal.record_deployment(journal.Deployment(APP_NAME, __version__, 0.0))
    return tmp_path / "modal.toml"


def sized(n, d, **more):
    return Problem(n, d, n_bytes=4 * n * d, n_threads=2, **more)


def over(megabits):
    rate = megabits * 1e6 / 8
    return Machine(cores=2, link=Link(0.05, rate, rate))


def test_verdicts_in_order(account, monkeypatch):
    backend = ModalBackend()
    assert backend.available().ok
    journal.record_deployment(None)
    assert "serverless-tsne deploy" in backend.available().reason
    account.unlink()
    assert "modal setup" in backend.available().reason
    monkeypatch.setattr(module, "PACKAGES", ("modal", "no_such_package"))
    assert "no_such_package" in backend.available().reason
    assert 'pip install "serverless-tsne[modal]"' in backend.available().reason


def test_planning_does_not_import_modal(account):
    code = (
        "import sys; from tsne_backends import ServerlessTSNE;"
        "plan = ServerlessTSNE().plan(shape=(500, 10));"
        "assert any(way.backend == 'modal' for way in plan.candidates);"
        "assert 'modal' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_kind_of_gpu_is_offered_or_the_one_asked_for(account):
    backend = ModalBackend()
    offers = backend.offers(sized(50_000, 50), over(100))
    assert [offer.variant for offer in offers] == list(transfer.GPUS)
    assert all(offer.options["gpu"] == offer.variant for offer in offers)
    one = backend.offers(sized(50_000, 50, options={"gpu": "L4"}), over(100))
    assert [offer.variant for offer in one] == ["L4"]


def test_a_slow_line_is_sent_less_and_a_fast_one_x_as_it_is(account):
    backend = ModalBackend()
    slow = backend.offers(sized(200_000, 768), over(20))[0]
    fast = backend.offers(sized(200_000, 768), over(10_000))[0]
    assert "codec" not in slow.options
    assert slow.estimate.upload < 0.2 * 4 * 200_000 * 768 / 2.5e6
    assert fast.options["codec"] == "raw"
    assert fast.estimate.upload < 1
    exact = backend.offers(sized(200_000, 768, options={"transfer_loss": 0}), over(20))[0]
    assert exact.estimate.upload > 3 * slow.estimate.upload


def test_the_start_is_hidden_behind_a_long_upload(account):
    backend = ModalBackend()
    short, long = (backend.offers(sized(n, 768), over(10))[0].estimate for n in (2_000, 200_000))
    assert short.start + short.upload == pytest.approx(transfer.COLD_START_SECONDS, rel=0.2)
    assert long.start < short.start
    assert long.upload > transfer.COLD_START_SECONDS


@pytest.mark.parametrize(
    ("n", "options", "seconds"),
    [
        (10_000, {}, TIMEOUTS_SECONDS[0]),
        (3_000_000, {"gpu": "T4", "neighbors": "exact"}, TIMEOUTS_SECONDS[1]),
        (10_000, {"timeout": 5_000}, 5_000),
    ],
)
def test_few_time_limits_so_that_there_are_few_pools(account, n, options, seconds):
    problem = sized(n, 10, options=options)
    rented = transfer.remote_estimate(problem, transfer.GPUS["T4"], Link(), warm=True)
    assert ModalBackend()._timeout(problem, rented, None) == seconds
    assert ModalBackend()._timeout(problem, rented, 66.6) == 66


def test_a_problem_too_large_names_a_gpu_that_takes_it_and_its_price(account):
    problem = sized(3_500_000, 500, options={"gpu": "T4"})
    (offer,) = ModalBackend().offers(problem, over(100))
    assert "L40S would take it, at $1.95 an hour" in offer.refusal
    assert "rows" in offer.refusal
    enormous = sized(300_000_000, 500, options={"gpu": "H100"})
    (offer,) = ModalBackend().offers(enormous, over(100))
    assert "no GPU on offer would take it" in offer.refusal
    with pytest.raises(UnsupportedProblemError, match="L40S"):
        ServerlessTSNE(backend="modal", backend_options={"gpu": "T4"}).plan(shape=(3_500_000, 500))


def test_money_that_does_not_pay_for_the_idle_time_sends_nothing(account):
    with pytest.raises(CostLimitError, match="waits"):
        ModalBackend().embed(sized(300, 20), None, Run(max_cost=0.01))


def test_a_limit_on_cost_becomes_a_limit_on_seconds():
    t4 = transfer.GPUS["T4"]
    rented = transfer.remote_estimate(sized(300, 20), t4, Link(), warm=True)
    seconds = module._seconds_paid_for(rented.idle_usd + 0.59 / 60, t4, rented)
    assert seconds == pytest.approx(60)
    assert module._seconds_paid_for(None, t4, rented) is None
