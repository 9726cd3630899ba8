"""How surely a frame, were it painted, would serve the frames around it: told from motion alone, on small pictures.

It goes by the signs that `fusion` goes by, along the accumulated motion: whether lightness agrees and whether routes
lead back. What the frames would be painted with does not enter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from stpn.engine.alignment import Image, Route, agreement, consistency, estimate_flow, warp
from stpn.engine.routes import guide8, routes_from

Maps = NDArray[np.uint8]

SIDE = 192
"""Long side in pixels of the pictures that motion is estimated on."""

REACH = 48
"""Frames: a key is not expected to serve any that are further away."""

# long side of the maps that are kept
_CELLS = 32
# candidates that are worked on together; the motion around them is in memory
_BLOCK = 16
# the part of a route's leading back in what makes it sure; lightness alone tells errors better than both together
_RETURNS = np.float32(0.3)


@dataclass(frozen=True)
class Reach:
    """How surely one key serves the frames around it.

    Attributes:
        first: the first frame that it serves.
        maps: (n, M) uint8, 0..255 for 0..1: of each frame from there on, M cells of the picture; 255 for itself, at
            least 1 for the others.
        shape: rows and columns of the cells; their product is M.
    """

    first: int
    maps: Maps
    shape: tuple[int, int]

    def maps_of(self, frames: range) -> Maps:
        """(len(frames), M) uint8 of consecutive frames; 0 where the key does not reach."""
        out = np.zeros((len(frames), self.maps.shape[1]), np.uint8)
        start = max(frames.start, self.first)
        stop = min(frames.stop, self.first + len(self.maps))
        if start < stop:
            out[start - frames.start : stop - frames.start] = self.maps[start - self.first : stop - self.first]
        return out


def expected_confidence(
    lightness: Mapping[int, Image],
    shot: range,
    keys: Sequence[int],
    parallel: Callable[..., Iterable[Any]] = map,
) -> Iterator[tuple[int, Reach]]:
    """What each of some frames would give to the others of its shot.

    Args:
        lightness: (h, w) float32, 0..100, of every frame of the shot, long side about `SIDE`.
        shot: its frames.
        keys: frames of the shot that are, or may be, painted, ascending.
        parallel: like `map`, or a pool's.
    """
    cv2.setNumThreads(1)
    steps: dict[tuple[int, int], Image] = {}
    for start in range(0, len(keys), _BLOCK):
        block = keys[start : start + _BLOCK]
        around = range(max(shot.start, block[0] - REACH), min(shot.stop, block[-1] + REACH + 1))
        steps = _steps(lightness, around, steps, parallel)

        def one(key: int, steps: Mapping[tuple[int, int], Image] = steps) -> Reach:
            return _reach(key, lightness, shot, steps)

        yield from zip(block, parallel(one, block), strict=True)


def _steps(
    lightness: Mapping[int, Image],
    frames: range,
    known: Mapping[tuple[int, int], Image],
    parallel: Callable[..., Iterable[Any]],
) -> dict[tuple[int, int], Image]:
    """Flows between all neighbours among frames, both ways; those known are taken over."""
    pairs = [pair for a in frames[:-1] for pair in ((a, a + 1), (a + 1, a))]
    missing = [pair for pair in pairs if pair not in known]

    def flow(pair: tuple[int, int]) -> Image:
        return estimate_flow(guide8(lightness[pair[0]]), guide8(lightness[pair[1]]))

    found = dict(zip(missing, parallel(flow, missing), strict=True))
    return {pair: known[pair] if pair in known else found[pair] for pair in pairs}


def _reach(key: int, lightness: Mapping[int, Image], shot: range, steps: Mapping[tuple[int, int], Image]) -> Reach:
    first, last = max(shot.start, key - REACH), min(shot.stop - 1, key + REACH)
    rows, columns = _cells(lightness[key]).shape
    maps = {key: np.full(rows * columns, 255, np.uint8)}
    for end in (first, last):
        for frame, route in routes_from(key, steps, end):
            maps[frame] = _map(lightness[key], lightness[frame], route)
    return Reach(first, np.stack([maps[frame] for frame in range(first, last + 1)]), (rows, columns))


def _map(key: Image, target: Image, route: Route) -> Maps:
    """(M,) uint8, at least 1: how alike lightness is along a route, and to a part how well the route leads back."""
    alike = agreement(target, warp(key, route.to_key))
    sure = alike * (1 - _RETURNS + _RETURNS * consistency(route))
    return np.asarray(np.maximum(np.rint(_cells(np.asarray(sure, np.float32)) * 255), 1), np.uint8).reshape(-1)


def _cells(image: Image) -> Image:
    """The mean of each cell of a picture."""
    height, width = image.shape
    scale = min(_CELLS / max(height, width), 1)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.float32)
