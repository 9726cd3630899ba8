"""OCIO's own list of operations, read as those of `stpn.ocio.analytic_ops`; what is no formula is refused."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from stpn.ocio import analytic_curves as curves
from stpn.ocio import analytic_ops as ops
from stpn.ocio.analytic_channels import Triple
from stpn.ocio.analytic_ops import Operation
from stpn.ocio.config import ColorError

#: OCIO nudges gamma and offset of an exponent with a linear part by this, so that nothing is divided by zero.
_NUDGE = 1e-6
#: OCIO's CDL divides by no less than this.
_CDL_SMALLEST = 1e-2


def operations_of(transforms: Iterable[Any], source: str, target: str, where: str) -> tuple[Operation, ...]:
    """The operations of a list of OCIO transforms; see `stpn.ocio.analytic.from_processor`.

    Raises:
        ColorError: one is no formula, or not known here.
    """
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
            raise refusal(_named(transform), source, target, where)
        operations.append(operation)
    return tuple(operations)


def refusal(what: str, source: str, target: str, where: str) -> ColorError:
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


def single(value: float) -> float:
    """The float32 number that C's cast makes, infinity where it is too large."""
    with np.errstate(over="ignore"):
        return float(np.float32(value))


def singles(values: Iterable[float]) -> Triple:
    red, green, blue = (single(float(value)) for value in values)
    return red, green, blue


def _log2(value: float) -> float:
    """log2 of a float32 number, rounded to float32."""
    return single(math.log2(single(value)))


def _matrix(transform: Any, inverse: bool) -> Operation | None:
    matrix = np.asarray(transform.getMatrix(), np.float64).reshape(4, 4)
    offset = np.array(transform.getOffset(), np.float64)
    if np.any(matrix[:3, 3]):
        return None  # alpha goes into the color, and there is none
    if inverse:
        matrix = np.asarray(np.linalg.inv(matrix), np.float64)
        offset = -matrix @ offset
    rows = [singles(row[:3]) for row in matrix[:3]]
    return ops.Matrix((rows[0], rows[1], rows[2]), singles(offset[:3]))


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


def _log_operation(sides: _LogSides, base: float) -> curves.Log:
    log_slope, log_offset, lin_slope, lin_offset = sides
    return curves.Log(
        lin_slope=singles(lin_slope),
        lin_offset=singles(lin_offset),
        log_slope=singles(slope / _log2(base) for slope in log_slope),
        log_offset=singles(log_offset),
    )


def _antilog_operation(sides: _LogSides, base: float) -> curves.AntiLog:
    log_slope, log_offset, lin_slope, lin_offset = sides
    return curves.AntiLog(
        minus_log_offset=singles(-offset for offset in log_offset),
        exponent_slope=singles(_log2(base) / single(slope) for slope in log_slope),
        minus_lin_offset=singles(-offset for offset in lin_offset),
        lin_scale=singles(1.0 / single(slope) for slope in lin_slope),
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
        code = single(_log2(argument) * single(single(log_slope) / _log2(base)))
        code = single(code + single(log_offset))
        slopes.append(single(slope))
        code_breaks.append(code)
        offsets.append(single(code - single(single(slope) * single(lin_break[channel]))))
    if inverse:
        return curves.CameraAntiLog(
            antilog=_antilog_operation(sides, base),
            code_break=singles(code_breaks),
            linear_scale=singles(1.0 / slope for slope in slopes),
            minus_linear_offset=singles(-offset for offset in offsets),
        )
    return curves.CameraLog(
        log=_log_operation(sides, base),
        lin_break=singles(lin_break),
        linear_slope=singles(slopes),
        linear_offset=singles(offsets),
    )


def _exponent(transform: Any, inverse: bool) -> Operation | None:
    import PyOpenColorIO as ocio

    styles: dict[Any, curves.NegativeStyle] = {
        ocio.NegativeStyle.NEGATIVE_CLAMP: "clamp",
        ocio.NegativeStyle.NEGATIVE_MIRROR: "mirror",
        ocio.NegativeStyle.NEGATIVE_PASS_THRU: "pass through",
    }
    style = styles.get(transform.getNegativeStyle())
    if style is None:
        return None
    values = transform.getValue()[:3]
    return curves.Exponent(singles(1.0 / value if inverse else value for value in values), style)


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
    power, scale, offsets, breakpoints, slopes = (singles(values) for values in zip(*columns, strict=True))
    mirror = bool(style == ocio.NegativeStyle.NEGATIVE_MIRROR)
    return curves.ExponentWithLinear(power, scale, offsets, breakpoints, slopes, is_inverse=inverse, mirror=mirror)


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
        single(scale),
        single(offset),
        None if low is None else single(low),
        None if high is None else single(high),
    )


def _cdl(transform: Any, inverse: bool) -> Operation:
    import PyOpenColorIO as ocio

    def reciprocal(value: float) -> float:
        return 1.0 / max(single(value), single(_CDL_SMALLEST))

    slope, offset, power = transform.getSlope(), transform.getOffset(), transform.getPower()
    saturation = transform.getSat()
    return ops.Cdl(
        slope=singles(reciprocal(value) if inverse else value for value in slope),
        offset=singles(-value if inverse else value for value in offset),
        power=singles(reciprocal(value) if inverse else value for value in power),
        saturation=single(reciprocal(saturation) if inverse else saturation),
        clamp=bool(transform.getStyle() == ocio.CDLStyle.CDL_ASC),
        is_inverse=inverse,
    )


def _fixed_function(transform: Any, inverse: bool) -> Operation | None:
    import PyOpenColorIO as ocio

    if transform.getStyle() != ocio.FixedFunctionStyle.FIXED_FUNCTION_REC2100_SURROUND:
        return None
    gamma = single(transform.getParams()[0])
    smallest = single(1e-4)
    if inverse:
        return ops.Surround(single(single(1.0 / gamma) - 1.0), single(smallest**gamma))
    return ops.Surround(single(gamma - 1.0), smallest)
