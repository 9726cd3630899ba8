"""Mattes, looked at: tinted and outlined over the plate, an object a color, with J, F and SAD over frames."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from functools import partial

import cv2
import numpy as np

from stpn.engine.evaluation.metrics import boundary, jaccard
from stpn.plugin.comparison import Comparison
from stpn.plugin.display import Image, Picture, Size, as_picture, resized
from stpn.plugin.frame_numbers import FrameNumbers, Metric, measured
from stpn.plugin.mattes import Mattes
from stpn.plugin.number_plot import Curve, draw_numbers
from stpn.plugin.sheet_drawing import Column
from stpn.plugin.view import TITLES, Cell, View, name_of, notes_of, picture, shown_how

METRICS = (
    Metric("j", "J", ".1f", "J {:.1f}"), Metric("f", "F", ".1f", "F {:.1f}"), Metric("sad", "SAD", ".3f", "SAD {:.3g}")
)  # fmt: skip
BROKEN = "are NaN (taken as 0)"

# Okabe and Ito, "Color Universal Design" (2008): told apart with every kind of color vision
OBJECTS = {
    "orange": (230, 159, 0), "sky blue": (86, 180, 233), "green": (0, 158, 115), "yellow": (240, 228, 66),
    "purple": (204, 121, 167), "vermilion": (213, 94, 0), "blue": (0, 114, 178),
}  # fmt: skip
_MISSING, _EXTRA = OBJECTS["orange"], OBJECTS["sky blue"]
_TINT = 0.45
_DIMMED = 0.4
_DASH = 4


def measure(comparison: Comparison) -> Generator[FrameNumbers, None, None]:
    """J and F in percent, mean over the objects, and SAD in thousands of pixels, of all measured frames, in order.

    Raises:
        PlateError: a file cannot be read.
    """

    def one(frame: int) -> tuple[Mapping[str, float | None], int]:
        (got, bad), (wanted, bad_wanted) = (comparison.mattes[role].mattes(frame) for role in ("result", "reference"))
        pairs = list(zip(got > 0.5, wanted > 0.5, strict=True))
        return {
            "j": 100 * float(np.mean([jaccard(*pair) for pair in pairs])),
            "f": 100 * float(np.mean([boundary(*pair) for pair in pairs])),
            "sad": float(np.abs(got - wanted).sum(dtype=np.float64)) / 1000,
        }, bad + bad_wanted

    return measured(comparison.measured, comparison.key_frames, one, comparison.request.threads)


def remark(_comparison: Comparison, _numbers: Sequence[FrameNumbers]) -> str:
    """Nothing."""
    return ""


def view(comparison: Comparison, numbers: Sequence[FrameNumbers], size: Size) -> View:
    """The sheet, with pictures of a size."""
    truth = comparison.mattes.get("reference")

    def plate(frame: int, _strip: str) -> Picture | None:
        return picture(comparison, comparison.plate, frame, size)

    columns: list[tuple[Column, Cell]] = [(Column("plate", name_of(comparison.plate.footage.files.pattern)), plate)]
    for role, title in TITLES.items():
        if role in comparison.mattes:
            mattes = comparison.mattes[role]
            outlined = truth if role == "result" else None
            columns.append(
                (Column(title, name_of(mattes.layers.files.pattern)), _over(comparison, mattes, outlined, size))
            )
    footer = [shown_how(comparison)]
    colors = list(OBJECTS)
    named = [f"{name} {colors[i % len(colors)]}" for i, name in enumerate(comparison.mattes["result"].objects)]
    footer.append(f"Objects: {', '.join(named)}; outlined where the matte is 0.5.")
    if truth is not None:
        columns.append(_difference(comparison, truth, size))
        footer.append(
            "White dashes: outline of the reference. J, F in percent at 0.5, mean of the objects; SAD: sum of "
            "|result - reference| in thousands of pixels."
        )
    plot = None
    if numbers:
        plot = partial(
            draw_numbers, title="J and F against the reference, percent", curves=[Curve("j", "J"), Curve("f", "F")],
            numbers=numbers, keys=comparison.key_frames, rows=comparison.rows, highest=102.0,
        )  # fmt: skip
    return View(tuple(columns), tuple(footer), partial(notes_of, METRICS), plot=plot)


def _over(comparison: Comparison, mattes: Mattes, truth: Mattes | None, size: Size) -> Cell:
    def cell(frame: int, _strip: str) -> Picture | None:
        ground = picture(comparison, comparison.plate, frame, size)
        if frame not in mattes.frames or ground is None:
            return None
        outlined = None if truth is None or frame not in truth.frames else _small(truth, frame, size)
        return matte_over(ground, _small(mattes, frame, size), outlined)

    return cell


def matte_over(ground: Picture, mattes: Image, truth: Image | None = None) -> Picture:
    """A picture with mattes drawn over it.

    Each object tints the picture with its color as far as its matte says. Its outline lies inside, two pixels wide,
    with a black rim outside, so that it is seen on any ground.

    Args:
        ground: (h, w, 3) uint8 RGB.
        mattes: (N, h, w) float32, 0..1.
        truth: the same; drawn as dashed white outlines.

    Returns:
        (h, w, 3) uint8 RGB.
    """
    colors = [np.array(color, np.float32) for color in OBJECTS.values()]
    shown = ground.astype(np.float32)
    for index, matte in enumerate(mattes):
        covered = _TINT * matte[..., None]
        shown = shown * (1 - covered) + colors[index % len(colors)] * covered
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    for index, matte in enumerate(mattes):
        inside = (matte > 0.5).astype(np.uint8)
        shown[(cv2.dilate(inside, cross) > inside)] = 0
        # beyond the picture lies more of the object: its border is no outline
        shown[inside > cv2.erode(inside, cross, iterations=2, borderType=cv2.BORDER_REPLICATE)] = colors[
            index % len(colors)
        ]
    for matte in truth if truth is not None else ():
        inside = (matte > 0.5).astype(np.uint8)
        line = inside > cv2.erode(inside, cross, borderType=cv2.BORDER_REPLICATE)
        down, right = np.indices(line.shape)
        shown[line & ((down + right) // _DASH % 2 == 0)] = 255
    return as_picture(shown)


def _difference(comparison: Comparison, truth: Mattes, size: Size) -> tuple[Column, Cell]:
    result = comparison.mattes["result"]

    def cell(frame: int, _strip: str) -> Picture | None:
        ground = picture(comparison, comparison.plate, frame, size)
        if frame not in truth.frames or ground is None:
            return None
        got, wanted = result.mattes(frame)[0], truth.mattes(frame)[0]
        missing = resized(np.clip(wanted - got, 0, 1).max(axis=0), size)[..., None]
        extra = resized(np.clip(got - wanted, 0, 1).max(axis=0), size)[..., None]
        grey = np.repeat(ground.mean(axis=2, keepdims=True), 3, axis=2) * _DIMMED
        grey *= 1 - np.maximum(missing, extra)
        return as_picture(np.asarray(grey + missing * np.array(_MISSING) + extra * np.array(_EXTRA), np.float32))

    share = np.linspace(-1, 1, 256)[:, None]
    colors = np.where(share < 0, -share * np.array(_MISSING), share * np.array(_EXTRA))
    ramp = np.rint(colors).astype(np.uint8)
    return Column("difference", "orange: missing, sky blue: too much", ramp, ("−1", "+1")), cell


def _small(mattes: Mattes, frame: int, size: Size) -> Image:
    """The mattes of a frame as large as they are shown, (N, h, w)."""
    return np.stack([resized(matte, size) for matte in mattes.mattes(frame)[0]])
