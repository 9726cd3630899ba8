"""How what the network says, at a low resolution, is applied to candidates and fills at any other."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate


def weigh(weights: Tensor, values: Tensor, corrections: Tensor) -> Tensor:
    """The mean of the candidates (B, C, H, W) under corrected weights.

    Args:
        weights: (B, N, 1, H, W) at least 0; 0: no such candidate.
        values: (B, N, C, H, W).
        corrections: (B, N, h, w) of their logarithm, at a lower resolution.
    """
    corrected = correct(weights, corrections)
    return (corrected * values).sum(dim=1) / corrected.sum(dim=1)


def correct(weights: Tensor, corrections: Tensor) -> Tensor:
    """Corrected weights (B, N, 1, H, W); arguments as for `weigh`."""
    full = fit(corrections, weights)
    return weights * torch.exp(full - full.amax(dim=1, keepdim=True)).clamp(min=1e-6)[:, :, None]


def fill_in(fused: Tensor, spread: Tensor, confidence: Tensor, fills: Tensor, doubts: Tensor, shares: Tensor) -> Tensor:
    """The fused values (B, C, H, W), with fills in their place where they are unsure.

    Args:
        fused, spread: (B, C, H, W); `spread` is the hand-made fill.
        confidence: (B, 1, H, W) how sure `flow` is.
        fills: (B, S, C, h, w) the others, at a lower resolution.
        doubts: (B, 1, h, w) correction of the log-odds of needing a fill.
        shares: (B, 1 + S, h, w) of each fill, the hand-made one first.
    """
    return fused + unsure_of(confidence, doubts) * (fill_of(spread, fills, shares) - fused)


def fill_of(spread: Tensor, fills: Tensor, shares: Tensor) -> Tensor:
    """The fills (B, C, H, W) joined by their shares; arguments as for `fill_in`."""
    share = fit(shares, spread)
    fill = share[:, :1] * spread
    for s in range(fills.shape[1]):
        fill = fill + share[:, s + 1 : s + 2] * fit(fills[:, s], spread)
    return fill


def unsure_of(confidence: Tensor, doubts: Tensor) -> Tensor:
    """How far values need a fill (B, 1, H, W), 0..1; arguments as for `fill_in`."""
    return torch.sigmoid(fit(doubts, confidence) - torch.logit(confidence.clamp(1e-4, 1 - 1e-4)))


def fit(plane: Tensor, like: Tensor) -> Tensor:
    """A plane (B, C, h, w) interpolated to the size of another."""
    return interpolate(plane, size=like.shape[-2:], mode="bilinear", align_corners=False)
