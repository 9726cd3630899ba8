"""How far a result is from its reference: RMSE and PSNR of a frame, means, and a picture of the difference.

Both are measured on 8-bit sRGB values of scene-linear Rec.709 light clipped to 0..1, so that numbers compare with those
of pictures on disk.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stpn.plugin.display import Image, Picture, Rec709, Size, as_picture, resized, srgb_encoded
from stpn.plugin.pictures import Pictures

_LEAST_RMSE = 1e-3  # keeps the PSNR of identical pictures finite
PSNR_OF_IDENTICAL = 20 * math.log10(255 / _LEAST_RMSE)
"""dB, 108.13: as high as it gets."""


@dataclass(frozen=True)
class Score:
    """One frame against its reference.

    Attributes:
        frame: its number.
        rmse: root of the mean squared difference over pixels and channels, 0..255.
        broken: pixels of the result or the reference that are NaN or infinite.
        is_key: whether a key was given for this frame; such frames are left out of means.
    """

    frame: int
    rmse: float
    broken: int
    is_key: bool

    @property
    def psnr(self) -> float:
        """dB, `PSNR_OF_IDENTICAL` at most."""
        return 20 * math.log10(255 / max(self.rmse, _LEAST_RMSE))

    @property
    def is_identical(self) -> bool:
        """Whether no code value differs."""
        return self.rmse <= _LEAST_RMSE


@dataclass(frozen=True)
class Means:
    """Means over frames that are no keys; over all where all are keys.

    Attributes:
        psnr: dB, the mean of the frames' PSNR.
        rmse: the mean of the frames' RMSE.
        frames: how many frames.
    """

    psnr: float
    rmse: float
    frames: int


def means(scores: Sequence[Score]) -> Means:
    """Means of one score or more."""
    counted = [score for score in scores if not score.is_key] or list(scores)
    psnr, rmse = (float(np.mean([getattr(score, name) for score in counted])) for name in ("psnr", "rmse"))
    return Means(psnr, rmse, len(counted))


def code_values(pictures: Pictures, frame: int, rec709: Rec709) -> tuple[NDArray[np.int16], int]:
    """8-bit sRGB values (H, W, 3) of a frame, and how many of its pixels are NaN or infinite."""
    linear, broken = pictures.linear(frame)
    return np.rint(srgb_encoded(rec709.convert(linear, pictures.space))).astype(np.int16), broken


def rmse_of(a: NDArray[np.int16], b: NDArray[np.int16]) -> float:
    """Root of the mean squared difference of code values."""
    difference = (a - b).astype(np.float32)
    return float(np.sqrt(np.mean(np.square(difference), dtype=np.float64)))


def measure(
    result: Pictures, reference: Pictures, frames: Sequence[int], keys: frozenset[int], rec709: Rec709, threads: int
) -> Generator[Score, None, None]:
    """Scores frame by frame, in order; as many frames are in memory as there are threads.

    Raises:
        PlateError: a file cannot be read.
    """

    def one(frame: int) -> Score:
        (got, bad), (wanted, bad_wanted) = (code_values(p, frame, rec709) for p in (result, reference))
        return Score(frame, rmse_of(got, wanted), bad + bad_wanted, frame in keys)

    pool = ThreadPoolExecutor(threads, thread_name_prefix="stpn-compare")
    try:
        yield from pool.map(one, frames)
    finally:
        pool.shutdown(cancel_futures=True)


def difference_picture(
    result: Pictures, reference: Pictures, frame: int, rec709: Rec709, amplify: float, size: Size
) -> Picture:
    """|result - reference| of the code values, times `amplify`, brought to (width, height); uint8 RGB."""
    (got, _), (wanted, _) = (code_values(pictures, frame, rec709) for pictures in (result, reference))
    shown: Image = resized(np.abs(got - wanted).astype(np.float32), size)
    return as_picture(shown * np.float32(amplify))
