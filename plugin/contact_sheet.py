"""The contact sheet of a comparison: which columns and rows there are, and what is in their cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stpn.ocio.atomic import written_whole
from stpn.plugin.comparison import Comparison
from stpn.plugin.difference import Score, difference_picture
from stpn.plugin.display import PLAIN, Picture, Size, resized
from stpn.plugin.frame_choice import distance
from stpn.plugin.pictures import Pictures, pixel_aspect
from stpn.plugin.sheet_drawing import Column, Row, drawn_sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_CELL_WIDTH = 360
_CELL_HEIGHT = 420

Cell = Callable[[int], Picture | None]


def contact_sheet(comparison: Comparison, scores: Sequence[Score]) -> Picture:
    """Draws the sheet; reads the frames of its rows only.

    Args:
        comparison: as `stpn.plugin.comparison.check` found it right.
        scores: of all measured frames; empty without a reference.

    Returns:
        (height, width, 3) uint8 RGB.

    Raises:
        PlateError: a file cannot be read.
    """
    size = cell_size(comparison.first.width, comparison.first.height, pixel_aspect(comparison.first))
    columns = _columns(comparison, size)
    by_frame = {score.frame: score for score in scores}

    def row(frame: int) -> Row:
        notes = _notes(comparison, frame, by_frame.get(frame))
        return Row(str(frame), notes, tuple(cell(frame) for _, cell in columns))

    with ThreadPoolExecutor(comparison.request.threads) as pool:
        rows = list(pool.map(row, comparison.rows))
    plot: Callable[[Axes], None] | None = None
    if scores:
        from stpn.plugin.psnr_plot import draw_psnr

        plot = partial(draw_psnr, scores=scores, keys=comparison.key_frames, rows=comparison.rows)
    return drawn_sheet([column for column, _ in columns], rows, cell=size, footer=_footer(comparison), plot=plot)


def write_sheet(path: Path, sheet: Picture) -> None:
    """Writes a sheet as PNG, whole or not at all.

    Raises:
        OSError: the folder cannot be written, or the disk is full.
    """
    import cv2

    encoded, data = cv2.imencode(".png", np.ascontiguousarray(sheet[..., ::-1]))
    if not encoded:
        raise OSError(f"{path}: the sheet could not be made a PNG")
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as temporary:
        temporary.write_bytes(data.tobytes())


def cell_size(width: int, height: int, aspect: float = 1.0) -> Size:
    """Width and height of a cell: as wide as fits, the aspect of the picture kept; small ones grow by a whole factor.

    Args:
        width, height: of the picture.
        aspect: width of its pixels over their height.
    """
    shown = width * aspect
    scale = min(_CELL_WIDTH / shown, _CELL_HEIGHT / height)
    if scale > 1 and aspect == 1:
        scale = int(scale)
    return max(round(shown * scale), 1), max(round(height * scale), 1)


def _columns(comparison: Comparison, size: Size) -> list[tuple[Column, Cell]]:
    """Titles, and what makes the cell of a frame."""

    def shown(pictures: Pictures, frame: int) -> Picture | None:
        if frame not in pictures.frames:
            return None
        linear, _ = pictures.linear(frame)
        return comparison.display.picture(linear, pictures.space, size)

    def column(pictures: Pictures, title: str) -> tuple[Column, Cell]:
        return Column(title, Path(pictures.footage.files.pattern).name), partial(shown, pictures)

    columns = [column(comparison.plate, "plate")]
    if comparison.keys is not None:
        columns.append(column(comparison.keys, "key"))
    columns.append(column(comparison.result, "result"))
    if comparison.reference is not None:
        columns.append(column(comparison.reference, "reference"))
        columns.append(_difference(comparison, comparison.reference, size))
    if comparison.confidence is not None:
        columns.append(_confidence(comparison, size))
    return columns


def _difference(comparison: Comparison, reference: Pictures, size: Size) -> tuple[Column, Cell]:
    amplify = comparison.request.amplify

    def cell(frame: int) -> Picture | None:
        if frame not in reference.frames:
            return None
        return difference_picture(comparison.result, reference, frame, comparison.rec709, amplify, size)

    ramp = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    white = 255 / amplify
    ends = ("0", f"{white:.0f}" if white >= 10 else f"{white:.2g}")
    return Column(f"difference × {amplify:g}", "|result - reference|, 8-bit sRGB", ramp, ends), cell


def _confidence(comparison: Comparison, size: Size) -> tuple[Column, Cell]:
    import matplotlib

    confidences = comparison.confidence
    assert confidences is not None
    # Even steps of confidence are even steps to the eye, for color-blind ones too. Sure is dark and unsure glows: most
    # of a picture is sure, and a sheet full of bright fields would draw the eye from the pictures.
    steps = matplotlib.colormaps["magma_r"](np.arange(256))[:, :3]
    colors = np.rint(steps * 255).astype(np.uint8)

    def cell(frame: int) -> Picture | None:
        if frame not in confidences.frames:
            return None
        small = resized(confidences.confidence(frame), size)
        return np.asarray(colors[np.rint(small * 255).astype(np.uint8)], np.uint8)

    return Column("confidence", Path(confidences.files.pattern).name, colors), cell


def _notes(comparison: Comparison, frame: int, score: Score | None) -> tuple[str, ...]:
    notes = []
    keys = sorted(comparison.key_frames)
    if keys:
        away = distance(frame, keys)
        notes.append("key" if away == 0 else f"{away} from key")
    if score is not None:
        notes.append("identical" if score.is_identical else f"{score.psnr:.2f} dB")
        if score.broken:
            notes.append(f"{score.broken} px broken")
    return tuple(notes)


def _footer(comparison: Comparison) -> list[str]:
    spaces: dict[str, list[str]] = {}
    for pictures in (comparison.plate, comparison.keys, comparison.result, comparison.reference):
        if pictures is not None:
            spaces.setdefault(pictures.space.name, []).append(pictures.role)
    one = len(spaces) == 1
    color = "; ".join(name if one else f"{', '.join(roles)} in {name}" for name, roles in spaces.items())
    first = comparison.first
    lines = [
        f"{first.width} × {first.height} pixels, {color}. Shown as {comparison.display.caption}."
        if comparison.display.caption == PLAIN
        else f"{first.width} × {first.height} pixels, {color}. Shown through {comparison.display.caption}."
    ]
    if comparison.reference is not None:
        lines.append("Difference and PSNR: 8-bit sRGB values of the scene-linear light in Rec.709, clipped to 0..1.")
    return lines
