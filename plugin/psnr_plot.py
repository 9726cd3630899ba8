"""PSNR over frames, drawn into given axes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from stpn.plugin.difference import Score, means
from stpn.plugin.sheet_drawing import BRIGHT, FAINT, QUIET

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_CURVE = "#e0a458"
_KEY = "#6f8fa8"
_SMALL = 12 * 0.72  # points


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
    around = max((last - first) * 0.01, 0.6)
    axes.set_xlim(first - around, last + around)

    low, high = _range([score.psnr for score in differ])
    axes.set_ylim(low, high)
    for index, run in enumerate(_runs(scores, {score.frame for score in differ})):
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
    shown_keys = [key for key in keys if first <= key <= last]
    for index, key in enumerate(sorted(shown_keys)):
        axes.axvline(key, color=_KEY, linewidth=1.1, label="key, not counted" if index == 0 else None, zorder=1)
    if differ:
        label = f"mean {mean.psnr:.2f} dB of {mean.frames} frame{'s' if mean.frames != 1 else ''}"
        axes.axhline(min(max(mean.psnr, low), high), color=QUIET, linewidth=1, linestyle=(0, (4, 3)), label=label)
    _label(axes, first, last)


def _range(values: Sequence[float]) -> tuple[float, float]:
    """Lower and upper end of the scale: whole decibels around all values, at least six."""
    if not values:
        return 0.0, 60.0
    low, high = math.floor(min(values) - 0.5), math.ceil(max(values) + 0.5)
    missing = max(6 - (high - low), 0)
    return float(low - missing // 2), float(high + missing - missing // 2)


def _runs(scores: Sequence[Score], wanted: set[int]) -> list[list[Score]]:
    """Scores of wanted frames, parted where a measured frame between is not wanted."""
    runs: list[list[Score]] = [[]]
    for score in scores:
        if score.frame in wanted:
            runs[-1].append(score)
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _label(axes: Axes, first: int, last: int) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(nbins=12, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}" if first <= value <= last else ""))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    title: dict[str, Any] = {"color": BRIGHT, "fontsize": 15 * 0.72, "weight": "bold"}
    axes.set_title("PSNR against the reference, dB", loc="left", pad=10, **title)
    legend = axes.legend(
        loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=5, frameon=False, fontsize=_SMALL, labelcolor=QUIET,
        borderaxespad=0.3, handlelength=1.6, columnspacing=1.6,
    )  # fmt: skip
    legend.set_zorder(5)
    axes.axhline(axes.get_ylim()[0], color=FAINT, linewidth=0.8)
