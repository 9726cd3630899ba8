"""Figures of the numbers of hdr and mask: over the distance from the nearest key, and by source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import TYPE_CHECKING

from stpn.engine.evaluation.plots import COLORS, MARKS, plain_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# what fits into a figure: letters of the title an inch, inches an entry of the legend
_LETTERS, _ENTRY = 9, 1.7

Decay = Mapping[int, float]
"""A number by the distance from the nearest key."""


def distance_figure(title: str, panels: Mapping[str, Mapping[str, Decay]]) -> Figure:
    """Numbers over the distance from the nearest key.

    Args:
        title: what is shown.
        panels: by column, by label.
    """
    from matplotlib.ticker import MaxNLocator

    with plain_style():
        figure = _figure((1.6 + 3.4 * len(panels), 4.1))
        all_axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
        for axes, (column, labels) in zip(all_axes, panels.items(), strict=True):
            for index, (label, decay) in enumerate(labels.items()):
                distances = sorted(decay)
                look = {
                    "color": COLORS[index % len(COLORS)],
                    "marker": MARKS[(index + index // len(COLORS)) % len(MARKS)],
                }
                values = [decay[distance] for distance in distances]
                axes.plot(distances, values, linewidth=1.6, markersize=3.5, label=label, **look)
            axes.set_title(column, fontsize=10)
            axes.set_xlabel("frames")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        _finish(figure, all_axes[0], title)
        return figure


def source_figure(
    title: str, sources: Sequence[str], panels: Mapping[str, Mapping[str, Sequence[float | None]]]
) -> Figure:
    """Numbers of each source as bars, sources downwards.

    Args:
        title: what is shown.
        sources: their names.
        panels: by what is measured and its unit, by label: a number a source; None: there is none.
    """
    with plain_style():
        labels = max(len(of) for of in panels.values())
        figure = _figure((2.2 + 4.2 * len(panels), 1.6 + (0.16 * labels + 0.15) * len(sources)))
        all_axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
        for axes, (unit, by_label) in zip(all_axes, panels.items(), strict=True):
            thick = 0.8 / len(by_label)
            for index, (label, values) in enumerate(by_label.items()):
                places = [at - 0.4 + (index + 0.5) * thick for at in range(len(sources))]
                widths = [0.0 if value is None else value for value in values]
                axes.barh(places, widths, thick * 0.9, color=COLORS[index % len(COLORS)], label=label)
            axes.set_xlabel(unit)
        all_axes[0].set_yticks(range(len(sources)), sources)
        all_axes[0].set_ylim(len(sources) - 0.5, -0.5)
        _finish(figure, all_axes[0], title)
        return figure


def _finish(figure: Figure, axes: Axes, title: str) -> None:
    inches = figure.get_figwidth()
    figure.suptitle(fill(title, int(_LETTERS * inches)), x=0.01, ha="left", weight="bold", fontsize=11)
    handles, names = axes.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower left", ncols=max(1, int(inches / _ENTRY)), fontsize=9)


def _figure(size: tuple[float, float]) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=size, dpi=110, layout="constrained")
