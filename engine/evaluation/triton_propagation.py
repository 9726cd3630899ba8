"""The propagation operator in Triton, written straightforwardly: our own kernel is compared with it, nothing else.

One launch a direction, one program a plane, a loop over its columns (or rows); the column before stays in registers,
and its neighbours are fetched across threads. Needs the package triton, which torch brings where it is built for CUDA;
with TRITON_INTERPRET=1 set before triton is imported it runs on a CPU.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from stpn.engine.propagation.directions import Direction


def propagate_triton(property_map: Tensor, gates: Tensor) -> Tensor:
    """`stpn.engine.propagation.propagate` without gradients.

    Args:
        property_map: (B, C, H, W) float32 or half; computed in float32.
        gates: (B, 4, C or 1, 3, H, W), the same type.

    Returns:
        (B, C, H, W) in that type.
    """
    x, w = property_map.contiguous(), gates.contiguous()
    out = torch.empty_like(x)
    batch, channels, height, width = x.shape
    for direction in Direction:
        along, across = (width, height) if direction.horizontal else (height, width)
        to_next, to_side = (1, width) if direction.horizontal else (width, 1)
        first = (along - 1) * to_next if direction.reverse else 0
        block = triton.next_power_of_2(across)
        _one_way[batch * channels,](
            x, w, out, channels, w.shape[2], int(direction), height * width, along, across,
            first, -to_next if direction.reverse else to_next, to_side,
            BLOCK=block, JOIN=direction > 0, num_warps=min(max(block // 128, 1), 8),
        )  # fmt: skip
    return out


@triton.jit  # type: ignore[untyped-decorator]
def _one_way(  # type: ignore[no-untyped-def]
    x, w, out, channels, sets, direction, size, along, across, first, to_next, to_side,
    BLOCK: tl.constexpr, JOIN: tl.constexpr,
):  # fmt: skip
    """Equation (4) in one direction over one plane; JOIN: the maximum with what `out` holds."""
    plane = tl.program_id(0).to(tl.int64)
    channel = plane % channels
    # gates (B, 4, sets, 3, H, W); one set may serve all channels
    gate = (((plane // channels) * 4 + direction) * sets + channel * (sets > 1)) * 3 * size
    at = tl.arange(0, BLOCK)
    inside = at < across
    above, below = tl.maximum(at - 1, 0), tl.minimum(at + 1, BLOCK - 1)
    has_above, has_below = inside & (at > 0), inside & (at < across - 1)
    place = first + at * to_side
    y = tl.load(x + plane * size + place, mask=inside, other=0).to(tl.float32)
    for column in range(along):
        if column > 0:
            place += to_next
            here = tl.load(x + plane * size + place, mask=inside, other=0).to(tl.float32)
            # a neighbour outside of the picture counts as a gate of zero
            w0 = tl.load(w + gate + place, mask=has_above, other=0).to(tl.float32)
            w1 = tl.load(w + gate + size + place, mask=inside, other=0).to(tl.float32)
            w2 = tl.load(w + gate + 2 * size + place, mask=has_below, other=0).to(tl.float32)
            carried = w0 * tl.gather(y, above, 0) + w1 * y + w2 * tl.gather(y, below, 0)
            y = (1 - (w0 + w1 + w2)) * here + carried
        result = y
        if JOIN:
            result = tl.maximum(y, tl.load(out + plane * size + place, mask=inside, other=0).to(tl.float32))
        tl.store(out + plane * size + place, result.to(out.dtype.element_ty), mask=inside)
