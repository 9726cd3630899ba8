"""The contact sheet of a comparison: which rows there are, and what is written beside them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from stpn.ocio.atomic import written_whole
from stpn.plugin.comparison import Comparison
from stpn.plugin.display import Picture, Size
from stpn.plugin.frame_choice import distance
from stpn.plugin.frame_numbers import FrameNumbers
from stpn.plugin.pictures import pixel_aspect
from stpn.plugin.sheet_drawing import Row, drawn_sheet
from stpn.plugin.view import RESULT, View, confidence_column, view_of

_CELL_WIDTH = 360
_CELL_HEIGHT = 420


def contact_sheet(comparison: Comparison, numbers: Sequence[FrameNumbers]) -> Picture:
    """Draws the sheet; reads the frames of its rows only.

    Args:
        comparison: as `stpn.plugin.comparison.check` found it right.
        numbers: of all measured frames; empty without a reference.

    Returns:
        (height, width, 3) uint8 RGB.

    Raises:
        PlateError: a file cannot be read.
    """
    size = cell_size(comparison.first.width, comparison.first.height, pixel_aspect(comparison.first))
    view = view_of(comparison.request.property).view(comparison, numbers, size)
    columns = list(view.columns)
    if comparison.confidence is not None:
        columns.append(confidence_column(comparison.confidence, size))
    by_frame = {one.frame: one for one in numbers}

    def row(place: tuple[int, str]) -> Row:
        frame, strip = place
        strips = view.strips(frame)
        notes = [strip] if len(strips) > 1 else []
        if strip == RESULT:
            notes += _notes(comparison, view, frame, by_frame.get(frame))
        title = str(frame) if strip == strips[0] else ""
        return Row(title, tuple(notes), tuple(cell(frame, strip) for _, cell in columns))

    with ThreadPoolExecutor(comparison.request.threads) as pool:
        rows = list(pool.map(row, [(frame, strip) for frame in comparison.rows for strip in view.strips(frame)]))
    return drawn_sheet([column for column, _ in columns], rows, cell=size, footer=view.footer, plot=view.plot)


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


def _notes(comparison: Comparison, view: View, frame: int, numbers: FrameNumbers | None) -> list[str]:
    notes = []
    keys = sorted(comparison.key_frames)
    if keys:
        away = distance(frame, keys)
        notes.append("key" if away == 0 else f"{away} from key")
    if numbers is not None:
        notes += view.notes(numbers)
        if numbers.broken:
            notes.append(f"{numbers.broken} px broken")
    return notes
