"""Kernels started through the CUDA driver's C interface, on the stream that torch uses."""

from __future__ import annotations

import ctypes
import sys
import threading
from functools import cache
from typing import Any

import torch

from stpn.engine.propagation.compile import compiled
from stpn.engine.propagation.launch import DEFAULT_SHARED_BYTES, Launch

Argument = ctypes.c_void_p | ctypes.c_int

_MAX_DYNAMIC_SHARED_SIZE_BYTES = 8  # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES of cuda.h

_loading = threading.Lock()


class DriverError(RuntimeError):
    """The CUDA driver refused; the message names the call and its reason."""


def start(kernel: str, launch: Launch, arguments: list[Argument], device: torch.device) -> None:
    """Starts a kernel on torch's current stream of a device; returns before it has run.

    Args:
        kernel: name of the entry point.
        launch: grid, block, shared memory.
        arguments: in the kernel's order, each of the C type that the kernel has.
        device: a CUDA device; all pointers belong to it.

    Raises:
        DriverError: the driver cannot be loaded or refuses.
        CompileError: the kernels cannot be compiled for this device.
    """
    stream = torch.cuda.current_stream(device)
    _Device.of(stream.device_index).start(kernel, launch, pack(arguments), stream.cuda_stream)


def load() -> None:
    """Compiles and loads the kernels for torch's current device, where that has not been done yet.

    Raises:
        DriverError, CompileError: as `start`.
    """
    _Device.of(torch.cuda.current_device())


def pack(arguments: list[Argument]) -> ctypes.Array[ctypes.c_void_p]:
    """The addresses of the arguments, which is what the driver reads; valid as long as the arguments live."""
    return (ctypes.c_void_p * len(arguments))(*(ctypes.addressof(argument) for argument in arguments))


class _Device:
    """The kernels loaded on one device."""

    def __init__(self, index: int) -> None:
        major, minor = torch.cuda.get_device_capability(index)
        code = compiled(f"sm_{major}{minor}")
        self._context, self._module = ctypes.c_void_p(), ctypes.c_void_p()
        self._functions: dict[str, ctypes.c_void_p] = {}
        # torch's own context, whichever thread asks: the gradient comes from a thread that may have none
        _call("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), ctypes.c_int(index))
        with self:
            _call("cuModuleLoadData", ctypes.byref(self._module), code)

    @staticmethod
    def of(index: int) -> _Device:
        with _loading:  # of two threads that come first, both must get the same: it keeps what is loaded
            return _device(index)

    def __enter__(self) -> None:
        _call("cuCtxPushCurrent_v2", self._context)

    def __exit__(self, *_: object) -> None:
        _call("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))

    def start(self, kernel: str, launch: Launch, packed: ctypes.Array[ctypes.c_void_p], stream: int) -> None:
        one = ctypes.c_uint(1)
        grid, block, shared = (ctypes.c_uint(n) for n in (launch.grid, launch.block, launch.shared))
        with self:
            function = self._function(kernel)
            if launch.shared > DEFAULT_SHARED_BYTES:
                wanted = ctypes.c_int(launch.shared)
                _call("cuFuncSetAttribute", function, ctypes.c_int(_MAX_DYNAMIC_SHARED_SIZE_BYTES), wanted)
            _call(
                "cuLaunchKernel",
                function,
                *(grid, one, one),
                *(block, one, one),
                shared,
                ctypes.c_void_p(stream),
                packed,
                None,
            )

    def _function(self, kernel: str) -> ctypes.c_void_p:
        if kernel not in self._functions:
            function = ctypes.c_void_p()
            _call("cuModuleGetFunction", ctypes.byref(function), self._module, kernel.encode())
            self._functions[kernel] = function
        return self._functions[kernel]


@cache
def _device(index: int) -> _Device:
    return _Device(index)


@cache
def _driver() -> ctypes.CDLL:
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        return ctypes.CDLL(name)
    except OSError as error:
        raise DriverError(f"expected the NVIDIA driver's {name}, got: {error}; install the driver") from error


def _call(function: str, *arguments: Any) -> None:
    driver = _driver()
    if status := getattr(driver, function)(*arguments):
        text = ctypes.c_char_p()
        driver.cuGetErrorString(ctypes.c_int(status), ctypes.byref(text))
        reason = text.value.decode() if text.value else f"error {status}"
        raise DriverError(f"{function}: expected the CUDA driver to agree, got: {reason}")
