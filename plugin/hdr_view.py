"""HDR radiance, looked at: through a view of the config, at several exposures, and where ln(H + 0.01) is off."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stpn.engine.evaluation.metrics import hdr_errors, log_radiance
from stpn.plugin.comparison import CLIPPED_AT, Comparison
from stpn.plugin.display import Image, Picture, Size, resized
from stpn.plugin.frame_numbers import FrameNumbers, Metric, measured
from stpn.plugin.number_plot import Curve, draw_numbers
from stpn.plugin.pictures import Pictures
from stpn.plugin.sheet_drawing import Column
from stpn.plugin.view import (
    RESULT,
    TITLES,
    Cell,
    View,
    color_map,
    colored,
    name_of,
    notes_of,
    picture,
    picture_columns,
    shown_how,
)

METRICS = (
    Metric("log_rmse", "ln RMSE", ".4f", "ln {:.4f}"),
    Metric("log_rmse_clipped", "clipped", ".4f", "clipped {:.3f}"),
    Metric("pu21_psnr", "PU21 dB", ".2f", "{:.2f} dB"),
)
BROKEN = "are NaN (taken as 0) or infinite"


def measure(comparison: Comparison) -> Generator[FrameNumbers, None, None]:
    """Errors of ln(H + 0.01) and PU21-PSNR of all measured frames, in order.

    Raises:
        PlateError: a file cannot be read.
    """

    def one(frame: int) -> tuple[Mapping[str, float | None], int]:
        assert comparison.reference is not None
        (got, bad), (wanted, bad_wanted) = (
            light(comparison, p, frame) for p in (comparison.result, comparison.reference)
        )
        seen = clipped_pixels(comparison, frame)
        if seen is None:
            seen = np.zeros(got.shape[:2], np.bool_)
        # what the metric asks for is the camera's picture, of which it looks only at what is clipped
        camera = np.repeat(np.where(seen, np.uint8(255), np.uint8(0))[..., None], 3, axis=2)
        return hdr_errors(got, wanted, camera), bad + bad_wanted

    return measured(comparison.measured, comparison.key_frames, one, comparison.request.threads)


def remark(comparison: Comparison, numbers: Sequence[FrameNumbers]) -> str:
    """Why nothing is said of clipped pixels, where nothing is."""
    if not numbers or _clipped_at(comparison) is not None:
        return ""
    return (
        f"the plate holds {comparison.plate.footage.pixel_type}, so nothing says where it is clipped; give the code "
        "value with --clipped-at for errors of clipped pixels"
    )


def light(comparison: Comparison, pictures: Pictures, frame: int) -> tuple[Image, int]:
    """Linear Rec.709 light (H, W, 3) float32 of a frame, and how many of its pixels were NaN or infinite."""
    linear, broken = pictures.linear(frame)
    return comparison.rec709.convert(linear, pictures.space), broken


def clipped_pixels(comparison: Comparison, frame: int) -> NDArray[np.bool_] | None:
    """(H, W): where any channel of the plate is clipped; None where nothing says so."""
    least = _clipped_at(comparison)
    if least is None or frame not in comparison.plate.frames:
        return None
    # a code value that came through a file is off by a rounding
    return np.asarray(comparison.plate.code(frame).max(axis=2) >= least - 1e-6)


def _clipped_at(comparison: Comparison) -> float | None:
    if comparison.request.clipped_at is not None:
        return comparison.request.clipped_at
    return CLIPPED_AT if comparison.plate.footage.pixel_type.startswith("uint") else None


def log_error(comparison: Comparison, reference: Pictures, frame: int) -> Image:
    """(H, W) float32: root of the mean over channels of the squared difference of ln(H + 0.01)."""
    logs = [log_radiance(light(comparison, pictures, frame)[0]) for pictures in (comparison.result, reference)]
    return np.asarray(np.sqrt(np.mean(np.square(logs[0] - logs[1]), axis=2)), np.float32)


def view(comparison: Comparison, numbers: Sequence[FrameNumbers], size: Size) -> View:
    """The sheet, with pictures of a size: a row a frame; of a bracket a strip of exposures for each sequence."""
    if comparison.stops:
        columns = [_exposure(comparison, stops, size) for stops in comparison.stops]
    else:
        columns = picture_columns(comparison, size)
    footer = [shown_how(comparison)]
    if comparison.stops:
        names = [f"{TITLES[role]} {name_of(p.footage.files.pattern)}" for role, p in comparison.pictures.items()]
        footer.append(f"Strips: {', '.join(names)}.")
    if comparison.reference is not None:
        columns.append(_difference(comparison, comparison.reference, size))
        footer.append(
            "Difference and ln: of ln(H + 0.01), linear Rec.709 light H; over all pixels, and over those where the "
            "plate is clipped. PU21-PSNR: 1.0 = 100 cd/m2, peak 256."
        )
    plot: Callable[[Any], None] | None = None
    if numbers:
        curves = [Curve("log_rmse", "all pixels"), Curve("log_rmse_clipped", "clipped pixels")]
        plot = partial(
            draw_numbers, title="RMSE of ln(H + 0.01) against the reference", curves=curves, numbers=numbers,
            keys=comparison.key_frames, rows=comparison.rows,
        )  # fmt: skip
    return View(tuple(columns), tuple(footer), partial(notes_of, METRICS), partial(_strips, comparison), plot)


def _strips(comparison: Comparison, frame: int) -> tuple[str, ...]:
    """The sequences that have a frame, where there is a strip for each."""
    if not comparison.stops:
        return (RESULT,)
    return tuple(title for role, title in TITLES.items() if _has(comparison, role, frame))


def _has(comparison: Comparison, role: str, frame: int) -> bool:
    return role in comparison.pictures and frame in comparison.pictures[role].frames


def _exposure(comparison: Comparison, stops: float, size: Size) -> tuple[Column, Cell]:
    by_strip = {TITLES[role]: pictures for role, pictures in comparison.pictures.items()}

    def cell(frame: int, strip: str) -> Picture | None:
        return picture(comparison, by_strip[strip], frame, size, stops)

    plural = "" if abs(stops) == 1 else "s"
    return Column(f"{stops:+g} stop{plural}" if stops else "as it is", f"times {2.0**stops:.4g}"), cell


def _difference(comparison: Comparison, reference: Pictures, size: Size) -> tuple[Column, Cell]:
    colors = color_map("magma")
    amplify = comparison.amplify

    def cell(frame: int, strip: str) -> Picture | None:
        if strip != RESULT or frame not in reference.frames:
            return None
        return colored(resized(log_error(comparison, reference, frame), size) * np.float32(amplify), colors)

    ends = ("0", f"{1 / amplify:.2g}")
    return Column(f"difference × {amplify:g}", "of ln(H + 0.01), over the channels", colors, ends), cell
