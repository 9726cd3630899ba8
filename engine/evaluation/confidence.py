"""How well a confidence tells where the result is wrong."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

WRONG = 5.0
"""A color further than this from the true one, Euclidean in ab, is wrong."""

LEVELS = 1 << 14
"""Confidence is told apart in so many steps; every pixel of any number of frames then fits into four tables."""

_BINS = 10
_FEWEST = 1e-4  # share of the pixels that a bin needs to have a say in whether errors fall


@dataclass(frozen=True)
class Bin:
    """Pixels of like confidence.

    Attributes:
        low, high: of the confidence.
        share: of all pixels, 0..1.
        ab_error: their mean error, Euclidean in ab; None where there are none.
        wrong: the share of them that is wrong, 0..1; None where there are none.
    """

    low: float
    high: float
    share: float
    ab_error: float | None
    wrong: float | None


class Reliability:
    """Errors by confidence; of a clip, or of several added up."""

    def __init__(self) -> None:
        self._pixels = np.zeros(LEVELS)
        self._wrong = np.zeros(LEVELS)
        self._ab_error = np.zeros(LEVELS)
        self._squared = np.zeros(LEVELS)

    def add(self, confidence: NDArray[np.float32], ab_error: NDArray[np.float32], squared: NDArray[np.float64]) -> None:
        """Takes in a frame.

        Args:
            confidence: (H, W), 0..1, 1 = sure; what is no number counts as 0.
            ab_error: (H, W), distance from the true color in ab.
            squared: (H, W), squared error of 8-bit RGB, summed over channels.
        """
        sure = np.clip(np.nan_to_num(confidence, nan=0.0), 0, 1)
        level = np.rint(sure * (LEVELS - 1)).astype(np.intp).ravel()
        self._pixels += np.bincount(level, minlength=LEVELS)
        self._wrong += np.bincount(level, (ab_error > WRONG).ravel(), LEVELS)
        self._ab_error += np.bincount(level, ab_error.ravel(), LEVELS)
        self._squared += np.bincount(level, squared.ravel(), LEVELS)

    @staticmethod
    def pooled(parts: Iterable[Reliability]) -> Reliability:
        """All pixels of several."""
        total = Reliability()
        for part in parts:
            total._pixels += part._pixels
            total._wrong += part._wrong
            total._ab_error += part._ab_error
            total._squared += part._squared
        return total

    def auc(self) -> float | None:
        """Area under the ROC curve of 1 - confidence as a sign of a wrong color.

        The chance that of a wrong and a right pixel, both drawn at random, the wrong one has less confidence; equal
        confidence counts half. 0.5 is a guess, 1 tells all. None where no pixel is wrong, or all are.
        """
        right = self._pixels - self._wrong
        pairs = self._wrong.sum() * right.sum()
        surer = right.sum() - np.cumsum(right)
        return float((self._wrong * (surer + right / 2)).sum() / pairs) if pairs else None

    def share_of_error(self, least_sure: float) -> float | None:
        """The share of the squared RGB error, 0..1, in so large a share of the least sure pixels.

        Of pixels with the same confidence a fraction counts with its fraction of their error. None where nothing errs.
        """
        total = self._squared.sum()
        if not total:
            return None
        pixels = np.concatenate([[0], np.cumsum(self._pixels)])
        errors = np.concatenate([[0], np.cumsum(self._squared)])
        return float(np.interp(least_sure * pixels[-1], pixels, errors) / total)

    def calibration(self) -> list[Bin]:
        """Ten bins of confidence, the least sure first."""
        bounds = [round(index * LEVELS / _BINS) for index in range(_BINS + 1)]
        bins = []
        for index, (start, end) in enumerate(pairwise(bounds)):
            count = self._pixels[start:end].sum()
            error, wrong = (float(x[start:end].sum() / count) if count else None for x in (self._ab_error, self._wrong))
            share = float(count / max(self._pixels.sum(), 1))
            bins.append(Bin(index / _BINS, (index + 1) / _BINS, share, error, wrong))
        return bins

    def is_monotone(self) -> bool:
        """Whether the mean error falls, or stays, from each bin to the surer one; bins with hardly a pixel aside."""
        errors = [b.ab_error for b in self.calibration() if b.ab_error is not None and b.share >= _FEWEST]
        return all(sure <= unsure for unsure, sure in pairwise(errors))
