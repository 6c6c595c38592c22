"""One report of all results, as Markdown and as an HTML file that needs no other.

It shows what lies in a folder of results and measures nothing; a benchmark without results is
named with the reason.
"""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

from benchmarks import headline
from benchmarks.catalogue import BENCHMARKS, Benchmark
from benchmarks.published import SOURCE
from benchmarks.tables import machine, markdown, read_rows

#: Tables of more lines than this are folded up.
FOLDED_LINES = 30

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; }}
table {{ border-collapse: collapse; font-size: 0.8em; display: block; overflow-x: auto; }}
th, td {{ border-bottom: 1px solid #ddd; padding: 0.2em 0.7em; text-align: left; }}
img {{ max-width: 100%; }}
summary {{ cursor: pointer; }}
</style>
</head>
<body>
{body}</body>
</html>
"""


def write_report(folder: Path, *, quick: bool = False) -> tuple[Path, Path]:
    """Write the report of a folder of results, and the picture it begins with.

    Parameters
    ----------
    folder : Path
    quick : bool, default=False
        Whether to report on the files of quick runs, in files named likewise.

    Returns
    -------
    tuple of Path
        The Markdown and the HTML file.
    """
    ending = "-quick" if quick else ""
    text = "\n".join([*_opening(folder, ending), *_sections(folder, ending)])
    report = folder / f"report{ending}.md"
    page = report.with_suffix(".html")
    report.write_text(text, encoding="utf-8")
    page.write_text(to_html(text, folder), encoding="utf-8")
    return report, page


def to_html(text: str, folder: Path) -> str:
    """Return a report as one HTML page, its pictures within.

    Parameters
    ----------
    text : str
        Markdown; its first line is the title.
    folder : Path
        Where the pictures lie.
    """
    from markdown_it import MarkdownIt

    body = MarkdownIt("commonmark").enable("table").render(text)
    body = re.sub(
        r'src="([^":]+\.png)"',
        lambda found: f'src="data:image/png;base64,{_in_base64(folder / found[1])}"',
        body,
    )
    return PAGE.format(title=text.splitlines()[0].lstrip("# "), body=body)


def _opening(folder: Path, ending: str) -> list[str]:
    """Return title, machine and the headline picture, which is drawn here."""
    length = "quick runs" if ending else "all benchmarks"
    here = machine()
    parts = [f"# Benchmarks of serverless-tsne, {length}\n", f"Written on {_in_words(here)}.\n"]
    engine = folder / f"engine{ending}.csv"
    if not engine.exists():
        return parts
    others = (read_rows(folder / f"{name}{ending}.csv") for name in ("cpu", "gpu"))
    drawn = headline.lines(read_rows(engine), *others)
    where = _machine_of(engine) or here
    picture = folder / f"headline{ending}.png"
    headline.draw(drawn, picture, f"{where['usable_cores']} cores of an {where['processor']}")
    return [
        *parts,
        "## Rows against seconds\n",
        f"![Rows against seconds, by engine]({picture.name})\n",
        "Solid lines were measured here, the one with triangles on the GPU it names, with "
        f"everything loaded. Dashed ones are published figures: {SOURCE}. The band is "
        f"what `plan` predicts of a rented {headline.GPU} at "
        f"{headline.MEGABITS_PER_SECOND} Mbit/s, from a warm to a cold container; none was "
        "rented.\n",
        markdown(headline.table(drawn)),
    ]


def _sections(folder: Path, ending: str) -> list[str]:
    parts = []
    for benchmark in BENCHMARKS:
        parts += [f"## {benchmark.title}\n", f"`benchmarks/{benchmark.name}.py`: "]
        parts[-1] += f"{benchmark.measures}.\n"
        parts += _results(folder / f"{benchmark.name}{ending}.md", benchmark)
    return parts


def _results(summary: Path, benchmark: Benchmark) -> list[str]:
    """Return what one benchmark came to, and where."""
    if not summary.exists():
        missing = benchmark.missing() or "There are no results yet."
        return [f"**Not run.** {missing}\n"]
    parts = []
    if where := _machine_of(summary):
        parts.append(f"Measured on {_in_words(where)}.\n")
    picture = summary.with_suffix(".png")
    if picture.exists():
        parts.append(f"![{benchmark.title}]({picture.name})\n")
    return [*parts, _folded(summary.read_text(encoding="utf-8"))]


def _folded(text: str) -> str:
    """Return a summary, folded up if it is long."""
    lines = text.count("\n")
    if lines <= FOLDED_LINES:
        return text
    return f"<details><summary>{lines:,} lines</summary>\n\n{text}\n</details>\n"


def _machine_of(results: Path) -> dict[str, Any] | None:
    described = results.with_suffix(".json")
    if not described.exists():
        return None
    found: dict[str, Any] = json.loads(described.read_text(encoding="utf-8"))
    return found


def _in_words(where: dict[str, Any]) -> str:
    """Return machine, versions and commit in one line."""
    versions = ("python", "numpy", "scipy", "scikit-learn", "openTSNE", "serverless-tsne")
    told = ", ".join(f"{name} {where[name]}" for name in versions if name in where)
    commits = "commits" if "," in where["commit"] else "commit"
    place = f"{where['usable_cores']} cores of an {where['processor']}, {where['memory_gib']} GiB"
    return f"{place}, {where['system']}; {told}; {commits} {where['commit']}, {where['date']}"


def _in_base64(picture: Path) -> str:
    return base64.b64encode(picture.read_bytes()).decode("ascii")
