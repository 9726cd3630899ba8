"""Numbers for one frame against the truth: color, HDR radiance, masks."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

LOG_EPSILON = 0.01
"""HDR is compared as ln(H + LOG_EPSILON). Source: Switchable Temporal Propagation Network, section 5.3."""

_LEAST_RMSE = 1e-3  # keeps the PSNR of identical pictures finite
_PU21 = (0.353487901, 0.3734658629, 8.277049286e-05, 0.9062562627, 0.09150303166, 0.9099517204, 596.3148142)
_LEAST_CLIPPED = 50  # pixels; fewer say nothing of a frame

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]


def rmse(result: NDArray[np.uint8], truth: NDArray[np.uint8]) -> float:
    """Root of the mean squared difference over pixels and channels, 0..255.

    Args:
        result, truth: (H, W, 3) uint8 sRGB.
    """
    difference = result.astype(np.float64) - truth
    return float(np.sqrt(np.mean(np.square(difference))))


def psnr(error: float) -> float:
    """dB of an RMSE of 8-bit values; 108.13 where nothing differs."""
    return 20 * math.log10(255 / max(error, _LEAST_RMSE))


def log_radiance(radiance: NDArray[Any]) -> Image:
    """ln(H + 0.01) of scene-linear light, any shape; what is below 0 counts as 0."""
    return np.asarray(np.log(np.maximum(radiance, 0) + LOG_EPSILON), np.float32)


def hdr_errors(result: Image, truth: Image, ldr: NDArray[np.uint8]) -> dict[str, float | None]:
    """What Table 3 measures, and PU21-PSNR.

    Args:
        result, truth: (H, W, 3) float32, scene-linear, 1.0 = where the camera clips.
        ldr: (H, W, 3) uint8, what the camera saw; a pixel is clipped where any channel is 254 or more.

    Returns:
        log_rmse: RMSE of ln(H + 0.01).
        log_rmse_clipped: the same over clipped pixels; None where there are hardly any.
        pu21_psnr: dB, with 1.0 = 100 cd/m2 and a peak of 256.
    """
    squared = np.square((log_radiance(result) - log_radiance(truth)).astype(np.float64))
    clipped = ldr.max(axis=2) >= 254
    seen = pu21(np.float32(100) * result) - pu21(np.float32(100) * truth)
    error = math.sqrt(np.mean(np.square(seen), dtype=np.float64))
    return {
        "log_rmse": math.sqrt(squared.mean()),
        "log_rmse_clipped": math.sqrt(squared[clipped].mean()) if clipped.sum() > _LEAST_CLIPPED else None,
        "pu21_psnr": 20 * math.log10(256 / max(error, _LEAST_RMSE)),
    }


def pu21(luminance: Image) -> Image:
    """Light as the eye tells it apart, banding and glare.

    Args:
        luminance: cd/m2, any shape, float32 or float64; clipped to 0.005..10000.

    Returns:
        0 at 0.005 cd/m2, about 256 at 100 cd/m2, about 595 at 10000.

    Source: Mantiuk and Azimi, PU21: A novel perceptually uniform encoding for adapting existing quality metrics for
    HDR, PCS 2021, table 1.
    """
    a, b, c, d, e, f, g = _PU21
    power = np.clip(luminance, 0.005, 10000.0) ** d
    return np.asarray(g * (((a + b * power) / (1 + c * power)) ** e - f))


def jaccard(result: Mask, truth: Mask) -> float:
    """J: intersection over union, 0..1; 1 where both are empty.

    Source: Perazzi et al., A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation, CVPR 2016.
    """
    union = np.count_nonzero(result | truth)
    return np.count_nonzero(result & truth) / union if union else 1.0


def boundary(result: Mask, truth: Mask, tolerance: float = 0.008) -> float:
    """F: harmonic mean of precision and recall of the outline, 0..1; 1 where neither has any.

    Args:
        result, truth: (H, W) bool.
        tolerance: how far outlines may lie apart, as a share of the picture's diagonal.

    Source: as `jaccard`.
    """
    radius = math.ceil(tolerance * math.hypot(*truth.shape))
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    lines = [_outline(mask) for mask in (result, truth)]
    if not all(line.any() for line in lines):
        return float(not any(line.any() for line in lines))
    near = [cv2.dilate(line.astype(np.uint8), disk) > 0 for line in lines]
    precision = np.count_nonzero(lines[0] & near[1]) / np.count_nonzero(lines[0])
    recall = np.count_nonzero(lines[1] & near[0]) / np.count_nonzero(lines[1])
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _outline(mask: Mask) -> Mask:
    """Pixels that differ from their neighbour to the right, below, or diagonally below."""
    beyond = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    return np.asarray((mask != beyond[:-1, 1:]) | (mask != beyond[1:, :-1]) | (mask != beyond[1:, 1:]))
