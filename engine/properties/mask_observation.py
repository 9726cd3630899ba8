"""What the mask network is shown of a frame, by arrays; the same when it is trained and when it works."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from stpn.engine.alignment import Image
from stpn.engine.properties.mask_appearance import snapped

# a difference of this, mean over R, G and B of 0..1, is as different as can be
_DIFFERENT = np.float32(0.25)


def change(picture: Image, moved: Image) -> Image:
    """How two pictures (H, W, 3), 0..1, differ: (H, W), 0 = not at all, 1 = altogether."""
    apart = np.abs(picture - moved).mean(axis=2)
    return np.asarray(np.minimum(cv2.blur(apart, (3, 3)) / _DIFFERENT, 1), np.float32)


def known_planes(
    picture: Image, carried: Image, trust: Image, step_change: Image, key_change: Image, likelihood: Image
) -> Image:
    """(8, H, W) float32: those planes of `Observed.planes` that do not depend on the frame before's mask.

    Args:
        picture: (H, W, 3), 0..1.
        carried, trust, step_change, key_change, likelihood: (H, W), 0..1.
    """
    rgb = np.moveaxis(picture, 2, 0) - np.float32(0.5)
    return np.stack([*rgb, carried, trust, step_change, key_change, likelihood]).astype(np.float32)


def all_planes(known: Image, moved: Image, colors: Image) -> NDArray[np.float32]:
    """(10, H, W) float32, `Observed.planes` of one object.

    Args:
        known: of `known_planes`.
        moved: (H, W), 0..1, the mask moved from the frame before.
        colors: (H, W, 3), CIE Lab of the picture.
    """
    return np.concatenate([known[:3], moved[None], known[3:], snapped(colors, moved)[None]]).astype(np.float32)
