"""The remote way at a known rate: seconds, bytes and memory, against sending float32 as it is.

``python -m benchmarks.transfer`` runs the real Modal client against the loopback, whose transfers
pass a token bucket, and writes ``results/transfer.csv``, ``results/transfer_memory.csv`` and a
plot. What compresses X how far and how fast is measured in ``benchmarks.codecs``. Nothing here
tells how long a GPU takes: the loopback computes on this machine, and its seconds are left out.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from backends_remote import account, outbox
from backends_remote.client import Client
from backends_remote.codec import choose_encoding
from backends_remote.loopback import Loopback
from benchmarks import data, harness
from benchmarks.codecs import DATA
from benchmarks.tables import Results, markdown, medians
from tsne_backends import ServerlessTSNE

#: Rates in Mbit/s; rows; sizes in MB of float32 for the memory of one upload.
RATES, ROWS, SIZES = (10, 100, 1000), 20_000, (20, 100, 400)
#: The quick run's.
QUICK_RATES, QUICK_ROWS, QUICK_SIZES = (10,), 2_000, (20,)
#: Of those that ``codecs`` compares, real ones of every width.
DATA_SETS = ("patches10", "patches48", "patches192", "patches768")
#: Ours, and what the published client sends.
WAYS = ("ours", "float32")
FEATURES = 768


def main() -> None:
    """Measure both tables and draw the first."""
    parser = harness.parser(__doc__, sizes=[ROWS], data=DATA_SETS, repeats=3)
    parser.add_argument("--rates", type=int, nargs="+", default=list(RATES), help="Mbit/s")
    parser.add_argument("--uploads", type=int, nargs="*", default=list(SIZES), help="MB")
    options = harness.parsed(
        parser, sizes=[QUICK_ROWS], rates=list(QUICK_RATES), uploads=list(QUICK_SIZES), repeats=1
    )
    results = harness.results_of("transfer", options)
    memory = Results("transfer_memory", options.out, quick=options.quick, fresh=options.fresh)
    with tempfile.TemporaryDirectory() as folder, Loopback() as loopback:
        # The user's own journal and memory of runs stay as they are.
        os.environ["XDG_DATA_HOME"] = os.environ["XDG_CACHE_HOME"] = folder
        account.deploy()
        for size in options.uploads:
            for way in ("by volume", "inline"):
                if not memory.knows({"float32_mb": size, "way": way}):
                    upload = ("-m", "benchmarks.transfer", "--upload", str(size), way)
                    memory.add(harness.facts_of(*upload))
        _fit(data.load("mixture10", 500), "ours")  # starts a container, which is not what counts
        for name in options.data:
            for n in options.sizes:
                _measure(loopback, name, n, options, results)
    table = _table(results.rows)
    results.finish(
        "End-to-end seconds without the engine's, medians; `benchmarks/transfer.py`\n",
        markdown(table),
        "Memory of the client during one upload of noise, above X\n",
        markdown(memory.rows),
    )
    _draw(table, results.path.with_suffix(".png"))


def _measure(
    loopback: Loopback, name: str, n: int, options: argparse.Namespace, results: Results
) -> None:
    """Send one data set both ways at every rate that has no rows yet."""
    X = np.ascontiguousarray(DATA[name][1](n), dtype=np.float32)
    for rate in options.rates:
        place = {"data": name, "n": n, "d": X.shape[1], "mbit_per_s": rate}
        if all(results.knows({**place, "repeat": repeat}) for repeat in range(options.repeats)):
            continue
        loopback.faults.bytes_per_second = rate * 1e6 / 8
        _learn_the_line()
        for repeat, way in harness.alternate(WAYS, options.repeats):
            # Other values each time, or X would be known already.
            fresh = X + np.float32(1e-6 * (1 + len(results.rows)))
            results.add({**place, "way": way, "repeat": repeat, **_fit(fresh, way)})


def _learn_the_line() -> None:
    """Let a first fit find out how fast the line is, as anybody's does, and nothing before it."""
    os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(dir=os.environ["XDG_DATA_HOME"])
    seed = int.from_bytes(os.urandom(4))
    _fit(np.random.default_rng(seed).random((2_000, 200), dtype=np.float32), "float32")


def _fit(X: np.ndarray, way: str) -> dict[str, Any]:
    options = {"codec": "raw"} if way == "float32" else {}
    tsne = ServerlessTSNE(
        backend="modal", max_iter=250, random_state=0, backend_options={"gpu": "T4", **options}
    ).fit(X)
    engine = ("neighbours", "affinities", "initialisation", "optimisation")
    seconds = tsne.timings_
    return {
        "seconds": round(seconds["total"] - sum(seconds[phase] for phase in engine), 3),
        "encoding_s": round(seconds["encoding"], 3),
        "upload_s": round(seconds.get("upload", 0.0), 3),
        "decoding_s": round(seconds["decoding"], 3),
        "download_s": round(seconds["download"], 3),
        "codec": tsne.plan_.transfer["codec"],
        "share_of_float32": round(tsne.plan_.transfer["n_bytes"] / X.nbytes, 4),
        "loss": round(tsne.plan_.transfer["loss"], 4),
    }


def _table(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one line per data set and rate: both ways' seconds and their ratio."""
    values = ("seconds", "share_of_float32", "loss")
    found = medians(rows, ("data", "d", "mbit_per_s", "way"), values)
    by_key = {(one["data"], one["mbit_per_s"], one["way"]): one for one in found}
    table = []
    for one in found:
        if one["way"] != "ours":
            continue
        plain = by_key[one["data"], one["mbit_per_s"], "float32"]
        table.append(
            {
                "data": one["data"],
                "d": one["d"],
                "Mbit/s": one["mbit_per_s"],
                "ours, s": round(one["seconds"], 2),
                "float32, s": round(plain["seconds"], 2),
                "ratio": round(plain["seconds"] / one["seconds"], 2),
                "bytes of float32": one["share_of_float32"],
                "measured loss": one["loss"],
                "repeats": one["repeats"],
            }
        )
    return table


def _draw(table: list[dict[str, Any]], target: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for rate in sorted({line["Mbit/s"] for line in table}):
        lines = [line for line in table if line["Mbit/s"] == rate]
        axes.plot(
            [line["d"] for line in lines],
            [line["ratio"] for line in lines],
            "o-",
            label=f"{rate} Mbit/s",
        )
    axes.axhline(1, color="grey", lw=0.8)
    axes.set(
        xscale="log", xlabel="features", ylabel="seconds of float32 / ours (without the engine)"
    )
    axes.legend(frameon=False)
    figure.savefig(target, dpi=120)


def _upload(size_mb: int, way: str) -> None:
    """Send noise, which no codec makes smaller, and print the growth of memory."""
    client = Client("T4", 1200)
    client.connect()
    rows = size_mb * 1_000_000 // (4 * FEATURES)
    X = np.random.default_rng(size_mb).random((rows, FEATURES), dtype=np.float32)
    before = harness.reset_peak_kib()
    if way == "inline":
        outbox.INLINE_BYTES = 1 << 40
    with outbox.packed(X, choose_encoding(X, 90, codec="raw"), 2) as parcel:
        if parcel.files:
            outbox.upload(parcel, lambda _: None)
        else:
            client.submit(b"", parcel.frame)  # refused by the service, but sent
    grown = (harness.peak_kib() - before) / 1024
    facts = {
        "float32_mb": size_mb,
        "way": way,
        "peak_mib_above_x": round(grown, 1),
        "of_the_frame": round(grown * 2**20 / parcel.n_bytes, 2),
    }
    print(json.dumps(facts))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--upload"]:
        _upload(int(sys.argv[2]), sys.argv[3])
    else:
        main()
