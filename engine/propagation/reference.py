"""The definition of the propagation operator, as a loop one can read; differentiable by torch, any dtype, any
device."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from stpn.engine.propagation.directions import Direction


def propagate_reference(property_map: Tensor, gates: Tensor) -> Tensor:
    """Equation (4) in four directions with the node-wise maximum; see `stpn.engine.propagation.propagate`."""
    check(property_map, gates)
    results = torch.stack([propagate_one_way(property_map, gates, direction) for direction in Direction])
    # argmax names the first of equals, which fixes where the gradient of a tie goes
    return results.gather(0, results.argmax(dim=0, keepdim=True)).squeeze(0)


def propagate_one_way(property_map: Tensor, gates: Tensor, direction: Direction) -> Tensor:
    """Equation (4) in one direction.

    Args:
        property_map: (B, C, H, W).
        gates: (B, 4, C or 1, 3, H, W).
        direction: which of the four.

    Returns:
        (B, C, H, W), y of equation (4).
    """
    x, w = property_map, gates[:, direction]
    if direction.horizontal:  # columns become rows, so that one loop serves all directions
        x, w = x.transpose(-1, -2), w.transpose(-1, -2)
    if direction.reverse:
        x, w = x.flip(-2), w.flip(-2)

    y = [x[..., 0, :]]
    for i in range(1, x.shape[-2]):
        previous = pad(y[-1], (1, 1))
        neighbours = torch.stack([previous[..., :-2], previous[..., 1:-1], previous[..., 2:]], dim=2)
        inside = torch.ones_like(w[:, :, :, i])
        inside[:, :, 0, 0] = 0
        inside[:, :, 2, -1] = 0
        w_i = w[:, :, :, i] * inside
        y.append((1 - w_i.sum(dim=2)) * x[..., i, :] + (w_i * neighbours).sum(dim=2))
    out = torch.stack(y, dim=-2)

    if direction.reverse:
        out = out.flip(-2)
    return out.transpose(-1, -2) if direction.horizontal else out


def check(property_map: Tensor, gates: Tensor) -> None:
    """Raises ValueError where a property map and gates do not belong together."""
    if property_map.ndim != 4:
        raise ValueError(f"property_map: expected (B, C, H, W), got shape {tuple(property_map.shape)}")
    batch, channels, height, width = property_map.shape
    if gates.ndim != 6 or gates.shape[2] not in (1, channels) or gates.shape != (
        batch, len(Direction), gates.shape[2], 3, height, width,
    ):  # fmt: skip
        raise ValueError(
            f"gates: expected ({batch}, 4, {channels} or 1, 3, {height}, {width}) for a property map of shape "
            f"{tuple(property_map.shape)}, got shape {tuple(gates.shape)}"
        )
    if gates.dtype != property_map.dtype or gates.device != property_map.device:
        raise ValueError(
            f"gates: expected {property_map.dtype} on {property_map.device} as the property map, "
            f"got {gates.dtype} on {gates.device}"
        )
