"""What the operations of `stpn.ocio.analytic_ops` and `analytic_curves` share: channels, limits, signs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Triple = tuple[float, float, float]
"""Red, green and blue."""


def channelwise(image: Tensor, function: Callable[..., Tensor], *parameters: Triple) -> Tensor:
    """`function(values, *constants)` on (B, 3, H, W): at once where the channels' constants are alike."""
    import torch

    if all(values[0] == values[1] == values[2] for values in parameters):
        return function(image, *(values[0] for values in parameters))
    return torch.cat([function(image[:, c : c + 1], *(values[c] for values in parameters)) for c in range(3)], 1)


def at_least(values: Tensor, low: float) -> Tensor:
    """std::max(low, values): NaN becomes `low`."""
    return values.where(values > low, low)


def at_most(values: Tensor, high: float) -> Tensor:
    """std::min(high, values): NaN becomes `high`."""
    return values.where(values < high, high)


def with_sign_of(source: Tensor, values: Tensor) -> Tensor:
    return values.where(~source.signbit(), -values)
