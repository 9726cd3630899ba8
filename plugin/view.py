"""How a property is looked at: what each kind of contact sheet has, and the columns that several kinds share."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from stpn.plugin.comparison import Comparison
from stpn.plugin.display import PLAIN, Picture, Size, resized
from stpn.plugin.frame_numbers import FrameNumbers, Metric
from stpn.plugin.pictures import Confidences, Pictures
from stpn.plugin.sheet_drawing import Column

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Cell = Callable[[int, str], Picture | None]
"""Makes the picture of a frame and a strip; None: nothing to show there."""

RESULT = "result"
"""The strip that notes and confidence stand beside."""

TITLES = {"plate": "plate", "keys": "key", "result": "result", "reference": "reference"}
"""Of the columns of a role, in their order."""


def one_strip(_frame: int) -> tuple[str, ...]:
    """The strips of a sheet with a row a frame."""
    return (RESULT,)


@dataclass(frozen=True)
class View:
    """A contact sheet to be drawn; the confidence is added to it.

    Attributes:
        columns: titles, and what makes their cells.
        footer: paragraphs at the bottom.
        notes: what is written beside a row of a measured frame.
        strips: the rows of a frame, one or more.
        plot: draws numbers over frames; None: there are none.
    """

    columns: tuple[tuple[Column, Cell], ...]
    footer: tuple[str, ...]
    notes: Callable[[FrameNumbers], Sequence[str]]
    strips: Callable[[int], tuple[str, ...]] = one_strip
    plot: Callable[[Axes], None] | None = None


class PropertyView(Protocol):
    """What the module of a property has."""

    @property
    def METRICS(self) -> tuple[Metric, ...]:
        """What is measured of a frame."""

    @property
    def BROKEN(self) -> str:
        """What becomes of pixels that are no finite numbers, for people."""

    def measure(self, comparison: Comparison) -> Generator[FrameNumbers, None, None]:
        """Numbers of all measured frames, in order."""

    def remark(self, comparison: Comparison, numbers: Sequence[FrameNumbers]) -> str:
        """What people should know of the numbers; empty: nothing."""

    def view(self, comparison: Comparison, numbers: Sequence[FrameNumbers], size: Size) -> View:
        """The sheet, with pictures of a size."""


def view_of(prop: str) -> PropertyView:
    """The module that knows how a property is looked at."""
    if prop == "hdr":
        from stpn.plugin import hdr_view

        return hdr_view
    if prop == "mask":
        from stpn.plugin import mask_view

        return mask_view
    if prop == "channels":
        from stpn.plugin import channel_view

        return channel_view
    from stpn.plugin import color_view

    return color_view


def notes_of(metrics: Sequence[Metric], numbers: FrameNumbers) -> list[str]:
    """The numbers as they are written beside a row."""
    known = [(metric, numbers.values[metric.name]) for metric in metrics if metric.note]
    return [metric.note.format(value) for metric, value in known if value is not None]


def name_of(pattern: str) -> str:
    """A pattern without its folder."""
    return Path(pattern).name


def picture_columns(comparison: Comparison, size: Size) -> list[tuple[Column, Cell]]:
    """A column for each sequence of light there is: plate, key, result, reference."""

    def shown(pictures: Pictures, frame: int, _strip: str) -> Picture | None:
        return picture(comparison, pictures, frame, size)

    return [
        (Column(title, name_of(pictures.footage.files.pattern)), partial(shown, pictures))
        for role, title in TITLES.items()
        if (pictures := comparison.pictures.get(role)) is not None
    ]


def picture(comparison: Comparison, pictures: Pictures, frame: int, size: Size, stops: float = 0.0) -> Picture | None:
    """A frame as it is shown, (height, width, 3) uint8 RGB; None where there is none.

    Args:
        comparison: says how.
        pictures: whose frame.
        frame: its number.
        size: width and height.
        stops: how much brighter than it is.
    """
    if frame not in pictures.frames:
        return None
    linear, _ = pictures.linear(frame)
    if stops:
        linear *= np.float32(2.0**stops)
    return comparison.display.picture(linear, pictures.space, size)


def confidence_column(confidences: Confidences, size: Size) -> tuple[Column, Cell]:
    """Where the result is sure, beside the result."""
    # Even steps of confidence are even steps to the eye, for color-blind ones too. Sure is dark and unsure glows: most
    # of a picture is sure, and a sheet full of bright fields would draw the eye from the pictures.
    colors = color_map("magma_r")

    def cell(frame: int, strip: str) -> Picture | None:
        if strip != RESULT or frame not in confidences.frames:
            return None
        return colored(resized(confidences.confidence(frame), size), colors)

    return Column("confidence", name_of(confidences.files.pattern), colors), cell


def color_map(name: str) -> Picture:
    """256 colors of a map of matplotlib's, (256, 3) uint8."""
    import matplotlib

    steps = matplotlib.colormaps[name](np.arange(256))[:, :3]
    return np.asarray(np.rint(steps * 255), np.uint8)


def colored(values: NDArray[np.float32], colors: Picture) -> Picture:
    """Values (H, W) as colors (H, W, 3) uint8: 0 the first of 256, 1 the last; what is beyond has the last one's."""
    return np.asarray(colors[np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)], np.uint8)


def shown_how(comparison: Comparison) -> str:
    """Size, color spaces and way of showing, for the footer."""
    spaces: dict[str, list[str]] = {}
    for role in TITLES:
        if role in comparison.pictures:
            spaces.setdefault(comparison.pictures[role].space.name, []).append(role)
    one = len(spaces) == 1
    color = "; ".join(name if one else f"{', '.join(roles)} in {name}" for name, roles in spaces.items())
    first, caption = comparison.first, comparison.display.caption
    how = "as" if caption == PLAIN else "through"
    return f"{first.width} × {first.height} pixels, {color}. Shown {how} {caption}."
