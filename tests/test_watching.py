"""Log lines, progress, callbacks and the cache: what accompanies a run."""

import logging

import joblib
import pytest

from tsne_backends import BackendUnavailableError, BackendWarning, ServerlessTSNE
from tsne_backends.backends.native import NativeBackend

QUICK = {"max_iter": 250, "random_state": 0}


def test_logs_one_line_before_and_one_after(caplog, digits):
    with caplog.at_level(logging.INFO, logger="tsne_backends"):
        ServerlessTSNE(**QUICK).fit(digits)
    before, after = (record.message for record in caplog.records)
    assert " took " in after
    assert "300 × 64 runs on native" in before


def test_silent_unless_asked(capfd, digits):
    ServerlessTSNE(**QUICK).fit(digits)
    assert capfd.readouterr() == ("", "")
    ServerlessTSNE(**QUICK, verbose=1).fit(digits)
    shown = capfd.readouterr().out
    assert "optimisation" in shown
    assert "iteration 250: KL divergence" in shown


def test_callbacks_may_be_a_list_and_see_a_read_only_map(digits):
    seen = []

    def writes(iteration, kl, embedding):
        with pytest.raises(ValueError, match="read-only"):
            embedding[0, 0] = 1.0
        seen.append(iteration)

    ServerlessTSNE(**QUICK, callbacks=[writes, lambda *_: seen.append("second")]).fit(digits)
    assert seen == [50, "second", 100, "second", 150, "second", 200, "second", 250, "second"]
    with pytest.raises(TypeError, match="got 3"):
        ServerlessTSNE(**QUICK, callbacks=[3]).fit(digits)


def test_scikit_learn_callback_protocol(digits):
    pytest.importorskip("sklearn.callback", reason="scikit-learn has callbacks from 1.9 on")

    class Recorder:
        def __init__(self):
            self.events = []

        def setup(self, estimator, context):
            self.events.append("setup")

        def teardown(self, estimator, context):
            self.events.append("teardown")

        def on_fit_task_begin(self, estimator, context):
            self.events.append(f"begin {context.task_name}")

        def on_fit_task_end(self, estimator, context, *, metadata=None, fitted_estimator=None):
            self.events.append(f"end {context.task_name}")
            if context.task_name == "fit":
                return False
            assert fitted_estimator.embedding_.shape == (300, 2)
            return metadata["iteration"] >= 100

    recorder = Recorder()
    fitted = ServerlessTSNE(**QUICK).set_callbacks(recorder).fit(digits)
    assert fitted.n_iter_ == 100
    task = ["begin iterations", "end iterations"]
    assert recorder.events == ["setup", "begin fit", *task, *task, "end fit", "teardown"]


class Counter:
    """Counts what the callback protocol is told of one fit."""

    def setup(self, estimator, context):
        self.expected, self.told = context.max_subtasks, 0

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        self.told += context.task_name == "iterations"

    def on_fit_task_end(self, estimator, context, **_):
        return False


def test_scikit_learn_callbacks_expect_the_reports_of_the_schedule_that_runs(digits):
    pytest.importorskip("sklearn.callback", reason="scikit-learn has callbacks from 1.9 on")
    counter = Counter()
    tsne = ServerlessTSNE(max_iter="auto", backend="native", min_grad_norm=0.0, random_state=0)
    tsne.set_callbacks(counter).fit(digits)
    assert counter.expected == counter.told == 11


def test_scikit_learn_callbacks_hear_all_of_a_backend_that_reports_more(digits, monkeypatch):
    pytest.importorskip("sklearn.callback", reason="scikit-learn has callbacks from 1.9 on")

    def does_not_start(*_):
        raise BackendUnavailableError("no")

    monkeypatch.setattr(NativeBackend, "embed", does_not_start)
    monkeypatch.setenv("SERVERLESS_TSNE_BACKENDS", "native,opentsne")
    monkeypatch.setenv("SERVERLESS_TSNE_PREFER", "order")
    counter = Counter()
    tsne = ServerlessTSNE(max_iter="auto", min_grad_norm=0.0, random_state=0)
    with pytest.warns(BackendWarning, match="could not start"):
        tsne.set_callbacks(counter).fit(digits)
    assert (counter.expected, counter.told) == (11, 20)


def test_memory_spares_the_second_search(tmp_path, digits, monkeypatch):
    first = ServerlessTSNE(**QUICK, backend="opentsne", memory=tmp_path).fit(digits)
    from tsne_backends import searches

    def not_again(*args, **kwargs):
        raise AssertionError("searched again")

    monkeypatch.setattr(searches, "_brute", not_again)
    memory = joblib.Memory(str(tmp_path), verbose=0)
    second = ServerlessTSNE(**QUICK, backend="opentsne", memory=memory, n_jobs=1)
    again = second.set_params(learning_rate=70, early_exaggeration=6).fit(digits)
    assert again.embedding_.shape == first.embedding_.shape
    with pytest.raises(AssertionError, match="searched again"):
        second.fit(digits + 1)
