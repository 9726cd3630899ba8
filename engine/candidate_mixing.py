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
    full = interpolate(corrections, size=weights.shape[-2:], mode="bilinear", align_corners=False)
    corrected = weights * torch.exp(full - full.amax(dim=1, keepdim=True)).clamp(min=1e-6)[:, :, None]
    return (corrected * values).sum(dim=1) / corrected.sum(dim=1)


def fill_in(fused: Tensor, spread: Tensor, confidence: Tensor, fills: Tensor, doubts: Tensor, shares: Tensor) -> Tensor:
    """The fused values (B, C, H, W), with fills in their place where they are unsure.

    Args:
        fused, spread: (B, C, H, W); `spread` is the hand-made fill.
        confidence: (B, 1, H, W) how sure `flow` is.
        fills: (B, S, C, h, w) the others, at a lower resolution.
        doubts: (B, 1, h, w) correction of the log-odds of needing a fill.
        shares: (B, 1 + S, h, w) of each fill, the hand-made one first.
    """

    def full(plane: Tensor) -> Tensor:
        return interpolate(plane, size=fused.shape[-2:], mode="bilinear", align_corners=False)

    share = full(shares)
    fill = share[:, :1] * spread
    for s in range(fills.shape[1]):
        fill = fill + share[:, s + 1 : s + 2] * full(fills[:, s])
    unsure = torch.sigmoid(full(doubts) - torch.logit(confidence.clamp(1e-4, 1 - 1e-4)))
    return fused + unsure * (fill - fused)
