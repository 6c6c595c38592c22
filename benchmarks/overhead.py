"""What the estimator costs over calling its engine, and the package over importing scikit-learn.

Run ``python -m benchmarks.overhead``; ``--quick`` ends in about a minute.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from typing import Any

from benchmarks import data, harness
from benchmarks.tables import Results, markdown

IMPORTS = ("import sklearn.base", "from tsne_backends import ServerlessTSNE")


def main() -> None:
    """Measure both and write overhead.csv."""
    parser = harness.parser(__doc__, sizes=[10_000], repeats=3)
    parser.add_argument("--imports", type=int, default=11)
    options = harness.parsed(parser, sizes=[2_000], repeats=1, imports=3)
    # Always anew: the table is one comparison, made within a minute.
    results = Results("overhead", options.out, quick=options.quick, fresh=True)
    for n in options.sizes:
        for row in _estimator(n, options.repeats):
            results.add(row)
    for row in _imports(options.imports):
        results.add(row)
    results.finish(markdown(results.rows))


def _estimator(n: int, repeats: int) -> list[dict[str, Any]]:
    """Alternate the bare engine and the estimator; also what the estimator itself accounts for."""
    from tsne_backends import ServerlessTSNE
    from tsne_backends.outline import outline
    from tsne_backends.registry import load_backend
    from tsne_backends.run import Run
    from tsne_backends.validation import describe

    X = data.load("mixture10", n)
    estimator = ServerlessTSNE(backend="opentsne", random_state=0, max_iter=500)
    problem, engine = describe(estimator, outline(X)), load_backend("opentsne")
    bare, whole, own = [], [], []
    for _ in range(repeats):
        start = time.perf_counter()
        engine.embed(problem, X, Run())
        bare.append(time.perf_counter() - start)
        start = time.perf_counter()
        estimator.fit_transform(X)
        whole.append(time.perf_counter() - start)
        phases = [value for name, value in estimator.timings_.items() if name != "total"]
        own.append(whole[-1] - sum(phases))
    engine_s, estimator_s, own_s = map(statistics.median, (bare, whole, own))
    return [
        _row(f"engine alone, n={n}", engine_s, ""),
        _row(f"estimator, n={n}", estimator_s, f"{estimator_s / engine_s:.3f} of the engine"),
        _row("outside the engine's phases", own_s, f"{100 * own_s / estimator_s:.3f} %"),
    ]


def _imports(repeats: int) -> list[dict[str, Any]]:
    seconds: dict[str, list[float]] = {statement: [] for statement in IMPORTS}
    for _, statement in harness.alternate(IMPORTS, repeats):
        code = f"import time; t = time.perf_counter(); {statement}; print(time.perf_counter() - t)"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        seconds[statement].append(float(done.stdout))
    base, ours = (statistics.median(seconds[statement]) for statement in IMPORTS)
    return [_row(IMPORTS[0], base, ""), _row(IMPORTS[1], ours, f"{ours / base:.2f} × the first")]


def _row(what: str, seconds: float, ratio: str) -> dict[str, Any]:
    return {"what": what, "median_seconds": f"{seconds:.4f}", "ratio": ratio}


if __name__ == "__main__":
    main()
