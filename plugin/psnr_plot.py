"""PSNR over frames, drawn into given axes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from stpn.plugin.difference import Score, means
from stpn.plugin.number_plot import CURVES, draw_keys, finish, runs
from stpn.plugin.sheet_drawing import QUIET

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_CURVE = CURVES[0]


def draw_psnr(axes: Axes, scores: Sequence[Score], keys: Iterable[int], rows: Iterable[int]) -> None:
    """Draws the curve, a line a key, and the mean.

    Frames without any difference have no PSNR: they interrupt the curve and are marked at the upper edge, lest they
    press all others flat.

    Args:
        axes: to draw into.
        scores: one or more, ascending by frame.
        keys: key frames.
        rows: frames that the sheet shows; dots on the curve.
    """
    mean = means(scores)
    frames = [score.frame for score in scores]
    differ = [score for score in scores if not score.is_identical and not score.is_key]
    first, last = frames[0], frames[-1]

    low, high = _range([score.psnr for score in differ])
    axes.set_ylim(low, high)
    drawn = {score.frame for score in differ}
    for index, run in enumerate(runs(scores, [score.frame in drawn for score in scores])):
        # a line of one point would not be seen
        alone: dict[str, Any] = {"marker": "o", "markersize": 3.0} if len(run) == 1 else {}
        axes.plot(
            [score.frame for score in run],
            [score.psnr for score in run],
            color=_CURVE,
            linewidth=1.5,
            label="PSNR of the result" if index == 0 else None,
            zorder=3,
            **alone,
        )
    seen = [score for score in differ if score.frame in set(rows)]
    axes.plot(
        [score.frame for score in seen], [score.psnr for score in seen], "o", color=_CURVE, markersize=5, zorder=4,
        label="frames shown above" if seen else None,
    )  # fmt: skip
    same = [score.frame for score in scores if score.is_identical and not score.is_key]
    if same:
        axes.plot(same, [high] * len(same), "v", color=_CURVE, markersize=5, clip_on=False, label="identical")
    draw_keys(axes, keys, first, last)
    if differ:
        label = f"mean {mean.psnr:.2f} dB of {mean.frames} frame{'s' if mean.frames != 1 else ''}"
        axes.axhline(min(max(mean.psnr, low), high), color=QUIET, linewidth=1, linestyle=(0, (4, 3)), label=label)
    finish(axes, "PSNR against the reference, dB", first, last, whole=True)


def _range(values: Sequence[float]) -> tuple[float, float]:
    """Lower and upper end of the scale: whole decibels around all values, at least six."""
    if not values:
        return 0.0, 60.0
    low, high = math.floor(min(values) - 0.5), math.ceil(max(values) + 0.5)
    missing = max(6 - (high - low), 0)
    return float(low - missing // 2), float(high + missing - missing // 2)
