"""Compiles ``kernels.cu`` for the processor, thread after thread, and checks every argument."""

import ctypes
import re
import shutil
import subprocess

import numpy as np

COMPILER = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")

#: What the kernels use of CUDA, on one thread at a time.
SHIM = """
#include <cmath>
#define __global__
#define __device__ static
struct Index { long long x; };
static Index blockIdx, blockDim, threadIdx;
static int atomicAdd(int* at, int by) { int old = *at; *at += by; return old; }
static unsigned long long atomicAdd(unsigned long long* at, unsigned long long by)
{ unsigned long long old = *at; *at += by; return old; }
"""

POINTERS = {
    "float*": np.float32,
    "double*": np.float64,
    "int*": np.int32,
    "long long*": np.int64,
    "unsigned long long*": np.uint64,
}
VALUES = {"int": (np.int32, ctypes.c_int), "float": (np.float32, ctypes.c_float)}


def signatures(source):
    """Return the C type of every argument of every kernel, by name."""
    found = {}
    for name, arguments in re.findall(r"__global__ void (\w+)\(([^)]*)\)", source):
        types = [re.sub(r"\bconst\b|\w+$", "", one.strip()).strip() for one in arguments.split(",")]
        found[name] = [one.replace(" *", "*") for one in types]
    return found


def compile_kernels(source, folder):
    """Build a library of loops over all threads, one for each kernel."""
    loops = []
    for name, types in signatures(source).items():
        typed = ", ".join(f"{one} a{i}" for i, one in enumerate(types))
        plain = ", ".join(f"a{i}" for i in range(len(types)))
        loops.append(
            f'extern "C" void loop_{name}(long long blocks, long long block, {typed}) {{'
            "blockDim.x = block;"
            "for (blockIdx.x = 0; blockIdx.x < blocks; blockIdx.x++)"
            # Backwards, so that nothing can lean on threads that happen to come first.
            f"for (threadIdx.x = block - 1; threadIdx.x >= 0; threadIdx.x--) {name}({plain}); }}"
        )
    path = folder / "kernels.cpp"
    path.write_text(SHIM + source + "\n".join(loops), encoding="utf-8")
    library = folder / "kernels.so"
    command = [COMPILER, "-O2", "-shared", "-fPIC", "-std=c++17", str(path), "-o", str(library)]
    subprocess.run(command, check=True, capture_output=True)
    return ctypes.CDLL(str(library))


def call(library, types, name, grid, block, arguments):
    """Run one kernel; wrong numbers, types or layouts of arguments are errors here."""
    assert len(types) == len(arguments), f"{name} takes {len(types)} arguments"
    passed = []
    for wanted, argument in zip(types, arguments, strict=True):
        if wanted in POINTERS:
            assert isinstance(argument, np.ndarray), f"{name}: {wanted} got {type(argument)}"
            assert argument.dtype == POINTERS[wanted], f"{name}: {wanted} got {argument.dtype}"
            assert argument.flags.c_contiguous, f"{name}: an array is not contiguous"
            passed.append(ctypes.c_void_p(argument.ctypes.data))
        else:
            kind, as_c = VALUES[wanted]
            assert type(argument) is kind, f"{name}: {wanted} got {type(argument)}"
            passed.append(as_c(argument.item()))
    loop = getattr(library, f"loop_{name}")
    loop.restype = None
    loop(ctypes.c_longlong(grid[0]), ctypes.c_longlong(block[0]), *passed)
