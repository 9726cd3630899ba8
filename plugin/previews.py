"""Small pictures of frames that cuts were looked for in, kept for motion, so that a plate is decoded once less."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]

_MOST_BYTES = 128 << 20


class Previews:
    """Luminance of frames at the working size; safe to use from several threads. The first ones that fit are kept,
    because they are needed first, until they are taken."""

    def __init__(self) -> None:
        self._kept: dict[int, Image] = {}
        self._left = _MOST_BYTES
        self._lock = threading.Lock()

    def put(self, frame: int, luminance: Image) -> None:
        """Keeps (h, w) float32, where there is room."""
        with self._lock:
            if luminance.nbytes <= self._left and frame not in self._kept:
                self._left -= luminance.nbytes
                self._kept[frame] = luminance

    def take(self, frame: int) -> Image | None:
        """What was kept of a frame, once."""
        with self._lock:
            return self._kept.pop(frame, None)
