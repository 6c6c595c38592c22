"""Which NVIDIA GPUs this machine has, by its driver's own program.

No GPU library is loaded. What a GPU lacks to be used is told in ``hardware``.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass

#: Seconds `nvidia-smi` may take; it can hang where a driver is broken.
GPU_QUERY_SECONDS = 5.0
#: What `nvidia-smi` is asked about every GPU.
GPU_FIELDS = ("name", "memory.total", "driver_version", "compute_cap")


@dataclass(frozen=True)
class LocalGpu:
    """One NVIDIA GPU of this machine, as its driver describes it.

    Attributes
    ----------
    name : str
    memory_bytes : float
    driver : str
        Version of the driver: ``"580.65.06"``.
    capability : str
        Compute capability, ``"9.0"``; empty where the driver is too old to say.
    """

    name: str
    memory_bytes: float
    driver: str
    capability: str = ""


def find_gpus() -> tuple[list[LocalGpu], str]:
    """Ask the NVIDIA driver which GPUs there are.

    Returns
    -------
    gpus : list of LocalGpu
    why_none : str
        Empty where there are some; else the reason, as the part of a sentence.
    """
    program = shutil.which("nvidia-smi")
    if program is None:
        return [], "no NVIDIA GPU found (nvidia-smi missing)"
    lines, why_none = [], ""
    for fields in (GPU_FIELDS, GPU_FIELDS[:-1]):  # drivers before 2021 know no capability
        query = [f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
        try:
            done = subprocess.run(
                [program, *query],
                capture_output=True,
                text=True,
                timeout=GPU_QUERY_SECONDS,
                check=True,
            )
        except (OSError, subprocess.SubprocessError) as error:
            why_none = f"no NVIDIA GPU usable (nvidia-smi failed: {error})"
            if not isinstance(error, subprocess.CalledProcessError):
                break
            continue
        lines, why_none = done.stdout.splitlines(), ""
        break
    gpus = []
    for line in lines:
        name, mebibytes, driver, capability = [*line.split(","), "", "", ""][:4]
        if mebibytes.strip().isdigit():
            memory = float(mebibytes) * 2**20
            gpus.append(LocalGpu(name.strip(), memory, driver.strip(), capability.strip()))
    return gpus, "" if gpus else why_none or "no NVIDIA GPU found (nvidia-smi lists none)"
