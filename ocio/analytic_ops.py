"""The operations of `stpn.ocio.analytic` in torch: float32 in, float32 out, on the device of the image.

Each does what OCIO's CPU does without its fast approximations, in the same order of rounding: a matrix of light up to
65504 cancels, and another order would show. Constants are float32 numbers held as Python floats, so that no operation
copies anything to the device. NaN goes where OCIO's comparisons send it: torch.clamp would keep it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

#: Red, green and blue.
Triple = tuple[float, float, float]
NegativeStyle = Literal["clamp", "mirror", "pass through"]

#: The smallest normal float32: OCIO takes no logarithm of anything less.
_SMALLEST = 2.0**-126
#: ASC CDL v1.2, section on saturation; OCIO uses these whatever the config's luma weights are.
_CDL_WEIGHTS = (0.2125999927520752, 0.7152000069618225, 0.0722000002861023)
#: ITU-R BT.2100-2, table 5, the weights of luminance.
_REC2100_WEIGHTS = (0.26269999146461487, 0.6779999732971191, 0.059300001710653305)


def _channelwise(image: Tensor, function: Callable[..., Tensor], *parameters: Triple) -> Tensor:
    """`function(values, *constants)` on (B, 3, H, W): at once where the channels' constants are alike."""
    import torch

    if all(values[0] == values[1] == values[2] for values in parameters):
        return function(image, *(values[0] for values in parameters))
    return torch.cat([function(image[:, c : c + 1], *(values[c] for values in parameters)) for c in range(3)], 1)


def _at_least(values: Tensor, low: float) -> Tensor:
    """std::max(low, values): NaN becomes `low`."""
    return values.where(values > low, low)


def _at_most(values: Tensor, high: float) -> Tensor:
    """std::min(high, values): NaN becomes `high`."""
    return values.where(values < high, high)


def _with_sign_of(source: Tensor, values: Tensor) -> Tensor:
    return values.where(~source.signbit(), -values)


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

            return _channelwise(image, scale, (self.rows[0][0], self.rows[1][1], self.rows[2][2]), self.offset)
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
        return _channelwise(image, _log, self.lin_slope, self.lin_offset, self.log_slope, self.log_offset)

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
        return _channelwise(
            image, _antilog, self.minus_log_offset, self.exponent_slope, self.minus_lin_offset, self.lin_scale
        )

    def described(self) -> str:
        """For people."""
        return "antilog"


def _log(values: Tensor, lin_slope: float, lin_offset: float, log_slope: float, log_offset: float) -> Tensor:
    return _at_least(values * lin_slope + lin_offset, _SMALLEST).log2() * log_slope + log_offset


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
        return _channelwise(
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
        return _channelwise(
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
                return _at_least(values, 0.0).pow(power)
            if self.negative == "mirror":
                return _with_sign_of(values, values.abs().pow(power))
            return values.pow(power).where(values > 0.0, values)

        return _channelwise(image, raised, self.power)

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
            return _with_sign_of(signed, result) if self.mirror else result

        return _channelwise(image, raised, self.power, self.scale, self.offset, self.breakpoint, self.slope)

    def described(self) -> str:
        """For people."""
        return "exponent with a linear part"


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
            image = _at_least(image, self.low)
        return image if self.high is None else _at_most(image, self.high)

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
            image = _channelwise(image, lambda x, offset, slope: (x + offset) * slope, self.offset, self.slope)
        else:
            image = _channelwise(image, lambda x, offset, slope: x * slope + offset, self.offset, self.slope)
            image = self._saturated(self._raised(image))
        return self._clamped(image)

    def _clamped(self, image: Tensor) -> Tensor:
        return _at_most(_at_least(image, 0.0), 1.0) if self.clamp else image

    def _raised(self, image: Tensor) -> Tensor:
        if self.clamp:
            return _channelwise(self._clamped(image), lambda x, power: x.pow(power), self.power)

        def raised(values: Tensor, power: float) -> Tensor:
            return values.where(values < 0.0, values.pow(power)).where(~values.isnan(), 0.0)

        return _channelwise(image, raised, self.power)

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
        return image * _at_least(_weighted(image, _REC2100_WEIGHTS).abs(), self.low).pow(self.power)

    def described(self) -> str:
        """For people."""
        return "Rec.2100 surround"


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
