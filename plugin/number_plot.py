"""Numbers over frames, drawn into given axes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from stpn.engine.evaluation.numbers import mean_of_known
from stpn.plugin.frame_numbers import FrameNumbers, counted
from stpn.plugin.sheet_drawing import BRIGHT, FAINT, QUIET

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Item = TypeVar("Item")

# told apart with every kind of color vision, and with the ground
CURVES = ("#e0a458", "#56b4e9", "#cc79a7")
_KEY = "#6f8fa8"
_SMALL = 12 * 0.72  # points


@dataclass(frozen=True)
class Curve:
    """A metric that is drawn.

    Attributes:
        metric: its name.
        label: what people call it.
    """

    metric: str
    label: str


def draw_numbers(
    axes: Axes,
    *,
    title: str,
    curves: Sequence[Curve],
    numbers: Sequence[FrameNumbers],
    keys: Iterable[int],
    rows: Iterable[int],
    highest: float | None = None,
) -> None:
    """Draws a curve a metric with its mean, and a line a key; key frames interrupt the curves.

    Args:
        axes: to draw into.
        title: what is drawn, and its unit.
        curves: at most as many as there are `CURVES`.
        numbers: one or more, ascending by frame.
        keys: key frames.
        rows: frames that the sheet shows; dots on the curves.
        highest: upper end of the scale, the lower one is 0; None: just above all numbers.
    """
    first, last = numbers[0].frame, numbers[-1].frame
    shown = set(rows)
    top = 0.0
    for curve, color in zip(curves, CURVES, strict=False):
        values = {
            one.frame: value
            for one in numbers
            if not one.is_key and (value := one.values[curve.metric]) is not None and math.isfinite(value)
        }
        mean = mean_of_known(one.values[curve.metric] for one in counted(numbers))
        if mean is None:
            continue
        top = max(top, *values.values(), 0.0)
        label: str | None = f"{curve.label}, mean {mean:.4g}"
        for run in runs(numbers, [one.frame in values for one in numbers]):
            frames = [one.frame for one in run]
            # a line of one point would not be seen
            alone: dict[str, Any] = {"marker": "o", "markersize": 3.0} if len(run) == 1 else {}
            axes.plot(frames, [values[f] for f in frames], color=color, linewidth=1.5, label=label, zorder=3, **alone)
            label = None
        seen = [frame for frame in values if frame in shown]
        axes.plot(seen, [values[frame] for frame in seen], "o", color=color, markersize=5, zorder=4)
    axes.set_ylim(0, highest if highest is not None else 1.08 * top or 1.0)
    draw_keys(axes, keys, first, last)
    finish(axes, title, first, last)


def draw_keys(axes: Axes, keys: Iterable[int], first: int, last: int) -> None:
    """A line a key from the first frame to the last."""
    for index, key in enumerate(sorted(key for key in keys if first <= key <= last)):
        axes.axvline(key, color=_KEY, linewidth=1.1, label="key, not counted" if index == 0 else None, zorder=1)


def runs(items: Sequence[Item], wanted: Sequence[bool]) -> list[list[Item]]:
    """The wanted items, parted where one between is not wanted."""
    found: list[list[Item]] = [[]]
    for item, is_wanted in zip(items, wanted, strict=True):
        if is_wanted:
            found[-1].append(item)
        elif found[-1]:
            found.append([])
    return [run for run in found if run]


def finish(axes: Axes, title: str, first: int, last: int, *, whole: bool = False) -> None:
    """Title, scales and legend.

    Args:
        axes: with everything else drawn.
        title: of the plot.
        first, last: frames; there are no numbers beyond them.
        whole: whether the numbers upwards are whole.
    """
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    around = max((last - first) * 0.01, 0.6)
    axes.set_xlim(first - around, last + around)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=12, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}" if first <= value <= last else ""))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=whole))
    look: dict[str, Any] = {"color": BRIGHT, "fontsize": 15 * 0.72, "weight": "bold"}
    axes.set_title(title, loc="left", pad=10, **look)
    legend = axes.legend(
        loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=5, frameon=False, fontsize=_SMALL, labelcolor=QUIET,
        borderaxespad=0.3, handlelength=1.6, columnspacing=1.6,
    )  # fmt: skip
    legend.set_zorder(5)
    axes.axhline(axes.get_ylim()[0], color=FAINT, linewidth=0.8)
