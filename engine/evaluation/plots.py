"""Scores as figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stpn.engine.evaluation.color import Shown
from stpn.engine.evaluation.summary import Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

AMPLIFIED = 5
"""Factor of the error maps."""

# Okabe and Ito, "Color Universal Design" (2008): told apart with every kind of color vision
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
MARKS = "osD^vP*X"


@contextmanager
def plain_style() -> Iterator[None]:
    """What a person configured for plots of their own is not for these."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({
            "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": "#e4e4e4",
            "axes.axisbelow": True, "legend.frameon": False, "text.parse_math": False,
        })  # fmt: skip
        yield


def figures(summary: Summary, shown: str, worst: int) -> dict[str, Figure]:
    """All figures, by the name of a file without its extension.

    Args:
        summary: the scores.
        shown: the method whose worst frames are shown.
        worst: how many of them.
    """
    found = {"psnr_over_distance": decay_figure(summary), "psnr_by_clip": clip_figure(summary)}
    calibration = calibration_figure(summary)
    if calibration is not None:
        found["error_by_confidence"] = calibration
    for interval in summary.intervals if worst else ():
        frames = sorted((one for score in summary.scores(interval, shown) for one in score.worst), reverse=True)
        title = f"{shown}, K = {interval}: the worst frames, one between two keys at most"
        found[f"worst_K{interval}"] = worst_figure(frames[:worst], title)
    return found


def decay_figure(summary: Summary) -> Figure:
    """PSNR over the distance from the nearest key, a panel an interval."""
    from matplotlib.ticker import MaxNLocator

    def draw(axes: Axes, interval: int, label: str, look: dict[str, Any]) -> None:
        decay = summary.decay(interval, label)
        axes.plot(list(decay), list(decay.values()), linewidth=1.6, markersize=3.5, **look)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))

    return _panels(summary, "PSNR over the distance from the nearest key, mean of the clips", "frames", "dB", draw)


def clip_figure(summary: Summary) -> Figure:
    """PSNR of each clip, a panel an interval, clips downwards."""

    def draw(axes: Axes, interval: int, label: str, look: dict[str, Any]) -> None:
        values = [score.psnr for score in summary.scores(interval, label)]
        axes.plot(values, range(len(values)), **{**look, "linestyle": "none"}, markersize=6)
        axes.set_yticks(range(len(values)), summary.clips)
        axes.set_ylim(len(values) - 0.5, -0.5)

    height = 1.6 + 0.28 * len(summary.clips)
    return _panels(summary, "PSNR of each clip", "dB", "", draw, height)


def calibration_figure(summary: Summary) -> Figure | None:
    """Mean error in ab over confidence in ten bins, a panel an interval; None where no method gives a confidence."""
    labels = [label for label in summary.labels if summary.trust(summary.intervals[0], label)]
    if not labels:
        return None

    def draw(axes: Axes, interval: int, label: str, look: dict[str, Any]) -> None:
        trust = summary.trust(interval, label)
        if trust is not None:
            bins = [b for b in trust.pooled.calibration() if b.ab_error is not None]
            middles = [(b.low + b.high) / 2 for b in bins]
            axes.plot(middles, [b.ab_error or 0.0 for b in bins], linewidth=1.6, markersize=3.5, **look)

    figure = _panels(summary, "Error by confidence, all clips", "confidence", "mean error in ab", draw, labels=labels)
    figure.axes[0].set_ylim(bottom=0)  # shared by all panels
    return figure


def worst_figure(shown: Sequence[Shown], title: str) -> Figure:
    """Truth, result, error and confidence of frames, one a row.

    Args:
        shown: one or more.
        title: what they are.
    """
    with plain_style():
        tallest = max(one.truth.shape[0] / one.truth.shape[1] for one in shown)
        figure = _figure((4 * 4.0, 0.5 + (4.0 * tallest + 0.35) * len(shown)))
        grid = figure.subplots(len(shown), 4, squeeze=False)
        figure.suptitle(title, x=0.01, ha="left", weight="bold")
        heads = ("truth", "result", f"error x{AMPLIFIED}", "confidence")
        for row, one in zip(grid, shown, strict=True):
            error = np.abs(one.result.astype(np.int16) - one.truth) * AMPLIFIED
            pictures: tuple[NDArray[Any] | None, ...] = (
                one.truth, one.result, np.minimum(error, 255).astype(np.uint8), one.confidence
            )  # fmt: skip
            for axes, head, picture in zip(row, heads, pictures, strict=True):
                axes.set_axis_off()
                axes.set_title(head if head != "truth" else f"{one.clip} frame {one.frame}: truth", fontsize=9)
                if picture is not None:
                    axes.imshow(picture, cmap="gray", vmin=0, vmax=1)
                else:
                    axes.text(0.5, 0.5, "none", ha="center", transform=axes.transAxes)
            row[1].set_title(f"result, RMSE {one.rmse:.2f}", fontsize=9)
        return figure


def _panels(
    summary: Summary,
    title: str,
    across: str,
    upwards: str,
    draw: Callable[[Axes, int, str, dict[str, Any]], None],
    height: float = 3.6,
    labels: Sequence[str] | None = None,
) -> Figure:
    with plain_style():
        count = len(summary.intervals)
        figure = _figure((1.2 + 3.4 * count, height + 0.5))
        panels = figure.subplots(1, count, squeeze=False, sharey=True)[0]
        for axes, interval in zip(panels, summary.intervals, strict=True):
            for index, label in enumerate(summary.labels):
                if labels is None or label in labels:
                    color, mark = COLORS[index % len(COLORS)], MARKS[index % len(MARKS)]
                    draw(axes, interval, label, {"color": color, "marker": mark, "label": label})
            axes.set_title(f"K = {interval}", fontsize=10)
            axes.set_xlabel(across)
        panels[0].set_ylabel(upwards)
        figure.suptitle(title, x=0.01, ha="left", weight="bold", fontsize=11)
        handles, names = panels[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower left", ncols=8, fontsize=9)
        return figure


def _figure(size: tuple[float, float]) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=size, dpi=110, layout="constrained")
