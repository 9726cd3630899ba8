"""Logarithms and exponents of `stpn.ocio.analytic` in torch: float32 in, float32 out, on the device of the image.

As `analytic_ops`, they do what OCIO's CPU does, in its order of rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from stpn.ocio.analytic_channels import Triple, at_least, channelwise, with_sign_of

if TYPE_CHECKING:
    from torch import Tensor

NegativeStyle = Literal["clamp", "mirror", "pass through"]

#: The smallest normal float32: OCIO takes no logarithm of anything less.
_SMALLEST = 2.0**-126


@dataclass(frozen=True)
class Log:
    """log_slope * log2(lin_slope * x + lin_offset) + log_offset: OCIO's log and log affine, linear light to code.

    The argument is at least the smallest normal float32, as in OCIO.
    """

    lin_slope: Triple
    lin_offset: Triple
    log_slope: Triple
    log_offset: Triple

    def apply(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) float32, any range, to a new tensor alike."""
        return channelwise(image, _log, self.lin_slope, self.lin_offset, self.log_slope, self.log_offset)

    def described(self) -> str:
        """For people."""
        return "log"


@dataclass(frozen=True)
class AntiLog:
    """(exp2((x + minus_log_offset) * exponent_slope) + minus_lin_offset) * lin_scale: the inverse of `Log`."""

    minus_log_offset: Triple
    exponent_slope: Triple
    minus_lin_offset: Triple
    lin_scale: Triple

    def apply(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) float32, any range, to a new tensor alike."""
        return channelwise(
            image, _antilog, self.minus_log_offset, self.exponent_slope, self.minus_lin_offset, self.lin_scale
        )

    def described(self) -> str:
        """For people."""
        return "antilog"


def _log(values: Tensor, lin_slope: float, lin_offset: float, log_slope: float, log_offset: float) -> Tensor:
    return at_least(values * lin_slope + lin_offset, _SMALLEST).log2() * log_slope + log_offset


def _antilog(values: Tensor, minus_log_offset: float, slope: float, minus_lin_offset: float, scale: float) -> Tensor:
    return (((values + minus_log_offset) * slope).exp2() + minus_lin_offset) * scale


@dataclass(frozen=True)
class CameraLog:
    """A camera's log, linear light to code: `log` at and above `lin_break`, a line below."""

    log: Log
    lin_break: Triple
    linear_slope: Triple
    linear_offset: Triple

    def apply(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) float32, any range, to a new tensor alike."""

        def encode(values: Tensor, lin_break: float, slope: float, offset: float, *log: float) -> Tensor:
            return (values * slope + offset).where(values < lin_break, _log(values, *log))

        log = self.log
        return channelwise(
            image,
            encode,
            self.lin_break,
            self.linear_slope,
            self.linear_offset,
            log.lin_slope,
            log.lin_offset,
            log.log_slope,
            log.log_offset,
        )

    def described(self) -> str:
        """For people."""
        return "camera log"


@dataclass(frozen=True)
class CameraAntiLog:
    """A camera's log, code to linear light: the inverse of `CameraLog`."""

    antilog: AntiLog
    code_break: Triple
    linear_scale: Triple
    minus_linear_offset: Triple

    def apply(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) float32, any range, to a new tensor alike."""

        def decode(values: Tensor, code_break: float, scale: float, offset: float, *antilog: float) -> Tensor:
            return ((values + offset) * scale).where(values < code_break, _antilog(values, *antilog))

        antilog = self.antilog
        return channelwise(
            image,
            decode,
            self.code_break,
            self.linear_scale,
            self.minus_linear_offset,
            antilog.minus_log_offset,
            antilog.exponent_slope,
            antilog.minus_lin_offset,
            antilog.lin_scale,
        )

    def described(self) -> str:
        """For people."""
        return "camera antilog"


@dataclass(frozen=True)
class Exponent:
    """x to a power; numbers below 0 become 0, are mirrored, or stay as they are."""

    power: Triple
    negative: NegativeStyle

    def apply(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) float32, any range, to a new tensor alike."""

        def raised(values: Tensor, power: float) -> Tensor:
            if self.negative == "clamp":
                return at_least(values, 0.0).pow(power)
            if self.negative == "mirror":
                return with_sign_of(values, values.abs().pow(power))
            return values.pow(power).where(values > 0.0, values)

        return channelwise(image, raised, self.power)

    def described(self) -> str:
        """For people."""
        return "exponent"


@dataclass(frozen=True)
class ExponentWithLinear:
    """A line up to a break, then (x * scale + offset) ** power, or x ** power * scale - offset where `is_inverse`.

    Attributes:
        is_inverse: which of the two.
        mirror: True if numbers below 0 are mirrored, False if the line goes on.
    """

    power: Triple
    scale: Triple
    offset: Triple
    breakpoint: Triple
    slope: Triple
    is_inverse: bool
    mirror: bool

    def apply(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) float32, any range, to a new tensor alike."""

        def raised(
            signed: Tensor, power: float, scale: float, offset: float, breakpoint: float, slope: float
        ) -> Tensor:
            values = signed.abs() if self.mirror else signed
            curve = values.pow(power) * scale - offset if self.is_inverse else (values * scale + offset).pow(power)
            result = (values * slope).where(values <= breakpoint, curve)
            return with_sign_of(signed, result) if self.mirror else result

        return channelwise(image, raised, self.power, self.scale, self.offset, self.breakpoint, self.slope)

    def described(self) -> str:
        """For people."""
        return "exponent with a linear part"


@dataclass(frozen=True)
class WorkingLog:
    """A working curve, linear light to code less the code of 0; see `stpn.ocio.working`.

    The logarithm is log_slope * ln(lin_slope * x + lin_offset) + log_offset, or log_slope * ln(1 + lin_slope * x) where
    the code of 0 lies on it: there that is as fine near black as linear light is.
    """

    log_slope: float
    log_offset: float
    lin_slope: float
    lin_offset: float
    lin_break: float
    code_break: float
    linear_slope: float
    linear_offset: float
    from_black: bool
    is_inverse: bool

    def apply(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) float32, any range, to a new tensor alike."""
        if self.is_inverse:
            line = (image - self.linear_offset) * (1.0 / self.linear_slope)
            if self.from_black:
                curve = (image * (1.0 / self.log_slope)).expm1() * (1.0 / self.lin_slope)
            else:
                curve = ((image - self.log_offset) * (1.0 / self.log_slope)).exp() - self.lin_offset
                curve = curve * (1.0 / self.lin_slope)
            return line.where(image < self.code_break, curve)
        line = image * self.linear_slope + self.linear_offset
        if self.from_black:
            curve = (image * self.lin_slope).log1p() * self.log_slope
        else:
            curve = (image * self.lin_slope + self.lin_offset).log() * self.log_slope + self.log_offset
        return line.where(image < self.lin_break, curve)

    def described(self) -> str:
        """For people."""
        return "working antilog" if self.is_inverse else "working log"
