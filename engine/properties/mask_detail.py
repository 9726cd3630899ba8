"""Masks between the size a network works at and the picture's own."""

from __future__ import annotations

import cv2
import numpy as np

from stpn.engine.alignment import Image, warp

# long side at most that masks are carried at
LONG_SIDE = 512
# of the window in which mask and picture are compared, and how small a contrast is none
_RADIUS = 3
_CONTRAST = np.float32(1e-3)


def working_size(height: int, width: int) -> tuple[int, int]:
    """Height and width at which masks of pictures of this size are carried."""
    factor = LONG_SIDE / max(height, width)
    if factor >= 1:
        return height, width
    return max(round(height * factor), 1), max(round(width * factor), 1)


def reduced(masks: Image, size: tuple[int, int]) -> Image:
    """Masks (H, W, C) as (C, h, w)."""
    planes = np.moveaxis(masks, 2, 0).astype(np.float32)
    if masks.shape[:2] == size:
        return np.ascontiguousarray(planes)
    return np.stack([cv2.resize(plane, size[::-1], interpolation=cv2.INTER_AREA) for plane in planes])


def detailed(masks: Image, small: Image, picture: Image) -> Image:
    """Masks at a picture's size, with the detail the picture has beyond theirs: (C, H, W), 0..1.

    Around every pixel a mask is about a linear function of the colors; what the small picture lacks of the colors is
    what the small mask lacks.

    Args:
        masks: (C, h, w) float32.
        small: (h, w, 3) float32, the picture at their size.
        picture: (H, W, 3) float32.
    """
    height, width = picture.shape[:2]
    if masks.shape[1:] == (height, width):
        return masks
    lost = picture - _enlarged(small, height, width)
    out = []
    for mask in masks:
        slope = _enlarged(_slopes(mask, small), height, width)
        out.append(np.clip(_enlarged(mask, height, width) + (slope * lost).sum(axis=2), 0, 1))
    return np.stack(out)


def with_key_detail(masks: Image, key_masks: Image, key_rebuilt: Image, to_key: Image, same: Image) -> Image:
    """Adds the detail that the key's masks have and their small ones have not: (C, H, W), 0..1.

    Args:
        masks: (C, H, W), of `detailed`.
        key_masks: (C, H, W), the key's own.
        key_rebuilt: (C, H, W), of `detailed` from the key's small ones.
        to_key: (h, w, 2) small pixels.
        same: (h, w), 0..1: how far the key's detail holds.
    """
    height, width = masks.shape[1:]
    scale = np.array([width / to_key.shape[1], height / to_key.shape[0]], np.float32)
    flow = _enlarged(to_key, height, width) * scale
    share = _enlarged(same, height, width)
    found = [warp(whole - rebuilt, flow) for whole, rebuilt in zip(key_masks, key_rebuilt, strict=True)]
    return np.asarray(np.clip(masks + share * np.stack(found), 0, 1), np.float32)


def _slopes(mask: Image, picture: Image) -> Image:
    """(h, w, 3): how the mask changes with each color around every pixel, by least squares."""

    def mean(image: Image) -> Image:
        return np.asarray(cv2.blur(image, (2 * _RADIUS + 1,) * 2), np.float32)

    middle, level = mean(picture), mean(mask)
    with_mask = mean(picture * mask[..., None]) - middle * level[..., None]
    rows = [mean(picture * picture[..., channel, None]) for channel in range(3)]
    square = (
        np.stack(rows, axis=2) - middle[..., :, None] * middle[..., None, :] + _CONTRAST * np.eye(3, dtype=np.float32)
    )
    return np.asarray(np.linalg.solve(square, with_mask[..., None])[..., 0], np.float32)


def _enlarged(image: Image, height: int, width: int) -> Image:
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
