"""Frames of a clip as the carriers of masks take them, made when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from stpn.engine.alignment import Image
from stpn.engine.evaluation.clips import Picture


class Displayed(Mapping[int, Image]):
    """(T, H, W, 3) uint8 RGB as frames (H, W, 3) float32, 0..1."""

    def __init__(self, frames: Picture) -> None:
        self._frames = frames

    def __getitem__(self, frame: int) -> Image:
        if not 0 <= frame < len(self._frames):
            raise KeyError(frame)
        return np.asarray(self._frames[frame] / np.float32(255), np.float32)

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self._frames)))

    def __len__(self) -> int:
        return len(self._frames)
