"""Pictures of a span that are made when somebody asks, because a key may be hundreds of frames away."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]

_KEPT = 8


class LazyFrames(Mapping[int, Image]):
    """Pictures by frame; the last few that were asked for are kept. Safe to use from several threads."""

    def __init__(self, frames: Sequence[int], read: Callable[[int], Image], kept: int = _KEPT) -> None:
        """Takes the frames there are, what makes the picture of one, and how many are kept."""
        self._frames, self._read, self.kept = frames, read, kept
        self._known = frozenset(frames)
        self._pictures: OrderedDict[int, Image] = OrderedDict()
        self._lock = threading.Lock()

    def __getitem__(self, frame: int) -> Image:
        with self._lock:
            if frame in self._pictures:
                self._pictures.move_to_end(frame)
                return self._pictures[frame]
        if frame not in self._known:
            raise KeyError(frame)
        picture = self._read(frame)  # two threads may both read it; that is rare, and right
        picture.flags.writeable = False
        with self._lock:
            self._pictures[frame] = picture
            while len(self._pictures) > self.kept:
                self._pictures.popitem(last=False)
        return picture

    def __iter__(self) -> Iterator[int]:
        return iter(self._frames)

    def __len__(self) -> int:
        return len(self._frames)

    def __contains__(self, frame: object) -> bool:
        return frame in self._known
