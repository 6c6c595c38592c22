"""Stands in for CuPy where there is no GPU; see `fake_rapids`, which puts it in place.

Arrays are NumPy's under another type that refuses to be mixed with NumPy's own. Kernels are the
real source, compiled for the processor.
"""

import contextlib
import types

import cuda_on_cpu
import numpy as np


class DeviceArray(np.ndarray):
    """An array "on the GPU": operations with arrays of the processor fail, as with CuPy."""

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **kwargs):
        for one in inputs:
            if type(one) is np.ndarray and one.ndim:
                raise TypeError(f"Unsupported type {np.ndarray} in {ufunc.__name__}")
        if out is not None:
            kwargs["out"] = tuple(bare(one) for one in out)
        result = getattr(ufunc, method)(*map(bare, inputs), **kwargs)
        return on_device(result) if out is None else out[0]

    def __array_function__(self, func, kinds, args, kwargs):
        raise TypeError(f"numpy.{func.__name__} was called with an array on the GPU")

    @property
    def device(self):
        return Device(0)

    def __dlpack_device__(self):
        return (2, 0)

    def get(self):
        return np.array(bare(self))

    def sum(self, axis=None, dtype=None):
        return on_device(bare(self).sum(axis=axis, dtype=dtype))

    def mean(self, axis=None, dtype=None):
        return on_device(bare(self).mean(axis=axis, dtype=dtype))

    def std(self, axis=None):
        return on_device(bare(self).std(axis=axis))

    def min(self, axis=None):
        return on_device(bare(self).min(axis=axis))

    def max(self, axis=None):
        return on_device(bare(self).max(axis=axis))

    def argmin(self, axis=None):
        return on_device(bare(self).argmin(axis=axis))

    def argmax(self, axis=None):
        return on_device(bare(self).argmax(axis=axis))

    def all(self):
        return on_device(bare(self).all())

    def any(self, axis=None):
        return on_device(bare(self).any(axis=axis))

    def __getitem__(self, key):
        return on_device(bare(self)[unwrap(key)])

    def __setitem__(self, key, value):
        if type(value) is np.ndarray and value.ndim:
            raise TypeError("an array of the processor was put into one on the GPU")
        bare(self)[unwrap(key)] = bare(value)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __array__(self, *args, **kwargs):
        raise TypeError("Implicit conversion to a NumPy array is not allowed.")


def bare(value):
    return value.view(np.ndarray) if isinstance(value, DeviceArray) else value


def unwrap(key):
    if isinstance(key, tuple):
        return tuple(map(bare, key))
    if type(key) is np.ndarray:
        raise TypeError("an array on the GPU was indexed by one of the processor")
    return bare(key)


def on_device(value):
    """Return a result as CuPy has it: even single numbers are arrays."""
    return np.asarray(value).view(DeviceArray)


def lifted(function):
    """Turn a function of NumPy into one of CuPy."""

    def call(*args, **kwargs):
        for one in args:
            if type(one) is np.ndarray:
                raise TypeError(f"cupy.{function.__name__} got an array of the processor")
        args = [[bare(x) for x in one] if isinstance(one, list) else bare(one) for one in args]
        return on_device(function(*args, **{key: bare(one) for key, one in kwargs.items()}))

    return call


class RawModule:
    """Kernels, compiled for the processor."""

    compiled = None
    folder = None

    def __init__(self, *, code, options=()):
        assert all(option.startswith("--") for option in options)
        self.signatures = cuda_on_cpu.signatures(code)
        if RawModule.compiled is None:
            RawModule.compiled = cuda_on_cpu.compile_kernels(code, RawModule.folder)

    def get_function(self, name):
        types_ = self.signatures[name]

        def kernel(grid, block, arguments):
            assert all(isinstance(one, (DeviceArray, np.generic)) for one in arguments), (
                f"{name} got something that does not lie on the GPU"
            )
            plain = [bare(one) for one in arguments]
            cuda_on_cpu.call(RawModule.compiled, types_, name, grid, block, plain)

        return kernel


class Pool:
    def __init__(self):
        self.freed = 0
        self.malloc = None

    def free_all_blocks(self):
        self.freed += 1


class Device:
    current = 0

    def __init__(self, number=None):
        self.id = Device.current if number is None else number

    def __enter__(self):
        if self.id:
            raise RuntimeError("cudaErrorInvalidDevice: invalid device ordinal")
        return self

    def __exit__(self, *_):
        return False


#: What our code uses of CuPy that is named and behaves as in NumPy.
FUNCTIONS = """
    abs arange bincount concatenate cumsum empty empty_like flatnonzero isfinite log
    minimum ones_like searchsorted sign sort sqrt stack take_along_axis zeros zeros_like
""".split()  # noqa: SIM905 — a list of twenty quoted words is harder to read


def make_cupy(gpu_name, synchronize):
    """Return the module; ``synchronize`` is told when our code waits for a stream."""
    cupy = types.ModuleType("cupy")
    cupy.__version__ = "14.2.0"
    for name in FUNCTIONS:
        setattr(cupy, name, lifted(getattr(np, name)))
    # CuPy's sorts are stable, always.
    cupy.argsort = lambda a, axis=-1: on_device(np.argsort(bare(a), axis=axis, kind="stable"))
    cupy.ascontiguousarray = lambda a, dtype=None: on_device(
        np.ascontiguousarray(bare(a), dtype=dtype)
    )
    # From the processor's memory, this is how arrays come to the GPU.
    cupy.asarray = lambda a, dtype=None, order=None: on_device(
        np.asarray(bare(a), dtype=dtype, order=order)
    )
    cupy.asnumpy = lambda a: np.array(bare(a))
    cupy.from_dlpack = lambda a: on_device(bare(a.payload if hasattr(a, "payload") else a))
    for name in ("int32", "int64", "float32", "float64", "uint64"):
        setattr(cupy, name, getattr(np, name))
    cupy.inf = np.inf
    cupy.ndarray = DeviceArray
    cupy.RawModule = RawModule
    plans = types.SimpleNamespace(clear=lambda: None)
    cupy.fft = types.SimpleNamespace(
        config=types.SimpleNamespace(get_plan_cache=lambda: plans),
    )
    cupy.linalg = types.SimpleNamespace(
        eigh=lambda a: tuple(map(on_device, np.linalg.eigh(bare(a))))
    )
    runtime = types.SimpleNamespace(
        getDeviceProperties=lambda number: {"name": gpu_name.encode()},
    )
    cupy.cuda = types.SimpleNamespace(
        Device=Device,
        runtime=runtime,
        using_allocator=lambda malloc: contextlib.nullcontext(),
        get_current_stream=lambda: types.SimpleNamespace(synchronize=synchronize),
    )
    pools = {"memory": Pool(), "pinned": Pool()}
    cupy.get_default_memory_pool = lambda: pools["memory"]
    cupy.get_default_pinned_memory_pool = lambda: pools["pinned"]
    return cupy


def make_cupyx():
    """Return ``cupyx`` with its transforms, of the precision of what is given."""
    cupyx, scipy = types.ModuleType("cupyx"), types.ModuleType("cupyx.scipy")
    fft = types.ModuleType("cupyx.scipy.fft")

    def rfft2(x, s=None, *, norm=None):
        spectrum = np.fft.rfft2(bare(x), s=s, norm=norm)
        return on_device(spectrum.astype(np.result_type(x.dtype, np.complex64)))

    def irfft2(x, s=None, *, norm=None, overwrite_x=False):
        assert x.dtype == np.complex64
        result = on_device(np.fft.irfft2(bare(x), s=s, norm=norm).astype(np.float32))
        if overwrite_x:
            bare(x)[...] = np.nan
        return result

    fft.rfft2, fft.irfft2 = rfft2, irfft2
    cupyx.scipy, scipy.fft = scipy, fft
    return [cupyx, scipy, fft]
