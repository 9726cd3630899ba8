"""A table of small pictures on a dark ground, with titles, captions and a plot beneath; knows nothing of files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Picture = NDArray[np.uint8]

# All lengths in pixels. The ground is as dark and as neutral as that of a grading room, so that colors can be judged.
GROUND = "#232323"
EMPTY = "#2b2b2b"
BRIGHT = "#dcdcdc"
QUIET = "#8c8c8c"
FAINT = "#4a4a4a"
MARGIN = 28
GAP = 10
GUTTER = 96
TITLES = 46
LINE = 18
PLOT_HEIGHT = 250
_LEAST_COLUMN = 240
_LEGEND = (90, 8)
_DPI = 100
_PX = 72 / _DPI  # points a pixel
_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so a sheet looks the same everywhere
    "text.parse_math": False,  # a $ in a file name is a $
    "text.usetex": False,
    "text.antialiased": True,
}


@dataclass(frozen=True)
class Column:
    """A column of the sheet.

    Attributes:
        title: what it shows.
        subtitle: where from, or in which scale; drawn quietly beneath.
        scale: (256, 3) uint8, colors from 0 to 1 of a legend; None: no legend.
        scale_ends: what the ends of the legend stand for.
    """

    title: str
    subtitle: str = ""
    scale: Picture | None = None
    scale_ends: tuple[str, str] = ("0", "1")


@dataclass(frozen=True)
class Row:
    """A row of the sheet.

    Attributes:
        title: the frame.
        notes: short lines beneath.
        cells: (height, width, 3) uint8 RGB each, all of one size; None: nothing to show there.
    """

    title: str
    notes: tuple[str, ...]
    cells: tuple[Picture | None, ...]


@dataclass(frozen=True)
class Layout:
    """Where things lie, from the upper left corner.

    Attributes:
        cell: width and height of a picture.
        columns, rows: how many.
        footer: lines of text at the bottom.
        has_plot: whether there is a plot between table and footer.
    """

    cell: tuple[int, int]
    columns: int
    rows: int
    footer: int
    has_plot: bool

    @property
    def column_width(self) -> int:
        """Never narrower than its title."""
        return max(self.cell[0], _LEAST_COLUMN)

    @property
    def width(self) -> int:
        """Of the whole sheet."""
        return 2 * MARGIN + GUTTER + self.columns * (self.column_width + GAP) - GAP

    @property
    def table_bottom(self) -> int:
        """Below the last row."""
        return MARGIN + TITLES + self.rows * (self.cell[1] + GAP) - GAP

    @property
    def footer_top(self) -> int:
        """Above the first line of the footer."""
        return self.table_bottom + (GAP + PLOT_HEIGHT if self.has_plot else 0) + 16

    @property
    def height(self) -> int:
        """Of the whole sheet."""
        return self.footer_top + self.footer * LINE + MARGIN - 8

    def column_left(self, column: int) -> int:
        """Where a column begins."""
        return MARGIN + GUTTER + column * (self.column_width + GAP)

    def place(self, row: int, column: int) -> tuple[int, int]:
        """Left and top of a cell's picture."""
        return self.column_left(column), MARGIN + TITLES + row * (self.cell[1] + GAP)


def drawn_sheet(
    columns: Sequence[Column],
    rows: Sequence[Row],
    *,
    cell: tuple[int, int],
    footer: Sequence[str] = (),
    plot: Callable[[Axes], None] | None = None,
) -> Picture:
    """Draws a sheet.

    Args:
        columns, rows: at least one each; every row has a cell a column.
        cell: width and height of all pictures.
        footer: paragraphs at the bottom, broken into lines as the width asks for.
        plot: draws into the axes it is given, as wide as the table; None: no plot.

    Returns:
        (height, width, 3) uint8 RGB; the pictures lie in it exactly as given.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        # what a person configured for plots of their own is not for this sheet
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        width = Layout(cell, len(columns), len(rows), 0, plot is not None).width
        figure = Figure(dpi=_DPI, facecolor=GROUND)
        canvas: Any = FigureCanvasAgg(figure)
        pen = _Pen(figure, canvas.get_renderer())
        lines = [line for paragraph in footer for line in pen.wrapped(paragraph, 12, width - 2 * MARGIN)]
        layout = Layout(cell, len(columns), len(rows), len(lines), plot is not None)
        figure.set_size_inches(layout.width / _DPI, layout.height / _DPI)
        pen.height = layout.height
        _write_titles(pen, layout, columns)
        _write_rows(pen, layout, rows)
        for index, line in enumerate(lines):
            pen.text(MARGIN, layout.footer_top + index * LINE, line, 12, QUIET)
        if plot is not None:
            _plot(figure, layout, plot)
        canvas.draw()
        sheet = np.array(canvas.buffer_rgba())[..., :3].copy()
    _paste(sheet, layout, columns, rows)
    return sheet


class _Pen:
    """Writes text at pixels counted from the upper left corner."""

    def __init__(self, figure: Figure, renderer: Any) -> None:
        self._figure = figure
        self._renderer = renderer
        self.height = 0

    def text(self, x: float, top: float, text: str, size: float, color: str, **more: Any) -> None:
        self._figure.text(
            x, self.height - top, text, transform=None, fontsize=size * _PX, color=color, **{"va": "top", **more}
        )

    def empty(self, left: int, top: int, width: int, height: int) -> None:
        """A quiet field where there is no picture."""
        from matplotlib.patches import Rectangle
        from matplotlib.transforms import IdentityTransform

        place = (left, self.height - top - height)
        self._figure.add_artist(
            Rectangle(place, width, height, transform=IdentityTransform(), facecolor=EMPTY, linewidth=0)
        )
        self.text(left + width / 2, top + height / 2, "–", 18, FAINT, ha="center", va="center")

    def width(self, text: str, size: float) -> float:
        from matplotlib.font_manager import FontProperties

        return float(self._renderer.get_text_width_height_descent(text, FontProperties(size=size * _PX), False)[0])

    def fitted(self, text: str, size: float, room: float) -> str:
        """The text, its middle left out where it is too long."""
        kept = len(text)
        short = text
        while self.width(short, size) > room and kept > 4:
            kept -= 1
            short = text[: kept // 2] + "…" + text[len(text) - (kept - kept // 2) :]
        return short

    def wrapped(self, text: str, size: float, room: float) -> list[str]:
        """The text in lines that are not wider than `room`, broken between words."""
        lines = [""]
        for word in text.split():
            longer = f"{lines[-1]} {word}".lstrip()
            if lines[-1] and self.width(longer, size) > room:
                lines.append(word)
            else:
                lines[-1] = longer
        return [self.fitted(line, size, room) for line in lines]


def _write_titles(pen: _Pen, layout: Layout, columns: Sequence[Column]) -> None:
    for index, column in enumerate(columns):
        left = layout.column_left(index)
        pen.text(left, MARGIN - 2, column.title, 15, BRIGHT, weight="bold")
        if column.subtitle:
            room = layout.column_width - 2 - (_legend_width(column) if _is_below(layout, column) else 0)
            pen.text(left, MARGIN + 20, pen.fitted(column.subtitle, 12, room), 12, QUIET)
        if column.scale is not None:
            x, y = _legend_place(layout, index, column)
            low, high = column.scale_ends
            pen.text(x - 6, y + _LEGEND[1] / 2, low, 12, QUIET, ha="right", va="center")
            pen.text(x + _LEGEND[0] + 6, y + _LEGEND[1] / 2, high, 12, QUIET, va="center")


def _legend_place(layout: Layout, index: int, column: Column) -> tuple[int, int]:
    """Left and top of a column's legend, at the right of its title."""
    right = layout.column_left(index) + max(layout.cell[0], _LEAST_COLUMN)
    below = 21 if _is_below(layout, column) else 0
    return right - 8 - 8 * len(column.scale_ends[1]) - _LEGEND[0], MARGIN + 3 + below


def _is_below(layout: Layout, column: Column) -> bool:
    """Whether the legend stands beside the subtitle, because its ends are too long to stand beside the title."""
    long = column.scale is not None and len("".join(column.scale_ends)) > 3
    return long and 10 * len(column.title) + _legend_width(column) > layout.column_width


def _legend_width(column: Column) -> int:
    """With its ends."""
    return 8 * len("".join(column.scale_ends)) + _LEGEND[0] + 20


def _write_rows(pen: _Pen, layout: Layout, rows: Sequence[Row]) -> None:
    for index, row in enumerate(rows):
        _, top = layout.place(index, 0)
        pen.text(MARGIN, top - 1, row.title, 16, BRIGHT, weight="bold")
        for line, note in enumerate(row.notes):
            pen.text(MARGIN, top + 23 + line * LINE, note, 12, QUIET)
        for column, cell in enumerate(row.cells):
            if cell is None:
                pen.empty(*layout.place(index, column), *layout.cell)


def _plot(figure: Figure, layout: Layout, draw: Callable[[Axes], None]) -> None:
    left, bottom = MARGIN + GUTTER, layout.height - (layout.table_bottom + PLOT_HEIGHT - 22)
    width, height = layout.width - MARGIN - left, PLOT_HEIGHT - 22 - 3 * LINE
    axes = figure.add_axes(
        (left / layout.width, bottom / layout.height, width / layout.width, height / layout.height), facecolor=EMPTY
    )
    axes.tick_params(colors=QUIET, labelsize=12 * _PX, length=0, pad=6)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.grid(True, axis="y", color=FAINT, linewidth=0.6)
    draw(axes)


def _paste(sheet: Picture, layout: Layout, columns: Sequence[Column], rows: Sequence[Row]) -> None:
    """Puts pictures and legends in, pixel by pixel as they are."""
    width, height = layout.cell
    for index, row in enumerate(rows):
        for column, cell in enumerate(row.cells):
            left, top = layout.place(index, column)
            if cell is not None:
                sheet[top : top + height, left : left + width] = cell
    for index, title in enumerate(columns):
        if title.scale is not None:
            left, top = _legend_place(layout, index, title)
            colors = title.scale[np.linspace(0, 255, _LEGEND[0]).astype(int)]
            sheet[top : top + _LEGEND[1], left : left + _LEGEND[0]] = colors
