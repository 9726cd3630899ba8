"""Any channel, looked at: in false colors on one scale, its difference, and RMSE over frames."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from functools import partial

import numpy as np

from stpn.plugin.comparison import Comparison
from stpn.plugin.display import Image, Picture, Size, resized
from stpn.plugin.frame_numbers import FrameNumbers, Metric, measured
from stpn.plugin.layers import Layers
from stpn.plugin.number_plot import Curve, draw_numbers
from stpn.plugin.sheet_drawing import Column
from stpn.plugin.view import (
    TITLES,
    Cell,
    View,
    color_map,
    colored,
    name_of,
    notes_of,
    picture_columns,
    shown_how,
)

METRICS = (Metric("rmse", "RMSE", ".4g", "RMSE {:.3g}"),)
BROKEN = "are NaN, or infinite in one only, and left out"

_BROKEN_COLOR = 128
"""Grey, which the false colors lack."""


def measure(comparison: Comparison) -> Generator[FrameNumbers, None, None]:
    """RMSE of the channel of all measured frames, in order, over the pixels that are finite in both.

    Raises:
        PlateError: a file cannot be read.
    """

    def one(frame: int) -> tuple[Mapping[str, float | None], int]:
        got, wanted = (comparison.layers[role].values(frame)[0] for role in ("result", "reference"))
        finite = np.isfinite(got) & np.isfinite(wanted)
        difference = got[finite].astype(np.float64) - wanted[finite]
        error = math.sqrt(np.mean(np.square(difference))) if difference.size else None
        # a sky that is infinitely far in both is as it should be
        return {"rmse": error}, int(np.count_nonzero(~finite & (got != wanted)))

    return measured(comparison.measured, comparison.key_frames, one, comparison.request.threads)


def remark(_comparison: Comparison, _numbers: Sequence[FrameNumbers]) -> str:
    """Nothing."""
    return ""


def view(comparison: Comparison, numbers: Sequence[FrameNumbers], size: Size) -> View:
    """The sheet, with pictures of a size: one scale for all of it."""
    ends = comparison.range or _ends(comparison)
    columns = picture_columns(comparison, size)
    columns += [
        _values(comparison.layers[role], title, ends, size)
        for role, title in TITLES.items()
        if role in comparison.layers
    ]
    if "reference" in comparison.layers:
        columns.append(_difference(comparison, ends, size))
    of = "as given by --range" if comparison.range else "least and greatest of what is shown"
    channel = comparison.layers["result"].channels[0]
    footer = [
        shown_how(comparison),
        f"{channel}: false colors from {ends[0]:.6g} to {ends[1]:.6g}, {of}. Grey: NaN or infinite.",
    ]
    plot = None
    if numbers:
        plot = partial(
            draw_numbers, title=f"RMSE of {channel} against the reference", curves=[Curve("rmse", "RMSE")],
            numbers=numbers, keys=comparison.key_frames, rows=comparison.rows,
        )  # fmt: skip
    return View(tuple(columns), tuple(footer), partial(notes_of, METRICS), plot=plot)


def _ends(comparison: Comparison) -> tuple[float, float]:
    """The least and the greatest finite value of all that the sheet shows."""
    low, high = math.inf, -math.inf
    for layers in comparison.layers.values():
        for frame in set(comparison.rows) & layers.frames:
            values = layers.values(frame)[0]
            finite = values[np.isfinite(values)]
            if finite.size:
                low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    if low > high:
        return 0.0, 1.0
    return (low, high) if low < high else (low, low + 1.0)


def _values(layers: Layers, title: str, ends: tuple[float, float], size: Size) -> tuple[Column, Cell]:
    colors = color_map("viridis")
    low, high = ends

    def cell(frame: int, _strip: str) -> Picture | None:
        if frame not in layers.frames:
            return None
        return _in_false_colors((layers.values(frame)[0] - np.float32(low)) / np.float32(high - low), colors, size)

    return Column(title, name_of(layers.files.pattern), colors, _written(low, high)), cell


def _difference(comparison: Comparison, ends: tuple[float, float], size: Size) -> tuple[Column, Cell]:
    colors = color_map("magma")
    result, reference = (comparison.layers[role] for role in ("result", "reference"))
    most = (ends[1] - ends[0]) / comparison.amplify

    def cell(frame: int, _strip: str) -> Picture | None:
        if frame not in reference.frames:
            return None
        with np.errstate(invalid="ignore"):  # infinity less infinity
            apart = np.abs(result.values(frame)[0] - reference.values(frame)[0])
        return _in_false_colors(apart / np.float32(most), colors, size)

    title = f"difference × {comparison.amplify:g}"
    return Column(title, "|result - reference|", colors, _written(0.0, most)), cell


def _in_false_colors(shares: Image, colors: Picture, size: Size) -> Picture:
    """(height, width, 3) uint8 of 0..1 (H, W); where most of what is averaged is not finite, grey."""
    finite = np.isfinite(shares)
    part = resized(finite.astype(np.float32), size)
    values = resized(np.where(finite, np.clip(shares, 0, 1), np.float32(0)), size)
    shown = colored(np.asarray(values / np.maximum(part, 1e-6), np.float32), colors)
    shown[part < 0.5] = _BROKEN_COLOR
    return shown


def _written(low: float, high: float) -> tuple[str, str]:
    """Ends of a legend, short enough to stand beside it."""
    return f"{low:.3g}", f"{high:.3g}"
