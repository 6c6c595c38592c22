"""What a release says about itself in several places is the same everywhere."""

import pathlib
import re
import tomllib

import pytest

import tsne_backends

ROOT = pathlib.Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
#: Not run on their oldest versions: checks of the code itself, and what needs other dependencies.
NOT_TRIED = {"ruff", "mypy", "nvidia-cuda-nvrtc", "datashader"}
TRIED_EXTRAS = ("modal", "plot", "interactive", "anndata", "parquet", "pandas", "dask", "test")


def bounds():
    extras = PROJECT["optional-dependencies"]
    wanted = [*PROJECT["dependencies"], *(one for name in TRIED_EXTRAS for one in extras[name])]
    for requirement in wanted:
        found = re.match(r"([\w-]+)(?:\[\w+\])?>=([\d.]+)", requirement)
        if found and found[1] not in NOT_TRIED:
            yield found[1], found[2]


def numbers(version):
    return [int(part) for part in version.split(".")]


@pytest.mark.parametrize(("name", "bound"), sorted(set(bounds())))
def test_the_oldest_versions_are_those_allowed(name, bound):
    """`make test-oldest` runs what pyproject.toml promises, up to the last number."""
    lines = (ROOT / "tests" / "oldest.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if "==" in line)
    assert name in pins, f"{name} is missing in tests/oldest.txt"
    assert numbers(pins[name])[: len(numbers(bound))] == numbers(bound)


def test_the_version_is_the_same_everywhere():
    version = tsne_backends.__version__
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert PROJECT["version"] == version
    assert f"\nversion: {version}\n" in citation
    assert f"\n## {version}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_forge_runs_the_same_gate():
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    oldest, newest = (
        f"Programming Language :: Python :: {version}" for version in ("3.11", "3.13")
    )
    assert {oldest, newest} <= set(PROJECT["classifiers"])
    assert '["3.11", "3.13"]' in workflow
    assert "run: .ci/run" in workflow
    assert "run: make test-oldest" in workflow
