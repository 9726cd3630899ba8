"""The propagation operators as TensorRT plugins that are compiled ahead of time: an engine holds their PTX and runs
without Python.

`stpn::Propagate` and `stpn::GatherDirections` are what the nodes of `onnx_export` name: inputs x and gates, output like
x, all float32 or all half, in plain order. One launch each; arguments are the inputs, the int32 numbers of
`propagation.launch`, the output.
"""

# TensorRT reads the annotations of the functions that it is given, as classes: no `from __future__ import annotations`

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from stpn.engine.backends.onnx_operators import DOMAIN, GATHER, PROPAGATE
from stpn.engine.propagation import launch as launching
from stpn.engine.propagation.compile import HEADER, SOURCE, compiled

KERNELS = {PROPAGATE: "stpn_propagate", GATHER: "stpn_gather"}
"""The entry points of each operator, but for the type at their end."""

Compiler = Callable[[], bytes]


def plugin_digest() -> str:
    """SHA-256 over everything that the plugins are made of."""
    digest = hashlib.sha256()
    for path in (SOURCE, HEADER, SOURCE.with_name("launch.py"), SOURCE.with_name("compile.py"), Path(__file__)):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


@cache
def register() -> None:
    """Makes the plugins known to TensorRT, once a process.

    Raises:
        ImportError: no TensorRT, or one without plugins that are compiled ahead of time.
    """
    for operator in KERNELS:
        register_operator(operator, compile_here)


def register_operator(operator: str, code: Compiler) -> None:
    """Makes one plugin known.

    Args:
        operator: PROPAGATE or GATHER.
        code: gives the PTX of `propagation.cuh` for the GPU that the engine is built on.
    """
    import tensorrt
    import tensorrt.plugin as plugin

    name = f"{DOMAIN}::{operator}"

    @plugin.register(name)  # type: ignore[untyped-decorator]
    def describe(x: plugin.TensorDesc, gates: plugin.TensorDesc) -> plugin.TensorDesc:
        if x.ndim != 4 or gates.ndim not in (5, 6):
            raise ValueError(
                f"{name}: expected x (B, C, H, W) and gates (B, 4, [C or 1,] 3, H, W), "
                f"got {x.ndim} and {gates.ndim} axes"
            )
        return x.like()

    @plugin.autotune(name)  # type: ignore[untyped-decorator]
    def tune(
        x: plugin.TensorDesc, gates: plugin.TensorDesc, outputs: tuple[plugin.TensorDesc]
    ) -> list[plugin.AutoTuneCombination]:
        return [plugin.AutoTuneCombination("FP32|FP16, FP32|FP16, FP32|FP16", "LINEAR")]

    @plugin.aot_impl(name)  # type: ignore[untyped-decorator]
    def implement(
        x: plugin.TensorDesc, gates: plugin.TensorDesc, outputs: tuple[plugin.TensorDesc], tactic: int
    ) -> tuple[str | bytes, str | bytes, plugin.KernelLaunchParams, plugin.SymExprs]:
        kernel = entry_point(operator, x.dtype == tensorrt.float16)
        dynamic = x.shape.is_dynamic or gates.shape.is_dynamic
        shapes = [tuple(tensor.shape_expr if dynamic else tensor.shape) for tensor in (x, gates)]
        params = plugin.KernelLaunchParams()
        params.grid_x, params.block_x, params.shared_mem, numbers = launch_of(kernel, *shapes)
        extra = plugin.SymIntExprs(len(numbers))
        for index, number in enumerate(numbers):
            extra[index] = plugin.SymInt32(number)
        return kernel, code(), params, extra


def entry_point(operator: str, half: bool) -> str:
    """The kernel of an operator for float32 or half."""
    return f"{KERNELS[operator]}_{'f16' if half else 'f32'}"


def launch_of(kernel: str, x: tuple[Any, ...], gates: tuple[Any, ...]) -> tuple[Any, Any, Any, tuple[Any, ...]]:
    """Grid, block, bytes of shared memory, and the int32 numbers, of one launch.

    Args:
        kernel: an entry point.
        x, gates: their shapes, all int, or all TensorRT's symbols: those take numbers on their right alone, and serve
            every size with one block.

    Raises:
        ValueError: more shared memory than a kernel gets unasked; nobody asks for more in an engine.
    """
    batch, channels, height, width = x
    gate_channels = gates[2] if len(gates) == 6 else 1
    numbers = (channels, height, width, gate_channels, 0)  # 0: nothing is switched
    if all(isinstance(size, int) for size in (*x, gate_channels)):
        chosen = launching.launch(kernel, batch, channels, height, width, gate_channels)
        if chosen.shared > launching.DEFAULT_SHARED_BYTES:
            raise ValueError(
                f"{kernel}: expected at most {launching.DEFAULT_SHARED_BYTES} bytes of shared memory, "
                f"{width} x {height} needs {chosen.shared}; build the engine for smaller pictures"
            )
        return chosen.grid, chosen.block, chosen.shared, numbers
    threads = launching.SYMBOLIC_THREADS
    # the sum of both sides is more than the longer one, and needs no maximum
    return batch * channels, threads, launching.shared_bytes(threads, height + width), numbers


@cache
def compile_here() -> bytes:
    """The PTX of all kernels for the first GPU, without the NUL that ends it.

    Raises:
        CompileError: no compiler, or it refuses.
    """
    import pycuda.driver as cuda

    cuda.init()
    major, minor = cuda.Device(0).compute_capability()
    return compiled(f"sm_{major}{minor}", "ptx").rstrip(b"\0")
