"""The command line: real files in and out, exit codes, nothing written where something fails."""

import inspect
import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import tsne_backends
from tsne_backends import ServerlessTSNE, files, register_backend, registry
from tsne_backends.backend import Verdict
from tsne_backends.backends.opentsne import OpenTSNEBackend
from tsne_backends.cli.command import main
from tsne_backends.errors import EmbeddingError

QUICK = ["--max-iter", "250", "--random-state", "0"]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(name="X")
def _data(digits):
    """Write x.npy, of 120 rows, and return its content."""
    np.save("x.npy", digits[:120])
    return digits[:120]


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def refuse_to_work(*arguments, **keywords):
    raise AssertionError("work was started")


def test_embed_gives_what_the_estimator_gives(X):
    result = run("embed", "x.npy", "-o", "map.npy", *QUICK)
    assert result.exit_code == 0, result.output
    expected = ServerlessTSNE(max_iter=250, random_state=0).fit_transform(X)
    np.testing.assert_array_equal(np.load("map.npy"), expected)
    assert "120 × 64" in result.output
    assert "backend native" in result.output
    assert "this CPU" in result.output
    assert "250 iterations" in result.output
    assert re.search(r"KL divergence \d\.\d+ nats", result.output)
    assert re.search(r"^  neighbours: .*exact", result.output, re.MULTILINE)
    assert re.search(r"optimisation \d+\.\d+ s", result.output)
    assert "map.npy (120 × 2" in result.output
    assert sorted(os.listdir()) == ["map.npy", "x.npy"]


def test_row_names_go_along():
    rows = [f"cell_{i},{i % 7},{i % 5}.5" for i in range(40)]
    Path("x.csv").write_text("\n".join(["id,a,b", *rows]) + "\n")
    result = run("embed", "x.csv", "-o", "map.csv", "--perplexity", 5, *QUICK)
    assert result.exit_code == 0, result.output
    lines = Path("map.csv").read_text().splitlines()
    assert lines[0] == "id,tsne1,tsne2"
    assert [line.split(",")[0] for line in lines[1:]] == [f"cell_{i}" for i in range(40)]


def test_h5ad_in_and_out(digits):
    anndata = pytest.importorskip("anndata")
    data = anndata.AnnData(np.zeros((60, 3), np.float32), obsm={"X_pca": digits[:60, :20]})
    data.write_h5ad("cells.h5ad")
    command = ["embed", "cells.h5ad", "--rep", "X_pca", *QUICK, "--perplexity", 10]
    assert run(*command, "-o", "map.npy").exit_code == 0
    assert run(*command, "-o", "cells.h5ad").exit_code == 2
    assert "X_tsne" not in anndata.read_h5ad("cells.h5ad").obsm
    assert run(*command, "-o", "cells.h5ad", "--force").exit_code == 0
    np.testing.assert_array_equal(
        anndata.read_h5ad("cells.h5ad").obsm["X_tsne"], np.load("map.npy")
    )


def test_a_named_array(X):
    np.savez("x.npz", train=X, test=X[:100])
    result = run("embed", "x.npz", "--key", "test", "-o", "map.npy", *QUICK)
    assert result.exit_code == 0, result.output
    assert np.load("map.npy").shape == (100, 2)


def test_defaults_are_the_estimators():
    options = {option.name: option for option in main.commands["embed"].params}
    parameters = inspect.signature(ServerlessTSNE).parameters
    shared = options.keys() & parameters.keys()
    not_shared = {"metric_params", "backend_options", "memory", "callbacks", "verbose"}
    assert shared - {"verbose"} == parameters.keys() - not_shared
    context = main.make_context("serverless-tsne", ["embed", "--help"], resilient_parsing=True)
    for name in shared - {"verbose"}:
        assert options[name].get_default(context) == parameters[name].default, name


def test_every_option_reaches_the_estimator(X, monkeypatch):
    seen = {}

    def fit(self, X):
        seen.update(self.get_params())
        raise ValueError("seen enough")

    monkeypatch.setattr(ServerlessTSNE, "fit", fit)
    given = {
        "n_components": 1,
        "perplexity": 7.5,
        "early_exaggeration": 4.0,
        "learning_rate": 123.0,
        "max_iter": 300,
        "n_iter_without_progress": 100,
        "min_grad_norm": 1e-5,
        "metric": "cosine",
        "init": "random",
        "random_state": 3,
        "method": "fft",
        "angle": 0.25,
        "n_jobs": 2,
        "backend": "opentsne",
    }
    flags = [part for k, v in given.items() for part in ("--" + k.replace("_", "-"), v)]
    options = ["--backend-option", "grid_interval=0.5", "--backend-option", "neighbors=exact"]
    result = run("embed", "x.npy", "-o", "map.npy", *flags, *options)
    assert result.output.splitlines()[-1] == "Error: seen enough"
    assert {name: seen[name] for name in given} == given
    assert seen["backend_options"] == {"grid_interval": 0.5, "neighbors": "exact"}
    assert seen["memory"] is None


@pytest.mark.usefixtures("X")
def test_cache_is_kept_in_the_users_folder():
    import platformdirs

    folder = platformdirs.user_cache_path("serverless-tsne") / "shared"
    assert run("embed", "x.npy", "-o", "a.npy", *QUICK).exit_code == 0
    assert not folder.exists()
    assert run("embed", "x.npy", "-o", "b.npy", "--cache", *QUICK).exit_code == 0
    assert any(path.is_file() for path in folder.rglob("*"))
    np.testing.assert_array_equal(np.load("a.npy"), np.load("b.npy"))


@pytest.mark.usefixtures("X")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["y.npy", "-o", "map.npy"], 'no file "y.npy"'),
        (["x.npy", "-o", "map.cvs"], 'Did you mean ".csv"'),
        (["x.npy", "-o", "no/map.npy"], "create it first"),
        (["x.npy", "-o", "map.h5ad"], "input must be an .h5ad"),
        (["x.npy", "-o", "x.npy", "--force"], "is the input"),
        (["x.npy", "-o", "map.npy", "--perplexity", "120"], "less than n_samples"),
        (["x.npy", "-o", "map.npy", "--perplexity", "-1"], "perplexity"),
        (["x.npy", "-o", "map.npy", "--metric", "euclidian"], 'Did you mean "euclidean"'),
        (["x.npy", "-o", "map.npy", "--learning-rate", "fast"], '"auto" or a number'),
        (["x.npy", "-o", "map.npy", "--method", "slow"], "barnes_hut"),
        (["x.npy", "-o", "map.npy", "--backend", "opentnse"], 'Did you mean "opentsne"'),
        (["x.npy", "-o", "map.npy", "--backend-option", "grid"], "KEY=VALUE"),
        (["x.npy", "-o", "map.npy", "--backend-option", "gird_interval=1"], "grid_interval"),
        (["x.npy", "-o", "map.npy", "--rep", "X_pca"], "--rep"),
        (["x.npy"], "--output"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(arguments, message):
    result = run("embed", *arguments)
    assert result.exit_code == 2
    assert re.search(r"^Error: ", result.output, re.MULTILINE)
    assert message in result.output
    assert "Traceback" not in result.output
    assert os.listdir() == ["x.npy"]


@pytest.mark.parametrize(
    "error",
    [
        EmbeddingError("It diverged."),
        OSError("Disk full."),
        ImportError("No library."),
        MemoryError("No room."),
    ],
)
@pytest.mark.usefixtures("X")
def test_errors_of_the_computation(monkeypatch, error):
    def fail(self, X):
        raise error

    monkeypatch.setattr(ServerlessTSNE, "fit", fail)
    result = run("embed", "x.npy", "-o", "map.npy")
    assert result.exit_code == 2
    assert result.output.splitlines()[-1] == f"Error: {error}"


@pytest.mark.usefixtures("X")
def test_our_own_mistakes_are_not_dressed_up_as_the_users(monkeypatch):
    monkeypatch.setattr(ServerlessTSNE, "fit", refuse_to_work)
    result = run("embed", "x.npy", "-o", "map.npy")
    assert result.exit_code == 1
    assert isinstance(result.exception, AssertionError)


def test_an_existing_output_is_refused_before_the_input_is_read(X, monkeypatch):
    Path("map.npy").write_bytes(b"precious")
    with monkeypatch.context() as patch:
        patch.setattr(files, "read_table", refuse_to_work)
        result = run("embed", "x.npy", "-o", "map.npy")
    assert result.exit_code == 2
    assert '"map.npy" exists already; pass --force' in result.output
    assert Path("map.npy").read_bytes() == b"precious"
    assert run("embed", "x.npy", "-o", "map.npy", "--force", *QUICK).exit_code == 0
    assert np.load("map.npy").shape == (120, 2)


@pytest.mark.usefixtures("X")
@pytest.mark.parametrize("moment", ["fit", "write"])
@pytest.mark.parametrize("existing", [False, True])
def test_ctrl_c_leaves_nothing_and_spoils_nothing(monkeypatch, moment, existing):
    def interrupt(*arguments, **keywords):
        raise KeyboardInterrupt

    if existing:
        Path("map.npy").write_bytes(b"precious")
    monkeypatch.setattr(*((ServerlessTSNE, "fit") if moment == "fit" else (os, "fsync")), interrupt)
    result = run("embed", "x.npy", "-o", "map.npy", "--force", *QUICK)
    assert result.exit_code == 130
    assert "Interrupted" in result.output
    assert sorted(os.listdir()) == (["map.npy", "x.npy"] if existing else ["x.npy"])
    assert not existing or Path("map.npy").read_bytes() == b"precious"


@pytest.mark.usefixtures("X")
def test_verbose_shows_the_decision():
    command = [sys.executable, "-m", "tsne_backends.cli", "embed", "x.npy", "-o", "map.npy", "-v"]
    done = subprocess.run([*command, *QUICK], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "120 × 64 runs on opentsne in about " in done.stderr  # loading ours would take longer
    assert re.search(r"^opentsne took \d\.\d s; \d\.\d s were expected\.$", done.stderr, re.M)
    assert "s were expected." in done.stdout
    assert "120 × 64 runs on opentsne: " not in done.stdout
    assert "Embedded 120 × 64" in done.stdout


def test_as_a_program(X):
    program = [sys.executable, "-m", "tsne_backends.cli"]
    done = subprocess.run(
        [*program, "embed", "x.npy", "-o", "map.csv", *QUICK], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(Path("map.csv").read_text().splitlines()) == 121
    done = subprocess.run(
        [*program, "embed", "x.npy", "-o", "map.csv"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith('Error: "map.csv" exists already')
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(sys.platform != "linux", reason="only GNU's runtime prints its settings")
@pytest.mark.parametrize(("users", "seen"), [(None, "PASSIVE"), ("active", "ACTIVE")])
def test_openmp_waits_passively_in_the_whole_command(users, seen, monkeypatch):
    """Whichever library loads the runtime first, which is scikit-learn and not openTSNE."""
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if users:
        monkeypatch.setenv("OMP_WAIT_POLICY", users)
    monkeypatch.setenv("OMP_DISPLAY_ENV", "true")
    program = [sys.executable, "-m", "tsne_backends.cli", "embed", "--help"]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    assert set(re.findall(r"OMP_WAIT_POLICY = '(\w+)'", done.stderr)) == {seen}


def test_an_interrupt_while_libraries_are_loaded_is_one_word():
    code = """
import sys
from importlib.abc import MetaPathFinder
class Interrupting(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "sklearn":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupting())
from tsne_backends.cli import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "Interrupted.\n")


def test_help_loads_no_engine_and_no_plotting():
    code = """
import sys, sklearn.base
theirs = set(sys.modules)
from tsne_backends.cli.command import main
for arguments in (["--help"], ["embed", "--help"]):
    try:
        main(arguments)
    except SystemExit as end:
        assert end.code == 0
heavy = ["openTSNE", "usearch", "matplotlib", "anndata", "h5py", "pyarrow", "platformdirs",
         "sklearn.manifold", "sklearn.datasets", "sklearn.neighbors", "tsne_backends.files"]
loaded = [name for name in heavy if name in sys.modules and name not in theirs]
assert not loaded, loaded
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "embed" in done.stdout
    assert "--early-exaggeration" in done.stdout


def test_version():
    result = run("--version")
    assert result.exit_code == 0
    assert tsne_backends.__version__ in result.output


@pytest.mark.usefixtures("X")
@pytest.mark.parametrize(
    "arguments",
    [["--backend", "nope"], ["--perplexity", "-1"], ["--max-iter", "3"], ["--metric", "euclidian"]],
)
def test_bad_parameters_are_refused_before_the_input_is_read(monkeypatch, arguments):
    monkeypatch.setattr(files, "read_table", refuse_to_work)
    result = run("embed", "x.npy", "-o", "map.npy", *arguments)
    assert result.exit_code == 2
    assert result.output.startswith("Error: ")


@pytest.mark.usefixtures("X")
def test_warnings_are_sentences():
    register_backend("broken", "no_such_module_anywhere:Backend")
    try:
        result = run("embed", "x.npy", "-o", "map.npy", *QUICK)
    finally:
        registry.unregister_backend("broken")
    assert result.exit_code == 0
    assert re.search('^Warning: The backend "broken" could not be loaded', result.output, re.M)
    assert "estimator.py" not in result.output


# demo


@pytest.fixture
def quick_demo(monkeypatch):
    """Make the demo short: 200 digits."""
    import sklearn.datasets

    digits = sklearn.datasets.load_digits()
    digits.data, digits.target = digits.data[:200], digits.target[:200]
    monkeypatch.setattr(sklearn.datasets, "load_digits", lambda: digits)


@pytest.mark.usefixtures("quick_demo")
def test_demo():
    pytest.importorskip("matplotlib")
    result = run("demo", "--output-dir", "here")
    assert result.exit_code == 0, result.output
    assert np.load("here/demo.npy").shape == (200, 2)
    assert Path("here/demo.png").read_bytes()[:4] == b"\x89PNG"
    assert sorted(os.listdir("here")) == ["demo.npy", "demo.png"]
    for word in ("native", "this CPU", "KL divergence", " s", "demo.npy", "demo.png"):
        assert word in result.output


@pytest.mark.usefixtures("quick_demo")
def test_demo_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = run("demo")
    assert result.exit_code == 0, result.output
    assert os.listdir() == ["demo.npy"]
    assert 'pip install "serverless-tsne[plot]"' in result.output


@pytest.mark.parametrize("name", ["demo.npy", "demo.png"])
def test_demo_does_not_overwrite(monkeypatch, name):
    monkeypatch.setattr(ServerlessTSNE, "fit", refuse_to_work)
    Path(name).write_text("precious")
    result = run("demo")
    assert result.exit_code == 2
    assert re.search(rf"{name}.* exists already.*--force.*--output-dir", result.output)
    assert os.listdir() == [name]
    assert Path(name).read_text() == "precious"


def test_the_demo_compiles_the_engine_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tsne_backends.native.warm.is_compiled", lambda: False)
    result = run("demo")
    assert result.exit_code == 0, result.output
    assert result.output.startswith("Compiling the native engine, once on this machine")
    assert "with backend native" in result.output


# warmup, and the schedule


def test_warmup_says_what_it_did():
    result = run("warmup")
    assert result.exit_code == 0, result.output
    assert re.search(r"was compiled already; loading it took \d+\.\d s\.", result.output)


def test_warmup_compiles_what_large_data_and_new_rows_need(monkeypatch):
    done = []
    for name in ("warm_up", "warm_up_many", "warm_up_placing"):
        monkeypatch.setattr(f"tsne_backends.native.warm.{name}", partial(done.append, name))
    assert run("warmup").exit_code == 0
    assert done == ["warm_up", "warm_up_many", "warm_up_placing"]


def test_warmup_compiles_for_the_gpu_where_there_is_one(gpu):
    result = run("warmup")
    assert result.exit_code == 0, result.output
    assert re.search(r"The GPU is ready; that took \d+\.\d s\.", result.output)
    gpu["memory"] = True
    result = run("warmup")
    assert result.exit_code == 2
    assert "memory of the GPU ran out" in result.output


@pytest.mark.parametrize(("given", "exit_code"), [("auto", 0), ("300", 0), ("soon", 2), ("1.5", 2)])
def test_max_iter_is_a_number_or_auto(given, exit_code):
    result = run("plan", "--shape", "2000x10", "--max-iter", given)
    assert result.exit_code == exit_code, result.output
    if exit_code:
        assert "not a valid integer" in result.output


# backends


class Absent(OpenTSNEBackend):
    name = "absent"

    def available(self):
        return Verdict(False, "No GPU was found.")


@pytest.fixture
def others():
    register_backend("absent", Absent, 'pip install "gpu[all]"')
    register_backend("broken", "no_such_module_anywhere:Backend", "pip install better")
    yield
    registry.unregister_backend("absent")
    registry.unregister_backend("broken")


@pytest.mark.usefixtures("others")
def test_backends_says_which_are_usable_and_how_to_get_the_others(monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    result = run("backends")
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.output.splitlines() if line.strip()]
    words = {line[0]: line for line in reversed(lines)}
    assert "yes" in words["opentsne"]
    assert "no" in words["absent"]
    assert "grid_interval" in result.output
    assert "grid_interval = 1.0: side of an FFT grid cell" in result.output
    text = " ".join(result.output.split())
    assert "No GPU was found." in text
    assert 'pip install "gpu[all]"' in text
    assert "no_such_module" in text
    assert "Traceback" not in text
    if "run `modal setup`" in text:  # the client is here: installing it again is no advice
        assert "serverless-tsne[modal]" not in text
