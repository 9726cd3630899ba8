"""Color, looked at: plate, key, result, reference and their amplified difference, with PSNR over frames."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from functools import partial

import numpy as np

from stpn.plugin.comparison import Comparison
from stpn.plugin.difference import PSNR_OF_IDENTICAL, Score, difference_picture
from stpn.plugin.difference import measure as measured_scores
from stpn.plugin.display import Picture, Size
from stpn.plugin.frame_numbers import FrameNumbers, Metric
from stpn.plugin.pictures import Pictures
from stpn.plugin.sheet_drawing import Column
from stpn.plugin.view import Cell, View, notes_of, picture_columns, shown_how

METRICS = (Metric("psnr", "PSNR dB", ".2f", "{:.2f} dB"), Metric("rmse", "RMSE", ".3f", ""))
BROKEN = "are NaN (taken as 0) or infinite"


def measure(comparison: Comparison) -> Generator[FrameNumbers, None, None]:
    """PSNR and RMSE of 8-bit sRGB values of all measured frames, in order.

    Raises:
        PlateError: a file cannot be read.
    """
    assert comparison.reference is not None
    scores = measured_scores(
        comparison.result,
        comparison.reference,
        comparison.measured,
        comparison.key_frames,
        comparison.rec709,
        comparison.request.threads,
    )
    with closing(scores):
        for score in scores:
            yield FrameNumbers(score.frame, {"psnr": score.psnr, "rmse": score.rmse}, score.broken, score.is_key)


def remark(comparison: Comparison, numbers: Sequence[FrameNumbers]) -> str:
    """That identical frames count, where they may be keys that nobody named."""
    same = sum(score.is_identical and not score.is_key for score in _scores(numbers))
    if not same or comparison.keys is not None:
        return ""
    return (
        f"{same} frames are identical to the reference and count with {PSNR_OF_IDENTICAL:.2f} dB each; if "
        "they are keys, name them with --keys and they are left out of the mean"
    )


def view(comparison: Comparison, numbers: Sequence[FrameNumbers], size: Size) -> View:
    """The sheet, with pictures of a size."""
    columns = picture_columns(comparison, size)
    if comparison.reference is not None:
        columns.append(_difference(comparison, comparison.reference, size))
    footer = [shown_how(comparison)]
    if comparison.reference is not None:
        footer.append("Difference and PSNR: 8-bit sRGB values of the scene-linear light in Rec.709, clipped to 0..1.")
    plot = None
    if numbers:
        from stpn.plugin.psnr_plot import draw_psnr

        plot = partial(draw_psnr, scores=_scores(numbers), keys=comparison.key_frames, rows=comparison.rows)
    return View(tuple(columns), tuple(footer), _notes, plot=plot)


def _scores(numbers: Sequence[FrameNumbers]) -> list[Score]:
    return [Score(one.frame, one.values["rmse"] or 0.0, one.broken, one.is_key) for one in numbers]


def _notes(numbers: FrameNumbers) -> Sequence[str]:
    return ["identical"] if _scores([numbers])[0].is_identical else notes_of(METRICS, numbers)


def _difference(comparison: Comparison, reference: Pictures, size: Size) -> tuple[Column, Cell]:
    amplify = comparison.amplify

    def cell(frame: int, _strip: str) -> Picture | None:
        if frame not in reference.frames:
            return None
        return difference_picture(comparison.result, reference, frame, comparison.rec709, amplify, size)

    ramp = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    white = 255 / amplify
    ends = ("0", f"{white:.0f}" if white >= 10 else f"{white:.2g}")
    return Column(f"difference × {amplify:g}", "|result - reference|, 8-bit sRGB", ramp, ends), cell
