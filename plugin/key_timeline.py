"""The timeline of `stpn keys`: confidence of every frame before and after, keys, cuts, and the frames proposed."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from stpn.plugin.contact_sheet import cell_size, write_sheet
from stpn.plugin.display import Display, Picture, Size
from stpn.plugin.key_proposals import Advice
from stpn.plugin.keys_request import Task
from stpn.plugin.pictures import Pictures, pixel_aspect
from stpn.plugin.sheet_drawing import BRIGHT, FAINT, QUIET, Column, Row, drawn_sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN = 12
"""How many of the frames proposed have a picture; the curve shows all."""

_BEFORE, _AFTER, _KEY, _CUT, _FLASH = "#8c8c8c", "#e0a458", "#6f8fa8", "#c0504d", "#d9d27c"
_SMALL = 12 * 0.72  # points


def write_timeline(task: Task, advice: Advice) -> None:
    """Draws the timeline and writes it as PNG, whole or not at all.

    Raises:
        PlateError: a frame cannot be read.
        OSError: the folder cannot be written, or the disk is full.
    """
    assert task.request.picture is not None
    info = task.plate.info
    size = cell_size(info.width, info.height, pixel_aspect(info))
    display = Display(task.config)
    pictures = Pictures("plate", task.plate, frozenset(advice.frames))
    shown = advice.proposals[:SHOWN]
    rows = []
    for proposal in shown:
        linear, _ = pictures.linear(proposal.frame)
        mean, before = proposal.after.mean(), proposal.before.mean()
        notes = (f"{before:.3f}", f"→ {mean:.3f}", f"{mean - before:+.3f}")
        cells = (display.picture(linear, pictures.space, size), _colored(proposal.sure, size))
        rows.append(Row(str(proposal.frame), notes, cells))
    if not rows:
        rows.append(Row("–", ("nothing", "to paint"), (None, None)))
    more = len(advice.proposals) - len(shown)
    footer = [
        "Confidence foreseen from the motion of the plate, mean of each frame; 1 is sure. Next to each picture: the "
        "mean of all frames before and after that frame is painted."
    ]
    if more > 0:
        footer.append(f"{more} more frames are proposed than are shown as pictures.")
    titles = [
        Column("paint next", Path(task.plate.files.pattern).name),
        Column("confidence before", "of that frame, from the keys around it", _scale()),
    ]
    sheet = drawn_sheet(titles, rows, cell=size, footer=footer, plot=partial(draw_timeline, advice=advice))
    write_sheet(Path(task.request.picture), sheet)


def _scale() -> Picture:
    """(256, 3) uint8: the colors of confidence 0..1, as on a contact sheet: sure is dark and unsure glows."""
    import matplotlib

    return np.asarray(np.rint(matplotlib.colormaps["magma_r"](np.arange(256))[:, :3] * 255), np.uint8)


def _colored(sure: Picture, size: Size) -> Picture:
    """Cells (rows, columns) uint8 as a picture of a size."""
    smooth = cv2.resize(sure, size, interpolation=cv2.INTER_LINEAR)
    return np.asarray(_scale()[smooth], np.uint8)


def draw_timeline(axes: Axes, advice: Advice) -> None:
    """Draws the curves, and a line a key, cut, flash and proposal."""
    frames = np.array(advice.frames)
    after = advice.proposals[-1].after if advice.proposals else advice.confidence
    axes.set_xlim(frames[0] - 0.6, frames[-1] + 0.6)
    least = float(min(advice.confidence.min(), after.min()))
    axes.set_ylim(max(math.floor(least * 10 - 0.5) / 10, 0), 1.01)
    proposed = [proposal.frame for proposal in advice.proposals]
    for places, label, style in (
        (advice.keys, "key", {"color": _KEY, "linewidth": 1.1}),
        (proposed, "to paint", {"color": _AFTER, "linewidth": 1.1, "linestyle": (0, (2, 2))}),
        ([cut - 0.5 for cut in advice.findings.cuts], "cut", {"color": _CUT, "linewidth": 1.6}),
        (advice.findings.flashes, "flash", {"color": _FLASH, "linewidth": 0.8, "linestyle": ":"}),
    ):
        more: dict[str, Any] = style
        for index, place in enumerate(places):
            axes.axvline(place, label=label if index == 0 else None, zorder=1, **more)
    if proposed:
        axes.fill_between(frames, advice.confidence, after, color=_AFTER, alpha=0.18, linewidth=0, zorder=2)
    axes.plot(frames, advice.confidence, color=_BEFORE, linewidth=1.3, label="before", zorder=3)
    axes.plot(frames, after, color=_AFTER, linewidth=1.5, label="after", zorder=4)
    _label(axes)


def _label(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
    axes.set_title("confidence", loc="left", pad=10, color=BRIGHT, fontsize=15 * 0.72, weight="bold")
    legend = axes.legend(
        loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=6, frameon=False, fontsize=_SMALL, labelcolor=QUIET,
        borderaxespad=0.3, handlelength=1.4, columnspacing=1.2,
    )  # fmt: skip
    legend.set_zorder(5)
    axes.axhline(0, color=FAINT, linewidth=0.8)
