"""Whether this process can use an NVIDIA GPU, found out without loading a GPU library.

``nvidia-smi`` tells of devices and driver, the installed packages of the rest; so that a plan costs
milliseconds, and a machine without a GPU hears which piece is missing.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import sys
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

from tsne_backends.answers import Verdict
from tsne_backends.gpu.driver import LocalGpu, find_gpus


@dataclass(frozen=True)
class CudaNeeds:
    """What the packages for one major version of CUDA need.

    Attributes
    ----------
    driver : int
        Least major version of the driver.
    capability : float
        Least compute capability of the GPU.
    generation : str
        The name of that capability's generation.
    """

    driver: int
    capability: float
    generation: str


#: By major version of CUDA, from the support matrix of RAPIDS 26.08 and 26.10.
CUDA_NEEDS = MappingProxyType({13: CudaNeeds(580, 7.5, "Turing"), 12: CudaNeeds(535, 7.0, "Volta")})
#: The first release whose FFT t-SNE repeats with a seed, and takes 0 for one.
LEAST_RELEASE = (26, 8)
#: What has to be importable; the last is not among the dependencies of cuML's own package.
MODULES = ("cupy", "cuml", "cuvs")

#: How a command names the packages.
INSTALL = MappingProxyType(
    {13: 'pip install "serverless-tsne[cuml]"', 12: "pip install cuml-cu12 cuvs-cu12"}
)


@dataclass(frozen=True)
class Release:
    """The installed cuML.

    Attributes
    ----------
    version : str
        ``"26.10.0"``.
    cuda : int or None
        Major version of CUDA it is made for; None where the package's name does not say.
    """

    version: str
    cuda: int | None

    @property
    def is_recent(self) -> bool:
        """Whether this package works with it."""
        numbers = [int(number) for number in re.findall(r"\d+", self.version)[:2]]
        return tuple(numbers) >= LEAST_RELEASE


def installed_release() -> Release | None:
    """Return which cuML is installed, None where there is none."""
    for name, cuda in (("cuml-cu13", 13), ("cuml-cu12", 12), ("cuml", None)):
        try:
            return Release(importlib.metadata.version(name), cuda)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def visible_gpus() -> tuple[list[LocalGpu], str]:
    """Return the GPUs this process may use, or why there are none.

    They are numbered as the driver numbers them, which is also CUDA's order where all are of one
    kind or ``CUDA_DEVICE_ORDER=PCI_BUS_ID`` is set. ``nvidia-smi`` is asked once a process: it
    takes up to a second.
    """
    gpus, why_none = _gpus_once(os.environ.get("PATH", ""))
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden is None or not gpus:
        return list(gpus), why_none
    chosen: list[LocalGpu] = []
    for name in (name.strip() for name in hidden.split(",")):
        if name[:4] in ("GPU-", "MIG-"):  # which is which, only the driver knows
            return list(gpus), ""
        if not name.isdigit() or int(name) >= len(gpus):
            break  # CUDA, too, sees none of those behind the first that is not there
        chosen.append(gpus[int(name)])
    return chosen, "" if chosen else _hidden(hidden)


def gpu_verdict() -> Verdict:
    """Say whether cuML could start here, and if not, what is missing and how to get it.

    Returns
    -------
    Verdict
    """
    release, (gpus, why_none) = installed_release(), visible_gpus()
    if not gpus:
        if release:
            return Verdict(False, f"cuML {release.version} is installed, but {why_none}.")
        return Verdict(False, f"{why_none[0].upper()}{why_none[1:]}.")
    gpu = gpus[0]
    if not sys.platform.startswith("linux"):
        return Verdict(False, "cuML exists for Linux only; on Windows, it runs in WSL 2.")
    refusal = _refuse_packages(gpu, release) or _refuse_driver(gpu, release)
    if refusal:
        return Verdict(False, refusal)
    version = release.version if release else ""
    return Verdict(True, f"{gpu.name} with driver {gpu.driver} and cuML {version} are here.")


def _refuse_packages(gpu: LocalGpu, release: Release | None) -> str:
    """Return which package is missing or too old, and the command for the driver at hand."""
    driver = _major(gpu.driver)
    fitting = next((cuda for cuda, needs in CUDA_NEEDS.items() if driver >= needs.driver), None)
    command = INSTALL[fitting or 13]
    missing = [name for name in MODULES if importlib.util.find_spec(name) is None]
    if release is None or missing:
        advice = (
            f"run `{command}`."
            if fitting
            else f"its driver {gpu.driver} is older than {CUDA_NEEDS[12].driver}, the least for "
            f"cuML; update the driver, then run `{command}`."
        )
        names = " and ".join(missing or ["cuml"])
        return f"There is a GPU ({gpu.name}), but {names} cannot be imported: {advice}"
    if not release.is_recent:
        return (
            f"cuML {release.version} is too old: before {_dotted(LEAST_RELEASE)} a seed did not "
            f"repeat. Run `{command.replace('install', 'install --upgrade')}`."
        )
    return ""


def _refuse_driver(gpu: LocalGpu, release: Release | None) -> str:
    """Return why driver or GPU is too old for the packages that are installed."""
    needs = CUDA_NEEDS.get(release.cuda or 12) if release else None
    if needs is None or release is None:
        return ""
    if _major(gpu.driver) < needs.driver:
        older = CUDA_NEEDS[12]
        other = (
            f", or run `{INSTALL[12]}` in place of cuml-cu13 and cuvs-cu13"
            if release.cuda == 13 and _major(gpu.driver) >= older.driver
            else ""
        )
        return (
            f"The NVIDIA driver {gpu.driver} is too old: cuML for CUDA {release.cuda or 12} needs "
            f"{needs.driver} or newer. Update the driver{other}."
        )
    if gpu.capability and float(gpu.capability) < needs.capability:
        return (
            f"{gpu.name} has compute capability {gpu.capability}, but cuML for CUDA "
            f"{release.cuda or 12} needs {needs.capability} ({needs.generation}) or newer."
        )
    return ""


@cache
def _gpus_once(path: str) -> tuple[tuple[LocalGpu, ...], str]:
    """Ask the driver once for every search path: another one finds another ``nvidia-smi``."""
    gpus, why_none = find_gpus()
    return tuple(gpus), why_none


def _hidden(value: str) -> str:
    return f'every NVIDIA GPU is hidden by CUDA_VISIBLE_DEVICES="{value}"'


def _major(version: str) -> int:
    first = re.match(r"\d+", version)
    return int(first.group()) if first else 0


def _dotted(release: tuple[int, int]) -> str:
    return f"{release[0]}.{release[1]:02d}"
