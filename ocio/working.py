"""Working curves: linear light <-> the log encoding of a camera or grading space, one channel at a time.

Code values are kept as their distance from the code of linear 0. Camera logs put linear 0 at a code near 0.1, where
neighbouring float32 numbers are 7e-9 apart: at linear 1e-6 that alone is an error of 4e-4 (ARRI LogC4: 1.3e-2 through
OCIO in float32). Measured from that code, float32 is as fine near black as linear light is, and every curve comes back
to 1e-5 of the value over 1e-6..65504.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from stpn.ocio.config import ColorError
from stpn.ocio.rows import over_rows

Image = npt.NDArray[np.float32]
Nodes = npt.NDArray[np.float64]

#: A pure logarithm is continued along its tangent from where its argument is this small (ACEScc's own choice is 2^-16).
_SMALLEST_ARGUMENT = 2.0**-24


@dataclass(frozen=True)
class LogForm:
    """log_slope * log_base(lin_slope * x + lin_offset) + log_offset at and above `lin_break`, a line below."""

    log_slope: float
    log_offset: float
    lin_slope: float
    lin_offset: float
    lin_break: float
    linear_slope: float
    linear_offset: float
    base: float


@dataclass(frozen=True)
class _Table:
    """A line from node to node; both arrays increase strictly. Beyond the ends the last piece goes on."""

    codes: Nodes
    linear: Nodes


@dataclass(frozen=True)
class WorkingCurve:
    """A curve between linear light and code values.

    Attributes:
        name: "linear" or the name of the log space.
        black: the space's own code value of linear 0; encode gives code values less this.
        domain: linear light over which the curve is the space's own; beyond it goes on along its tangent, so that
            nothing is clamped where the config's curve would clamp (Apple Log, Canon Log, ACEScc).
    """

    name: str
    black: float
    domain: tuple[float, float]
    form: LogForm | _Table | None

    @classmethod
    def linear(cls) -> WorkingCurve:
        """The curve that changes nothing."""
        return cls("linear", 0.0, (-math.inf, math.inf), None)

    @property
    def is_linear(self) -> bool:
        """True if encode and decode touch nothing."""
        return self.form is None

    def encode(self, image: Image, *, threads: int = 1) -> None:
        """Linear light to code values less `black`, in place.

        Args:
            image: float32, C-contiguous, any shape, linear light of any primaries; below 0 and above 1 is fine.
            threads: how many bands to work on at once.

        Raises:
            ValueError: dtype or layout is another one.
        """
        self._run(image, threads, encode=True)

    def decode(self, image: Image, *, threads: int = 1) -> None:
        """Code values less `black` to linear light, in place; the inverse of `encode`, with the same arguments."""
        self._run(image, threads, encode=False)

    def _run(self, image: Image, threads: int, *, encode: bool) -> None:
        if image.dtype != np.float32 or not image.flags.c_contiguous:
            raise ValueError(f"expected a contiguous float32 array, got {image.dtype} {image.shape}")
        form = self.form
        if form is None or not image.size:
            return
        from stpn.ocio import _curve_kernels

        def run(values: Image) -> None:
            if isinstance(form, LogForm):
                kernel = _curve_kernels.encode_log if encode else _curve_kernels.decode_log
                kernel(
                    values,
                    form.log_slope / math.log(form.base),
                    form.log_offset,
                    form.lin_slope,
                    form.lin_offset,
                    form.lin_break,
                    form.linear_slope,
                    form.linear_offset,
                    self.black,
                )
            elif encode:
                _curve_kernels.map_table(values, form.linear, form.codes, 0.0, -self.black)
            else:
                _curve_kernels.map_table(values, form.codes, form.linear, self.black, 0.0)

        over_rows(run, image.reshape(-1), threads=threads)


def curve_from_operations(name: str, operations: Sequence[Any]) -> WorkingCurve:
    """The working curve of a space.

    Args:
        name: name of the space.
        operations: its OCIO transforms from code values to linear light, one channel at a time.

    Returns:
        The curve: the formula where the config has one (all LogCamera spaces), else its table.

    Raises:
        ColorError: the transforms are no increasing curve, or differ between channels.
    """
    import PyOpenColorIO as ocio

    if not operations:
        return WorkingCurve(name, 0.0, (-math.inf, math.inf), None)
    form: LogForm | _Table
    logs = (ocio.LogCameraTransform, ocio.LogAffineTransform, ocio.LogTransform)
    if len(operations) == 1 and isinstance(operations[0], logs):
        form = _log_form(name, operations[0])
        domain = (
            (-math.inf, math.inf) if isinstance(operations[0], ocio.LogCameraTransform) else (form.lin_break, math.inf)
        )
        black = form.linear_offset if form.lin_break > 0.0 else _log_at(form, 0.0)
    else:
        form = _table_form(name, operations)
        domain = (float(form.linear[0]), float(form.linear[-1]))
        zero = np.zeros(1)
        from stpn.ocio import _curve_kernels

        black = float(_curve_kernels.look_up(zero, form.linear, form.codes)[0])
    return WorkingCurve(name, black, domain, form)


def _log_at(form: LogForm, linear: float) -> float:
    return form.log_slope * math.log(form.lin_slope * linear + form.lin_offset, form.base) + form.log_offset


def _log_form(name: str, operation: Any) -> LogForm:
    import PyOpenColorIO as ocio

    base = float(operation.getBase())
    values = [1.0, 0.0, 1.0, 0.0]
    if not isinstance(operation, ocio.LogTransform):
        lists = (
            operation.getLogSideSlopeValue(),
            operation.getLogSideOffsetValue(),
            operation.getLinSideSlopeValue(),
            operation.getLinSideOffsetValue(),
        )
        if any(len(set(channels)) > 1 for channels in lists):
            raise ColorError(
                f"expected one working curve, got {name!r}, whose channels differ; use linear or another log"
            )
        values = [float(channels[0]) for channels in lists]
    log_slope, log_offset, lin_slope, lin_offset = values
    if operation.getDirection() != ocio.TransformDirection.TRANSFORM_DIR_INVERSE or log_slope * lin_slope <= 0.0:
        raise ColorError(f"expected a log curve that increases, got {name!r}; use linear or another log")
    slope: float | None = None
    if isinstance(operation, ocio.LogCameraTransform):
        lin_break = float(operation.getLinSideBreakValue()[0])
        given = operation.getLinearSlopeValue() if operation.isLinearSlopeValueSet() else None
        slope = None if given is None else float(given[0])
    else:
        lin_break = (_SMALLEST_ARGUMENT - lin_offset) / lin_slope
    argument = lin_slope * lin_break + lin_offset
    if slope is None:
        slope = log_slope * lin_slope / (argument * math.log(base))
    offset = log_slope * math.log(argument, base) + log_offset - slope * lin_break
    return LogForm(log_slope, log_offset, lin_slope, lin_offset, lin_break, slope, offset, base)


def _table_form(name: str, operations: Sequence[Any]) -> _Table:
    """The curve sampled where its 1D LUT has its entries, without the flat ends where it clamps."""
    import PyOpenColorIO as ocio

    codes = _sample_codes(operations)
    values = np.repeat(codes.astype(np.float32)[None, :, None], 3, axis=2).copy()
    group = ocio.GroupTransform(list(operations))
    processor = ocio.Config.CreateRaw().getProcessor(group).getOptimizedCPUProcessor(ocio.OPTIMIZATION_LOSSLESS)
    processor.apply(ocio.PackedImageDesc(values, codes.size, 1, 3))
    if np.abs(values[0] - values[0, :, :1]).max() > 0.0:
        raise ColorError(f"expected one working curve, got {name!r}, whose channels differ; use linear or another log")
    linear = values[0, :, 0].astype(np.float64)
    if np.any(np.diff(linear) < 0.0):
        raise ColorError(f"expected a working curve that increases, got {name!r}; use linear or a camera log")
    # Where the table stands still only its inner end is kept: the last node at the bottom, the first at the top.
    rises = np.diff(linear) > 0.0
    if np.count_nonzero(rises) < 2:
        raise ColorError(f"expected a working curve that increases, got {name!r}; use linear or a camera log")
    first, last = int(np.argmax(rises)), int(rises.size - np.argmax(rises[::-1]))
    codes, linear = codes[first : last + 1], linear[first : last + 1]
    kept = np.concatenate([[True], np.diff(linear) > 0.0])
    return _Table(np.ascontiguousarray(codes[kept]), np.ascontiguousarray(linear[kept]))


def _sample_codes(operations: Sequence[Any]) -> Nodes:
    """Code values, float32 exact and increasing, at the entries of the curve's table."""
    import PyOpenColorIO as ocio

    halves = np.arange(65536, dtype=np.uint16).view(np.float16).astype(np.float64)
    halves = np.unique(halves[np.isfinite(halves)])
    low, high, length = 0.0, 1.0, 65536
    for operation in operations:
        if isinstance(operation, ocio.RangeTransform) and operation.hasMinInValue() and operation.hasMaxInValue():
            low, high = operation.getMinInValue(), operation.getMaxInValue()
        if isinstance(operation, ocio.Lut1DTransform):
            forward = operation.getDirection() == ocio.TransformDirection.TRANSFORM_DIR_FORWARD
            if operation.getInputHalfDomain() or not forward:
                return np.asarray(halves)
            length = operation.getLength()
            break
    else:
        return np.asarray(halves)
    return np.linspace(low, high, length).astype(np.float32).astype(np.float64)
