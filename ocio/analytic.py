"""Color transforms as formulas: OCIO's processors without OCIO, for images that live on a GPU.

OCIO writes shaders, but none in CUDA; what it does list is the operations of a processor. Here they become small
dataclasses that run in torch on the device of the image. A processor with a table in it is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from stpn.ocio import analytic_ops as ops
from stpn.ocio.analysis import analyse
from stpn.ocio.analytic_ops import Operation, Triple
from stpn.ocio.config import ColorError, Config
from stpn.ocio.working import WorkingCurve, _Log

if TYPE_CHECKING:
    from torch import Tensor

    from stpn.ocio.spaces import PlateSpace

__all__ = ["Analytic", "analytic", "conversion", "decoding", "encoding", "from_processor", "working"]

#: OCIO nudges gamma and offset of an exponent with a linear part by this, so that nothing is divided by zero.
_NUDGE = 1e-6
#: OCIO's CDL divides by no less than this.
_CDL_SMALLEST = 1e-2


@dataclass(frozen=True)
class Analytic:
    """A conversion between two color spaces as a list of formulas; needs neither config nor OCIO, can be pickled.

    Attributes:
        source: the space it takes, for people.
        target: the space it makes, for people.
        operations: what is done, in this order; none where both spaces are alike.
    """

    source: str
    target: str
    operations: tuple[Operation, ...]

    def apply(self, image: Tensor) -> Tensor:
        """Converts an image.

        Args:
            image: (B, 3, H, W) float32 on any device, values of the source space, RGB without alpha; not changed.
                Below 0, above 1, infinity and NaN are fine and come out as from OCIO's CPU.

        Returns:
            (B, 3, H, W) float32 on the same device, values of the target space, clamped only where the config clamps;
            the image itself where there is nothing to do. Within 1e-5 of OCIO's CPU without its fast approximations,
            absolute to 1 and relative above, where no matrix cancels numbers that are larger still.

        Raises:
            ValueError: shape or dtype is another one.
        """
        import torch

        if image.dtype != torch.float32 or image.ndim != 4 or image.shape[1] != 3:
            dtype = str(image.dtype).removeprefix("torch.")
            raise ValueError(
                f"expected a float32 image of shape (B, 3, H, W), got {dtype} {tuple(image.shape)}, for"
                f" {self.source!r} to {self.target!r}; convert it to float32 RGB first"
            )
        for operation in self.operations:
            image = operation.apply(image)
        return image

    def described(self) -> str:
        """One line for people: "ARRI LogC4 to ACEScg: camera antilog, matrix"."""
        steps = ", ".join(operation.described() for operation in self.operations)
        return f"{self.source} to {self.target}: {steps or 'nothing to do'}"


def analytic(config: Config, source: str, target: str) -> Analytic:
    """The conversion from one color space of a config to another.

    Args:
        config: the config.
        source: name, role or alias of the space of the pixels.
        target: name, role or alias of the space wanted.

    Raises:
        ColorError: no such space, a data space, a conversion the config cannot do, or one that is no formula.
    """
    first, last = config.color_space(source).name, config.color_space(target).name
    processor = config.processor(first, last, what=f"taking {first!r} to {last!r}")
    return from_processor(processor, source=first, target=last, where=config.origin)


def decoding(config: Config, space: str) -> Analytic:
    """What `PlateSpace.decode` does: code values to linear light in the primaries of the space itself.

    Args:
        config: the config.
        space: name, role or alias of a color space.

    Raises:
        ColorError: no such space, a data space, one the config cannot linearise, or one that is no formula.
    """
    return _coding(config, space, encode=False)


def encoding(config: Config, space: str) -> Analytic:
    """What `PlateSpace.encode` does: the inverse of `decoding`, with the same arguments and errors."""
    return _coding(config, space, encode=True)


def conversion(source: PlateSpace, target: PlateSpace) -> Analytic:
    """What `target.convert_from(source, ...)` does: linear light in one space's primaries to that in another's.

    Args:
        source: the space whose linear light the pixels are.
        target: the space whose linear light is wanted, of the same config.
    """
    matrix = target.conversion_from(source)
    names = f"linear light of {source.name}", f"linear light of {target.name}"
    if matrix is None:
        return Analytic(*names, ())
    rows = [_singles(row) for row in matrix]
    return Analytic(*names, (ops.Matrix((rows[0], rows[1], rows[2])),))


def working(curve: WorkingCurve, *, encode: bool) -> Analytic:
    """What `WorkingCurve.encode` or `decode` does: linear light to code values less the curve's `black`, or back.

    Args:
        curve: the curve of --working.
        encode: True for linear light to code.

    Raises:
        ColorError: the curve is a table.
    """
    names = ("linear light", f"{curve.name} less black") if encode else (f"{curve.name} less black", "linear light")
    form = curve.form
    if form is None:
        return Analytic(*names, ())
    if not isinstance(form, _Log):
        raise _refusal("a table", *names, f"working curve {curve.name!r}")
    log_slope = form.log_slope / math.log(form.base)
    from_black = form.lin_break <= 0.0
    offset = form.linear_offset - curve.black
    # Where 0 lies on the logarithm, its two large offsets cancel: ln(a x + b) - ln(b) is ln(1 + a x / b).
    operation = ops.WorkingLog(
        log_slope=_single(log_slope),
        log_offset=_single(form.log_offset - curve.black),
        lin_slope=_single(form.lin_slope / form.lin_offset if from_black else form.lin_slope),
        lin_offset=_single(form.lin_offset),
        lin_break=_single(form.lin_break),
        code_break=_single(form.linear_slope * form.lin_break + offset),
        linear_slope=_single(form.linear_slope),
        linear_offset=_single(offset),
        from_black=from_black,
        is_inverse=not encode,
    )
    return Analytic(*names, (operation,))


def from_processor(processor: Any, *, source: str, target: str, where: str) -> Analytic:
    """The formulas of an OCIO processor.

    Args:
        processor: a PyOpenColorIO.Processor.
        source: what it takes, for messages.
        target: what it makes, for messages.
        where: the config, for messages.

    Raises:
        ColorError: the processor has an operation that is no formula, or one that is not known here.
    """
    import PyOpenColorIO as ocio

    # Lossless as in `stpn.ocio.spaces`; more would bake curves into tables.
    transforms = processor.getOptimizedProcessor(ocio.OPTIMIZATION_LOSSLESS).createGroupTransform()
    return Analytic(source, target, _operations(transforms, source, target, where))


def _coding(config: Config, name: str, *, encode: bool) -> Analytic:
    import PyOpenColorIO as ocio

    analysis = analyse(config, name)
    space = analysis.name
    if not analysis.separable:
        linear = config.scene_linear().name
        return analytic(config, linear, space) if encode else analytic(config, space, linear)
    light = f"linear light of {space}"
    if not analysis.operations:
        return Analytic(light, space, ()) if encode else Analytic(space, light, ())
    direction = (
        ocio.TransformDirection.TRANSFORM_DIR_INVERSE if encode else ocio.TransformDirection.TRANSFORM_DIR_FORWARD
    )
    what = f"writing {space!r}" if encode else f"reading {space!r}"
    processor = config.processor(ocio.GroupTransform(list(analysis.operations)), direction, what=what)
    source, target = (light, space) if encode else (space, light)
    return from_processor(processor, source=source, target=target, where=config.origin)


def _operations(transforms: Iterable[Any], source: str, target: str, where: str) -> tuple[Operation, ...]:
    import PyOpenColorIO as ocio

    readers: dict[Any, Callable[[Any, bool], Operation | None]] = {
        ocio.MatrixTransform: _matrix,
        ocio.LogTransform: _log,
        ocio.LogAffineTransform: _log,
        ocio.LogCameraTransform: _camera_log,
        ocio.ExponentTransform: _exponent,
        ocio.ExponentWithLinearTransform: _exponent_with_linear,
        ocio.RangeTransform: _range,
        ocio.CDLTransform: _cdl,
        ocio.FixedFunctionTransform: _fixed_function,
    }
    operations = []
    for transform in transforms:
        reader = readers.get(type(transform))
        inverse = transform.getDirection() == ocio.TransformDirection.TRANSFORM_DIR_INVERSE
        operation = None if reader is None else reader(transform, inverse)
        if operation is None:
            raise _refusal(_named(transform), source, target, where)
        operations.append(operation)
    return tuple(operations)


def _refusal(what: str, source: str, target: str, where: str) -> ColorError:
    return ColorError(
        f"expected a conversion of formulas, which the GPU can do, got {what}, from {source!r} to {target!r} in"
        f" {where}; pass --device cpu"
    )


def _named(transform: Any) -> str:
    """An operation in words: "a Lut1D", "a FixedFunction (FIXED_FUNCTION_LIN_TO_PQ)"."""
    name = f"{type(transform).__name__.removesuffix('Transform')}"
    article = "an" if name[0] in "AEIOU" else "a"
    if not hasattr(transform, "getStyle"):
        return f"{article} {name}"
    return f"{article} {name} ({str(transform.getStyle()).rpartition('.')[2]})"


def _single(value: float) -> float:
    """The float32 number that C's cast makes, infinity where it is too large."""
    with np.errstate(over="ignore"):
        return float(np.float32(value))


def _singles(values: Iterable[float]) -> Triple:
    red, green, blue = (_single(float(value)) for value in values)
    return red, green, blue


def _log2(value: float) -> float:
    """log2 of a float32 number, rounded to float32."""
    return _single(math.log2(_single(value)))


def _matrix(transform: Any, inverse: bool) -> Operation | None:
    matrix = np.asarray(transform.getMatrix(), np.float64).reshape(4, 4)
    offset = np.array(transform.getOffset(), np.float64)
    if np.any(matrix[:3, 3]):
        return None  # alpha goes into the color, and there is none
    if inverse:
        matrix = np.asarray(np.linalg.inv(matrix), np.float64)
        offset = -matrix @ offset
    rows = [_singles(row[:3]) for row in matrix[:3]]
    return ops.Matrix((rows[0], rows[1], rows[2]), _singles(offset[:3]))


#: OCIO's four numbers of each channel of a log: log slope, log offset, lin slope, lin offset.
_LogSides = tuple[Triple, Triple, Triple, Triple]


def _log_sides(transform: Any) -> _LogSides:
    import PyOpenColorIO as ocio

    if isinstance(transform, ocio.LogTransform):
        return (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)
    return (
        tuple(transform.getLogSideSlopeValue()),
        tuple(transform.getLogSideOffsetValue()),
        tuple(transform.getLinSideSlopeValue()),
        tuple(transform.getLinSideOffsetValue()),
    )


def _log_operation(sides: _LogSides, base: float) -> ops.Log:
    log_slope, log_offset, lin_slope, lin_offset = sides
    return ops.Log(
        lin_slope=_singles(lin_slope),
        lin_offset=_singles(lin_offset),
        log_slope=_singles(slope / _log2(base) for slope in log_slope),
        log_offset=_singles(log_offset),
    )


def _antilog_operation(sides: _LogSides, base: float) -> ops.AntiLog:
    log_slope, log_offset, lin_slope, lin_offset = sides
    return ops.AntiLog(
        minus_log_offset=_singles(-offset for offset in log_offset),
        exponent_slope=_singles(_log2(base) / _single(slope) for slope in log_slope),
        minus_lin_offset=_singles(-offset for offset in lin_offset),
        lin_scale=_singles(1.0 / _single(slope) for slope in lin_slope),
    )


def _log(transform: Any, inverse: bool) -> Operation:
    sides, base = _log_sides(transform), transform.getBase()
    return _antilog_operation(sides, base) if inverse else _log_operation(sides, base)


def _camera_log(transform: Any, inverse: bool) -> Operation:
    sides, base = _log_sides(transform), transform.getBase()
    lin_break = tuple(transform.getLinSideBreakValue())
    given = tuple(transform.getLinearSlopeValue()) if transform.isLinearSlopeValueSet() else None
    slopes, offsets, code_breaks = [], [], []
    for channel in range(3):
        log_slope, log_offset, lin_slope, lin_offset = (side[channel] for side in sides)
        argument = lin_slope * lin_break[channel] + lin_offset
        slope = log_slope * lin_slope / (argument * math.log(base)) if given is None else given[channel]
        # Rounded where OCIO rounds: this is the code where the line and the logarithm meet.
        code = _single(_log2(argument) * _single(_single(log_slope) / _log2(base)))
        code = _single(code + _single(log_offset))
        slopes.append(_single(slope))
        code_breaks.append(code)
        offsets.append(_single(code - _single(_single(slope) * _single(lin_break[channel]))))
    if inverse:
        return ops.CameraAntiLog(
            antilog=_antilog_operation(sides, base),
            code_break=_singles(code_breaks),
            linear_scale=_singles(1.0 / slope for slope in slopes),
            minus_linear_offset=_singles(-offset for offset in offsets),
        )
    return ops.CameraLog(
        log=_log_operation(sides, base),
        lin_break=_singles(lin_break),
        linear_slope=_singles(slopes),
        linear_offset=_singles(offsets),
    )


def _exponent(transform: Any, inverse: bool) -> Operation | None:
    import PyOpenColorIO as ocio

    styles: dict[Any, ops.NegativeStyle] = {
        ocio.NegativeStyle.NEGATIVE_CLAMP: "clamp",
        ocio.NegativeStyle.NEGATIVE_MIRROR: "mirror",
        ocio.NegativeStyle.NEGATIVE_PASS_THRU: "pass through",
    }
    style = styles.get(transform.getNegativeStyle())
    if style is None:
        return None
    values = transform.getValue()[:3]
    return ops.Exponent(_singles(1.0 / value if inverse else value for value in values), style)


def _exponent_with_linear(transform: Any, inverse: bool) -> Operation | None:
    import PyOpenColorIO as ocio

    style = transform.getNegativeStyle()
    if style not in (ocio.NegativeStyle.NEGATIVE_LINEAR, ocio.NegativeStyle.NEGATIVE_MIRROR):
        return None
    columns: list[tuple[float, float, float, float, float]] = []
    for given_gamma, given_offset in zip(transform.getGamma()[:3], transform.getOffset()[:3], strict=True):
        gamma, offset = max(given_gamma, 1.0 + _NUDGE), max(given_offset, _NUDGE)
        a = (gamma - 1.0) / offset
        b = offset * gamma / ((gamma - 1.0) * (1.0 + offset))
        if inverse:
            slope = a ** (gamma - 1.0) * ((1.0 + offset) / gamma) ** gamma
            columns.append((1.0 / gamma, 1.0 + offset, offset, b**gamma, slope))
        else:
            columns.append((gamma, 1.0 / (1.0 + offset), offset / (1.0 + offset), 1.0 / a, a * b**gamma))
    power, scale, offsets, breakpoints, slopes = (_singles(values) for values in zip(*columns, strict=True))
    mirror = bool(style == ocio.NegativeStyle.NEGATIVE_MIRROR)
    return ops.ExponentWithLinear(power, scale, offsets, breakpoints, slopes, is_inverse=inverse, mirror=mirror)


def _range(transform: Any, inverse: bool) -> Operation | None:
    import PyOpenColorIO as ocio

    if transform.getStyle() != ocio.RangeStyle.RANGE_CLAMP:
        return None  # OCIO turns the other style into a matrix
    ends = (
        transform.getMinInValue() if transform.hasMinInValue() else None,
        transform.getMaxInValue() if transform.hasMaxInValue() else None,
    )
    bounds = (
        transform.getMinOutValue() if transform.hasMinOutValue() else None,
        transform.getMaxOutValue() if transform.hasMaxOutValue() else None,
    )
    if inverse:
        ends, bounds = bounds, ends
    (first, last), (low, high) = ends, bounds
    scale, offset = 1.0, 0.0
    if first is not None and last is not None and low is not None and high is not None:
        scale = (high - low) / (last - first)
        offset = low - scale * first
        # OCIO's own notion of a range that only clamps.
        if abs(offset) <= 1e-6 and abs(scale) >= 1e-3 and abs(1.0 - 1.0 / scale) <= 1e-6:
            scale, offset = 1.0, 0.0
    return ops.Range(
        _single(scale),
        _single(offset),
        None if low is None else _single(low),
        None if high is None else _single(high),
    )


def _cdl(transform: Any, inverse: bool) -> Operation:
    import PyOpenColorIO as ocio

    def reciprocal(value: float) -> float:
        return 1.0 / max(_single(value), _single(_CDL_SMALLEST))

    slope, offset, power = transform.getSlope(), transform.getOffset(), transform.getPower()
    saturation = transform.getSat()
    return ops.Cdl(
        slope=_singles(reciprocal(value) if inverse else value for value in slope),
        offset=_singles(-value if inverse else value for value in offset),
        power=_singles(reciprocal(value) if inverse else value for value in power),
        saturation=_single(reciprocal(saturation) if inverse else saturation),
        clamp=bool(transform.getStyle() == ocio.CDLStyle.CDL_ASC),
        is_inverse=inverse,
    )


def _fixed_function(transform: Any, inverse: bool) -> Operation | None:
    import PyOpenColorIO as ocio

    if transform.getStyle() != ocio.FixedFunctionStyle.FIXED_FUNCTION_REC2100_SURROUND:
        return None
    gamma = _single(transform.getParams()[0])
    smallest = _single(1e-4)
    if inverse:
        return ops.Surround(_single(_single(1.0 / gamma) - 1.0), _single(smallest**gamma))
    return ops.Surround(_single(gamma - 1.0), smallest)
