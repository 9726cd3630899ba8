"""Matrices, ranges and CDL of `stpn.ocio.analytic` in torch: float32 in, float32 out, on the device of the image.

Each does what OCIO's CPU does without its fast approximations, in the same order of rounding: a matrix of light up to
65504 cancels, and another order would show. Constants are float32 numbers held as Python floats, so that no operation
copies anything to the device. NaN goes where OCIO's comparisons send it: torch.clamp would keep it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stpn.ocio.analytic_channels import Triple, at_least, at_most, channelwise
from stpn.ocio.analytic_curves import (
    AntiLog,
    CameraAntiLog,
    CameraLog,
    Exponent,
    ExponentWithLinear,
    Log,
    WorkingLog,
)

if TYPE_CHECKING:
    from torch import Tensor


#: ASC CDL v1.2, section on saturation; OCIO uses these whatever the config's luma weights are.
_CDL_WEIGHTS = (0.2125999927520752, 0.7152000069618225, 0.0722000002861023)
#: ITU-R BT.2100-2, table 5, the weights of luminance.
_REC2100_WEIGHTS = (0.26269999146461487, 0.6779999732971191, 0.059300001710653305)


@dataclass(frozen=True)
class Matrix:
    """A 3x3 matrix and an offset.

    Attributes:
        rows: what red, green and blue are made of.
        offset: added to them.
    """

    rows: tuple[Triple, Triple, Triple]
    offset: Triple = (0.0, 0.0, 0.0)

    @property
    def is_diagonal(self) -> bool:
        """True if no channel goes into another."""
        return not any(self.rows[i][j] for i in range(3) for j in range(3) if i != j)

    def apply(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) float32, any range, to a new tensor alike."""
        import torch

        has_offset = any(self.offset)
        if self.is_diagonal:
            # Not the sum below: zero times infinity is NaN.
            def scale(values: Tensor, factor: float, offset: float) -> Tensor:
                return values * factor + offset if has_offset else values * factor

            return channelwise(image, scale, (self.rows[0][0], self.rows[1][1], self.rows[2][2]), self.offset)
        red, green, blue = image[:, 0:1], image[:, 1:2], image[:, 2:3]
        channels = []
        for row, offset in zip(self.rows, self.offset, strict=True):
            channel = red * row[0] + green * row[1] + blue * row[2]
            channels.append(channel + offset if has_offset else channel)
        return torch.cat(channels, 1)

    def described(self) -> str:
        """For people."""
        name = "scale" if self.is_diagonal else "matrix"
        return f"{name} and offset" if any(self.offset) else name


@dataclass(frozen=True)
class Range:
    """x * scale + offset, then the bounds that the config sets, None where it sets none.

    NaN becomes the lower bound, or the upper one where that is the only one, as in OCIO.
    """

    scale: float
    offset: float
    low: float | None
    high: float | None

    def apply(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) float32, any range, to a new tensor alike, within the bounds."""
        if self.scale != 1.0 or self.offset != 0.0:
            image = image * self.scale + self.offset
        if self.low is not None:
            image = at_least(image, self.low)
        return image if self.high is None else at_most(image, self.high)

    def described(self) -> str:
        """For people."""
        low, high = ("" if bound is None else f"{bound:g}" for bound in (self.low, self.high))
        return f"clamp to {low}..{high}"


@dataclass(frozen=True)
class Cdl:
    """ASC CDL: slope, offset, power, saturation; the other way round where `is_inverse`.

    Attributes:
        slope, offset, power, saturation: as they are multiplied and added, so of the inverse where `is_inverse`.
        clamp: True if values are kept in 0..1 as the ASC has it; else numbers below 0 pass the power.
        is_inverse: which order.
    """

    slope: Triple
    offset: Triple
    power: Triple
    saturation: float
    clamp: bool
    is_inverse: bool

    def apply(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) float32, any range, to a new tensor alike; NaN becomes 0, as in OCIO."""
        if self.is_inverse:
            image = self._raised(self._saturated(self._clamped(image)))
            image = channelwise(image, lambda x, offset, slope: (x + offset) * slope, self.offset, self.slope)
        else:
            image = channelwise(image, lambda x, offset, slope: x * slope + offset, self.offset, self.slope)
            image = self._saturated(self._raised(image))
        return self._clamped(image)

    def _clamped(self, image: Tensor) -> Tensor:
        return at_most(at_least(image, 0.0), 1.0) if self.clamp else image

    def _raised(self, image: Tensor) -> Tensor:
        if self.clamp:
            return channelwise(self._clamped(image), lambda x, power: x.pow(power), self.power)

        def raised(values: Tensor, power: float) -> Tensor:
            return values.where(values < 0.0, values.pow(power)).where(~values.isnan(), 0.0)

        return channelwise(image, raised, self.power)

    def _saturated(self, image: Tensor) -> Tensor:
        return _saturated(image, self.saturation)

    def described(self) -> str:
        """For people."""
        return "CDL" if self.clamp else "CDL without clamp"


def _weighted(image: Tensor, weights: Triple) -> Tensor:
    return image[:, 0:1] * weights[0] + image[:, 1:2] * weights[1] + image[:, 2:3] * weights[2]


def _saturated(image: Tensor, saturation: float) -> Tensor:
    luma = _weighted(image, _CDL_WEIGHTS)
    return luma + (image - luma) * saturation


@dataclass(frozen=True)
class Surround:
    """Rec.2100 surround, HLG's system gamma: each channel by luminance ** power, luminance at least `low`."""

    power: float
    low: float

    def apply(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) float32, any range, to a new tensor alike."""
        return image * at_least(_weighted(image, _REC2100_WEIGHTS).abs(), self.low).pow(self.power)

    def described(self) -> str:
        """For people."""
        return "Rec.2100 surround"


Operation = (
    Matrix
    | Log
    | AntiLog
    | CameraLog
    | CameraAntiLog
    | Exponent
    | ExponentWithLinear
    | Range
    | Cdl
    | Surround
    | WorkingLog
)
