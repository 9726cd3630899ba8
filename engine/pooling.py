"""Means of blocks of pixels, as sums of rows and then of columns: several times as fast as pooling on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d


def halved(planes: Tensor) -> Tensor:
    """Means of 2 x 2 pixels, (B, C, H / 2, W / 2) of (B, C, H, W); H and W even.

    Where gradients, another device or an export need the operator itself, it is the operator.
    """
    if planes.device.type == "cpu" and planes.dtype == torch.float32 and torch.is_inference_mode_enabled():
        return block_means(planes, 2)
    return avg_pool2d(planes, 2)


def block_means(planes: Tensor, factor: int, multiple: int = 1) -> Tensor:
    """Means of factor x factor pixels, (..., h, w) of (..., H, W), float32; without gradients.

    Args:
        planes: of any size; the last row and column go on beyond it, as far as needed.
        factor: at least 2.
        multiple: h and w are the smallest multiples of it that hold the picture.
    """
    height, width = (-(-side // (factor * multiple)) * multiple for side in planes.shape[-2:])
    rows = _sums(planes, -2, factor, height)
    return _sums(rows, -1, factor, width).div_(factor**2)


def _sums(planes: Tensor, axis: int, factor: int, count: int) -> Tensor:
    """Sums of `factor` neighbours along an axis, `count` of them."""
    axis += planes.ndim
    length = planes.shape[axis]
    whole = length // factor
    total = planes.new_empty((*planes.shape[:axis], count, *planes.shape[axis + 1 :]))
    _add_up(planes.narrow(axis, 0, whole * factor), total.narrow(axis, 0, whole), axis, factor)
    if count > whole:
        # only what goes on beyond the picture is copied
        edge = torch.arange(whole * factor, count * factor, device=planes.device).clamp(max=length - 1)
        _add_up(planes.index_select(axis, edge), total.narrow(axis, whole, count - whole), axis, factor)
    return total


def _add_up(planes: Tensor, total: Tensor, axis: int, factor: int) -> None:
    every = (slice(None),) * axis
    parts = [planes[(*every, slice(first, None, factor))] for first in range(factor)]
    torch.add(parts[0], parts[1], out=total)
    for part in parts[2:]:
        total.add_(part)
