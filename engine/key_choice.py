"""Which frames to paint next: those that raise the confidence to be expected of all frames most."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from stpn.engine.expected_confidence import Reach

Curve = NDArray[np.float64]
Maps = NDArray[np.uint8]

# what is left unsure at the surest place
_FLOOR = 0.01
# by confidence 0..255: the inverse of the square of what is unsure; 0 is out of reach
_WEIGHT = np.append(0, 1 / (1 - np.arange(1, 256) / 255 + _FLOOR) ** 2).astype(np.float32)
# the frames chosen one by one are moved to where they help most together, in so many rounds at most
_ROUNDS = 6


@dataclass(frozen=True)
class Proposal:
    """A frame to paint.

    Attributes:
        frame: its number.
        sure: (rows, columns) uint8, 0..255 for 0..1: confidence to be expected in the frame before it is painted, in
            cells of the picture.
        before, after: (T,) float64, 0..1, confidence to be expected of every frame before and after it is painted, with
            everything proposed earlier painted too.
    """

    frame: int
    sure: Maps
    before: Curve
    after: Curve


class Prospect:
    """What confidence is to be expected of the frames of a plate, whatever frames are painted.

    A frame is served by the painted frames next to it, the one before and the one after. What each leaves unsure counts
    like the deviation of an estimate, and the two are joined as independent estimates are: where they are equally good
    0.7 of it is left, and a poor one changes next to nothing.
    """

    def __init__(self, frames: range, reaches: Mapping[int, Reach]) -> None:
        """Takes what `expected_confidence` found.

        Args:
            frames: all frames.
            reaches: by frame that is, or may be, painted: how surely it serves the frames around.
        """
        self.frames, self._reaches = frames, reaches
        self._between: dict[tuple[int | None, int | None], Curve] = {}

    def curve(self, keys: Collection[int]) -> Curve:
        """(T,) float64, 0..1: the mean confidence of every frame; 1 at keys, 0 where none reaches."""
        ends: list[int | None] = [None, *sorted(keys), None]
        parts = []
        for before, after in pairwise(ends):
            parts.append(self.between(before, after))
            if after is not None:
                parts.append(np.ones(1))
        return np.concatenate(parts)

    def between(self, before: int | None, after: int | None) -> Curve:
        """(n,) float64: confidence of the frames between two neighbouring keys; None: up to the end of the plate."""
        if (before, after) not in self._between:
            first = self.frames.start if before is None else before + 1
            last = self.frames.stop - 1 if after is None else after - 1
            self._between[before, after] = self._sure(range(first, last + 1), before, after).mean(axis=1)
        return self._between[before, after]

    def seen(self, frame: int, keys: Sequence[int]) -> Maps:
        """(rows, columns) uint8: the confidence of a frame that may be painted but is not, in cells of the picture."""
        sure = self._sure(range(frame, frame + 1), *_around(frame, keys))
        shape = self._reaches[frame].shape
        return np.broadcast_to(np.rint(sure * 255).astype(np.uint8), (1, shape[0] * shape[1])).reshape(shape)

    def _sure(self, frames: range, *keys: int | None) -> NDArray[np.float32]:
        """(n, M) float32, 0..1: what keys give together to frames; (n, 1) of zeros where there is no key."""
        weights = [_WEIGHT[self._reaches[key].maps_of(frames)] for key in keys if key is not None]
        if not weights:
            return np.zeros((len(frames), 1), np.float32)
        return np.asarray(1 - 1 / np.sqrt(np.maximum(np.sum(weights, axis=0), 1)), np.float32)

    def gain(self, frame: int, keys: Sequence[int]) -> float:
        """By how much the sum of `curve` grows when a frame is painted beside the keys, which ascend."""
        before, after = _around(frame, keys)
        added = self.between(before, frame).sum() + 1 + self.between(frame, after).sum()
        return float(added - self.between(before, after).sum())


def _around(frame: int, keys: Sequence[int]) -> tuple[int | None, int | None]:
    """The keys before and after a frame."""
    place = bisect_left(keys, frame)
    return keys[place - 1] if place > 0 else None, keys[place] if place < len(keys) else None


def propose(
    prospect: Prospect,
    shots: Sequence[range],
    keys: Iterable[int],
    candidates: Collection[int],
    count: int,
    target: float | None = None,
) -> list[Proposal]:
    """Chooses frames one by one, each the one whose painting raises the mean confidence most; then moves each to where
    it helps most beside the others, until nothing is gained any more.

    Args:
        prospect: what is to be expected.
        shots: all frames, shot by shot. Those without a key get one each before anything else.
        keys: frames that are painted already.
        candidates: frames that may be proposed.
        count: how many at most.
        target: enough is proposed once the mean of the whole curve reaches this; None: `count` it is.

    Returns:
        In the order of what each adds when the ones before it are painted.
    """
    painted = sorted(keys)
    left = sorted(set(candidates) - set(painted))
    chosen: list[int] = []
    while left and len(chosen) < count:
        bare = [frame for shot in shots if not any(key in shot for key in painted) for frame in left if frame in shot]
        if not bare and target is not None and float(prospect.curve(painted).mean()) >= target:
            break
        best = _best(prospect, bare or left, painted)
        chosen.append(best)
        insort(painted, best)
        left.remove(best)
    _move(prospect, shots, chosen, painted, left)
    return _ordered(prospect, sorted(set(painted) - set(chosen)), chosen)


def _best(prospect: Prospect, frames: Sequence[int], painted: Sequence[int]) -> int:
    """The frame that adds most; the first among equals."""
    return max(frames, key=lambda frame: (prospect.gain(frame, painted), -frame))


def _move(prospect: Prospect, shots: Sequence[range], chosen: list[int], painted: list[int], left: list[int]) -> None:
    """Moves chosen frames to better places in their shots; all three lists change."""
    shot_of = {frame: shot for shot in shots for frame in shot}
    for _ in range(_ROUNDS):
        moved = False
        for index, frame in enumerate(chosen):
            painted.remove(frame)
            best = _best(prospect, [other for other in (*left, frame) if other in shot_of[frame]], painted)
            if prospect.gain(best, painted) > prospect.gain(frame, painted) + 1e-6:
                left.remove(best)
                insort(left, frame)
                chosen[index], moved = best, True
            insort(painted, chosen[index])
        if not moved:
            return


def _ordered(prospect: Prospect, keys: list[int], chosen: list[int]) -> list[Proposal]:
    proposals = []
    waiting = sorted(chosen)
    curve = prospect.curve(keys)
    while waiting:
        best = _best(prospect, waiting, keys)
        waiting.remove(best)
        sure = prospect.seen(best, keys)
        insort(keys, best)
        before, curve = curve, prospect.curve(keys)
        proposals.append(Proposal(best, sure, before, curve))
    return proposals
