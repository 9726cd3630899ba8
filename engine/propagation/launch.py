"""How the kernels of `propagation.cuh` are launched: grid, block, shared memory and arguments, for every caller.

The arguments of a kernel are its inputs (pointers), the numbers of `NUMBERS` (int32) and its outputs (pointers), in
this order, which is TensorRT's. Grid and block have one dimension. All tensors are contiguous:

    ====================  =================================  =========================================================
    name                  shape                              holds
    ====================  =================================  =========================================================
    x                     (B, C, H, W)                       property map of `propagate`, sources of `gather`
    gates                 (B, 4, gate_channels, 3, H, W)     as `propagate`; of `gather` with gate_channels 1
    out                   (B, C, H, W)                       the result
    chosen                (B, C, H, W) uint8                 direction that gave the maximum
    gradient              (B, C, H, W)                       of the result
    values                (B, C, 4, H, W)                    y of each direction; of `gather` r + x
    gradients             (B, C, 4, H, W)                    of y; of `gather` what later columns add to that of r + x
    grad_gates            as gates                           gradient of the gates
    grad_x                as x                               gradient of x
    ====================  =================================  =========================================================

A name that ends in f32 has float32 tensors, one that ends in f16 half; both compute in float32.
"""

from __future__ import annotations

from dataclasses import dataclass

STEPS = 8
"""Columns of a strip, `kSteps` of the kernel."""

MAX_THREADS = 512
"""The kernels are compiled for blocks up to this size, `kMaxThreads` of the kernel."""

SYMBOLIC_THREADS = 256
"""A block that serves every size, for callers to whom height and width are symbols."""

DEFAULT_SHARED_BYTES = 48 * 1024
"""More shared memory than this has to be asked for before a launch (CUDA C++ Programming Guide, "Shared memory")."""

NUMBERS = ("channels", "height", "width", "gate_channels", "switched")
"""The int32 arguments: C, H, W, 1 or C, and 1 where opposite directions exchange their gates, otherwise 0."""


@dataclass(frozen=True)
class Kernel:
    """What an entry point reads and writes, by the names above."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    blocks: str  # what a block owns: a "plane", a "scan" (direction, forwards or backwards), "gates" or "pixels"


KERNELS = {
    "stpn_propagate_f32": Kernel(("x", "gates"), ("out",), "plane"),
    "stpn_propagate_f16": Kernel(("x", "gates"), ("out",), "plane"),
    "stpn_propagate_training_f32": Kernel(("x", "gates"), ("out", "chosen"), "plane"),
    "stpn_gather_f32": Kernel(("x", "gates"), ("out",), "plane"),
    "stpn_gather_f16": Kernel(("x", "gates"), ("out",), "plane"),
    "stpn_propagate_scans_f32": Kernel(("x", "gates", "chosen", "gradient"), ("values", "gradients"), "scan"),
    "stpn_propagate_gate_gradient_f32": Kernel(("x", "values", "gradients"), ("grad_gates",), "gates"),
    "stpn_propagate_map_gradient_f32": Kernel(("gates", "gradients"), ("grad_x",), "pixels"),
    "stpn_gather_scans_f32": Kernel(("x", "gates", "gradient"), ("values", "gradients"), "scan"),
    "stpn_gather_gate_gradient_f32": Kernel(("gradient", "values", "gradients"), ("grad_gates",), "gates"),
    "stpn_gather_map_gradient_f32": Kernel(("gradient", "gradients"), ("grad_x",), "pixels"),
}


@dataclass(frozen=True)
class Launch:
    """Blocks of the grid, threads of a block, bytes of dynamic shared memory."""

    grid: int
    block: int
    shared: int


def scan_threads(height: int, width: int) -> int:
    """Threads of a block that scans: a whole column where it fits, in warps of 32."""
    return min(-(-max(height, width) // 32) * 32, MAX_THREADS)


def shared_bytes(threads: int, longest: int) -> int:
    """Dynamic shared memory of a block that scans.

    Only sums and products, `longest` on their left, so that it may be a symbol of TensorRT's.

    Args:
        threads: of the block.
        longest: the longer of height and width, or anything above, such as their sum.

    Returns:
        Bytes: the tiles of the warps, the column twice for each neighbour, and the end of the strip before.
    """
    tiles = threads * (STEPS + 1)
    line = 4 * (threads + 2)
    return (longest + tiles + line + STEPS) * 4


def launch(kernel: str, batch: int, channels: int, height: int, width: int, gate_channels: int) -> Launch:
    """Grid, block and shared memory of one launch.

    Args:
        kernel: a name of `KERNELS`.
        batch, channels, height, width: of x, each at least 1.
        gate_channels: 1 or `channels`.

    Raises:
        ValueError: a size is below 1, gate_channels fits neither, or a plane or the grid has 2^31 pixels or blocks.
    """
    sizes = {"batch": batch, "channels": channels, "height": height, "width": width}
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name}: expected at least 1, got {size}")
    if gate_channels not in (1, channels):
        raise ValueError(f"gate_channels: expected 1 or {channels}, got {gate_channels}")
    owned = KERNELS[kernel].blocks
    if owned in ("plane", "scan"):
        block = scan_threads(height, width)
        result = Launch(
            batch * channels * (8 if owned == "scan" else 1), block, shared_bytes(block, max(height, width))
        )
    else:
        planes = batch * 4 * gate_channels if owned == "gates" else batch * channels
        result = Launch(planes * -(-height * width // SYMBOLIC_THREADS), SYMBOLIC_THREADS, 0)
    if height * width >= 2**31 or result.grid >= 2**31:
        raise ValueError(f"expected planes and a grid below 2^31, got {height}x{width} pixels and {result.grid} blocks")
    return result
