"""Where one shot ends and the next begins, and which frames are flashes: told from few and small pictures.

Whether a new shot begins at a frame is decided from the three frames before it and the three from it on, so that any
two chunks of a shot that see these frames decide the same.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from stpn.engine.alignment import Guide8, Image, Route, consistency, estimate_flow, warp

SIDE = 128
"""Long side in pixels of the pictures that the numbers here are made for; the short one should be 32 or more."""

WINDOW = 3
"""How many frames on either side of a place are looked at."""

# Neighbours in one shot reach 0.24 (fast motion, 71 clips); of frames of different clips 1 % lie below 0.40.
_UNLIKE = 0.30
# of the change at a place, what frames further apart across it may differ by and still make it a flash
_ACROSS = 0.6
# contrast, in levels of a guide, below which there is more noise than picture
_FAINT = 2.0
# a flash that keeps the picture visible: levels of a guide, 16 a stop
_JUMP = 12.0
# longest flash
_SHORT = 2
# light below this is as good as black; above the other one all is white
_DARKEST, _BRIGHTEST = 0.02, 1000.0

Guides = Callable[[int], Guide8 | None]
"""Gives the guide of a frame, None where there is no such frame."""


@dataclass(frozen=True)
class Findings:
    """What was found in a run of frames.

    Attributes:
        cuts: first frames of new shots, ascending.
        flashes: one or two frames that are unlike both sides, or much brighter or darker, while the sides are alike;
            ascending.
    """

    cuts: tuple[int, ...]
    flashes: tuple[int, ...]


def cut_guide(luminance: Image) -> Guide8:
    """Luminance, white = 1, as 8 bits that hold plates of any exposure: logarithmic above 0.02, up to 1000.

    Args:
        luminance: (H, W) float32, long side about `SIDE`; what is no number counts as black.

    Returns:
        (H, W) uint8.
    """
    light = np.clip(np.nan_to_num(luminance, nan=0.0, posinf=_BRIGHTEST, neginf=0.0), 0.0, _BRIGHTEST)
    scale = 255 / np.log1p(_BRIGHTEST / _DARKEST)
    return np.asarray(np.rint(np.log1p(light / _DARKEST) * scale), np.uint8)


def unlikeness(first: Guide8, second: Guide8) -> float:
    """How little of one picture is found in the other: 0 for the same picture, about 1 for two different ones.

    What is left of the difference after motion and exposure are taken out, relative to the contrast, times the share
    of the picture whose motion does not lead back to where it came from. Values below 0.3 are of one shot. Pictures
    that differ little as they stand get 0.15 at most, without a search for motion; so do those too small for motion.

    Args:
        first, second: (H, W) uint8, of one size.
    """
    contrasts = first.std() + _FAINT, second.std() + _FAINT
    a, b = np.asarray(first, np.float32), np.asarray(second, np.float32)
    still = _left(a, b) / min(contrasts)
    if still < _UNLIKE or min(first.shape) < 32:
        return float(min(still, _UNLIKE / 2))
    route = Route(estimate_flow(first, second), estimate_flow(second, first))
    back = Route(route.to_target, route.to_key)
    left = max(_left(a, warp(b, route.to_key)) / contrasts[0], _left(b, warp(a, route.to_target)) / contrasts[1])
    return float(left * (1 - (consistency(route).mean() + consistency(back).mean()) / 2))


def _left(a: Image, b: Image) -> float:
    """Mean difference of two pictures, in levels, that is not one of exposure."""
    difference = a - b
    return float(np.abs(difference - np.median(difference)).mean())


def search(frames: Sequence[int], guides: Guides) -> Findings:
    """Cuts and flashes among frames.

    Args:
        frames: ascending; a cut is looked for between two that follow each other, a flash everywhere.
        guides: asked for frames about in their order, and for others, up to `WINDOW` away, only near a change.
    """
    known = set(frames)
    look = _Look(guides)
    cuts, flashes = [], []
    for frame in frames:
        if frame - 1 in known and look.begins_shot(frame):
            cuts.append(frame)
        if look.is_flash(frame, known):
            flashes.append(frame)
    return Findings(tuple(cuts), tuple(flashes))


class _Look:
    """Answers about frames by number; remembers what it has just compared."""

    def __init__(self, guides: Guides) -> None:
        self._guides = guides
        self._compared: dict[tuple[int, int], float] = {}

    def begins_shot(self, frame: int) -> bool:
        """Whether a new shot begins at a frame.

        No cut is: fast motion, a change of exposure, one or two frames unlike both sides which are alike (a flash), a
        fade to or from black. One odd frame between two shots belongs to the first, and so do black frames.
        """
        here, before = self._guides(frame), self._guides(frame - 1)
        if here is None or before is None:
            return False
        change = self._unlikeness(frame - 1, frame)
        if change < _UNLIKE or _is_blank(here):
            return False
        later = [guide for guide in map(self._guides, range(frame + 1, frame + WINDOW)) if guide is not None]
        if _is_blank(before) and _comes_up(before, [here, *later]):
            return False
        # of many comparisons one may come out low by chance, so those across a weak change must be lower still
        limit = min(_UNLIKE, _ACROSS * change)
        around = [(i, j) for i in range(frame - WINDOW, frame) for j in range(frame, frame + WINDOW)]
        if any(1 < j - i <= _SHORT + 1 and self._alike(i, j, limit) for i, j in around):
            return False
        return len(later) < WINDOW - 1 or any(self._alike(frame, j) for j in range(frame + 1, frame + WINDOW))

    def is_flash(self, frame: int, known: Collection[int]) -> bool:
        """Whether a frame is one of one or two that are unlike both sides, or much brighter or darker, while the sides
        are alike: a flash, a black or a broken frame. Looks at two frames on either side, at `known` ones first."""

        def known_first(frames: Iterable[int]) -> list[int]:
            return sorted(frames, key=lambda frame: frame not in known)

        for first, last in ((frame, frame), (frame - 1, frame), (frame, frame + 1)):
            sides, run = known_first((first - 1, last + 1)), known_first(range(first, last + 1))
            if all(self._odd(odd, side) for side in sides for odd in run) and (
                self._alike(*sides) and not self._odd(*sides)
            ):
                return True
        return False

    def _unlikeness(self, first: int, second: int) -> float:
        """`unlikeness` of two frames; of a blank and a picture at least 1; of a frame that is not there infinite."""
        pair = min(first, second), max(first, second)
        if pair not in self._compared:
            if len(self._compared) > 100:
                self._compared.clear()
            self._compared[pair] = _compared(self._guides(pair[0]), self._guides(pair[1]))
        return self._compared[pair]

    def _alike(self, first: int, second: int, limit: float = _UNLIKE) -> bool:
        """Whether both frames are there and are of one shot."""
        return self._unlikeness(first, second) < limit

    def _odd(self, first: int, second: int) -> bool:
        """Whether both frames are there and are unlike, or of much different exposure."""
        a, b = self._guides(first), self._guides(second)
        return a is not None and b is not None and (_jumps(a, b) or not self._alike(first, second))


def _compared(first: Guide8 | None, second: Guide8 | None) -> float:
    if first is None or second is None:
        return np.inf
    found = unlikeness(first, second)
    return max(found, 1.0) if _is_blank(first) != _is_blank(second) and _jumps(first, second) else found


def _jumps(first: Guide8, second: Guide8) -> bool:
    """Whether two frames are of much different exposure."""
    return abs(float(np.median(first)) - float(np.median(second))) > _JUMP


def _is_blank(guide: Guide8) -> bool:
    return bool(guide.std() < _FAINT)


def _comes_up(blank: Guide8, later: Sequence[Guide8]) -> bool:
    """Whether a picture comes up from a blank frame over several frames, as it does in a fade."""
    levels = [float(guide.mean()) for guide in later]
    return len(levels) > 1 and abs(levels[-1] - levels[0]) > 0.25 * abs(levels[0] - float(blank.mean()))
