"""Whether a key shows what its plate frame shows, in place."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]

# correlation of the shapes in plate and key; what belongs together has nearly 1
_ALIKE = 0.85
_SHIFT = 0.75  # pixels
# below this, in ln, there may be more noise than light, and a picture has no shapes
_DARK, _FLAT = -3.5, 0.01


def mismatch(seen: Image, true: Image) -> str:
    """What is wrong with a key, in words; empty where nothing is.

    Args:
        seen, true: (H, W, 3) float32, ln(H / clip + 0.01) of the plate and of the key.
    """
    # what clips is the same in both
    a, b = (_shapes(np.clip(log, _DARK, 0)) for log in (seen, true))
    if b.std() < _FLAT:
        return ""
    moved = _shift(a, b)
    alike, alike_moved = _alike(a, b), _alike(a, _moved(b, moved))
    if max(alike, alike_moved) < _ALIKE:
        return (
            f"expected a key that shows what the plate shows; their shapes agree to {max(alike, 0):.0%}, expected "
            f"{_ALIKE:.0%} or more; take the key of this very frame"
        )
    if np.hypot(*moved) > _SHIFT and alike_moved > alike + 0.01:
        return (
            f"expected a key in place; it is shifted against the plate by {moved[0]:.1f}, {moved[1]:.1f} pixels; "
            "move it back"
        )
    return ""


def _shapes(log: Image) -> Image:
    """(H, W) of ln(H / clip + 0.01) (H, W, 3), without its level and without what may be noise."""
    plane = log.mean(axis=2)
    return np.asarray(cv2.GaussianBlur(plane, (0, 0), 1.5) - cv2.GaussianBlur(plane, (0, 0), 8), np.float32)


def _alike(a: Image, b: Image) -> float:
    """Correlation of two pictures of shapes."""
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum() + 1e-12))


def _moved(image: Image, by: tuple[float, float]) -> Image:
    matrix = np.array([[1, 0, -by[0]], [0, 1, -by[1]]])
    return np.asarray(cv2.warpAffine(image, matrix, image.shape[::-1], borderMode=cv2.BORDER_REPLICATE), np.float32)


def _shift(a: Image, b: Image) -> tuple[float, float]:
    """x and y by which b lies off a, pixels."""
    window = cv2.createHanningWindow(a.shape[::-1], cv2.CV_32F)
    (x, y), _ = cv2.phaseCorrelate(a, b, window)
    return x, y
