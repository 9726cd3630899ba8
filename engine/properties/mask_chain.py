"""Masks carried from a key outward, frame by frame, at the size the network works at.

A chain depends on its key and on the frames between alone: any frame asked by itself gets the same bits as in a batch.
Of a long shot only the frames at its end are held, and the masks that were asked for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from stpn.engine.alignment import Estimate, Guide8, Image, Route, chain, consistency, warp
from stpn.engine.properties.mask_appearance import KeyColors, lab
from stpn.engine.properties.mask_observation import change, known_planes

if TYPE_CHECKING:
    from torch import Tensor

# frames that are read ahead, so that their motion can be estimated in parallel
_AHEAD = 8
# where the picture is as at the key, moved by no more pixels than this, and differs by no more than this, it is at rest
_REST_MOTION = np.float32(0.35)
_REST_CHANGE = np.float32(0.08)


@dataclass(frozen=True)
class Frame:
    """A picture as chains use it.

    Attributes:
        rgb: (h, w, 3) float32, 0..1.
        colors: (h, w, 3) float32, CIE Lab.
        grey: (h, w) uint8.
    """

    rgb: Image
    colors: Image
    grey: Guide8

    @classmethod
    def of(cls, picture: Image, size: tuple[int, int]) -> Frame:
        """A picture (H, W, 3), clipped to 0..1, at this height and width."""
        rgb = np.clip(np.nan_to_num(np.asarray(picture, np.float32)), 0, 1)
        if rgb.shape[:2] != size:
            rgb = np.asarray(cv2.resize(rgb, size[::-1], interpolation=cv2.INTER_AREA), np.float32)
        grey = cv2.cvtColor(np.rint(255 * rgb).astype(np.uint8), cv2.COLOR_RGB2GRAY)
        return cls(rgb, lab(rgb), np.asarray(grey, np.uint8))


@dataclass(frozen=True)
class Sight:
    """What is known of a frame before its masks are.

    Attributes:
        frame, before, key: the three pictures.
        moved: (C, h, w) float32, 0..1, the masks moved from the frame before.
        before_masks, key_masks: (C, h, w) float32, 0..1.
        known: (C, 8, h, w) float32 of `known_planes`.
        flow: (h, w, 2) to the frame before.
        memory: what the decider has kept of the frame before and of the key.
    """

    frame: Frame
    before: Frame
    key: Frame
    moved: Image
    before_masks: Image
    key_masks: Image
    known: Image
    flow: Image
    memory: tuple[Tensor, Tensor] | None


class Decider(Protocol):
    """Says where the objects are."""

    def remember(self, frame: Frame) -> Tensor | None:
        """What the decider wants to keep of a frame."""

    def decide(self, sight: Sight, here: Tensor | None) -> tuple[Image, Image]:
        """Masks (C, h, w), 0..1, and how sure they are (h, w), 0..1; `here` is what `remember` gave of the frame."""


@dataclass(frozen=True)
class Carried:
    """A frame's masks at the chain's size.

    Attributes:
        masks: (C, h, w) float16, 0..1.
        sure: (h, w) float16, 0..1.
        to_key: (h, w, 2) float16, pixels, to the key.
        same: (h, w) float16, 0..1: 1 where the picture is as at the key, moved.
    """

    masks: NDArray[np.float16]
    sure: NDArray[np.float16]
    to_key: NDArray[np.float16]
    same: NDArray[np.float16]


class Chain:
    """From one key in one direction; safe to ask from several threads."""

    def __init__(
        self,
        key: int,
        masks: Image,
        pictures: Mapping[int, Image],
        targets: Iterable[int],
        decider: Decider,
        parallel: Callable[..., Iterable[tuple[Image, Image]]],
        estimate: Estimate,
    ) -> None:
        """Reads nothing yet.

        Args:
            key: its frame.
            masks: (C, h, w) float32, 0..1, of the key, at the chain's size.
            pictures: (H, W, 3) of key, targets and what is between.
            targets: the frames that will be asked for, all on one side of the key.
            decider: where the objects are.
            parallel: like `map`.
            estimate: of the motion between two frames.
        """
        self._key, self._masks, self._pictures = key, masks, pictures
        self._wanted, self._decider, self._parallel, self._estimate = set(targets), decider, parallel, estimate
        self._last = max(self._wanted, key=lambda frame: abs(frame - key))
        self._way = 1 if self._last > key else -1
        self._compete = bool((masks.sum(axis=0) <= 1 + 1e-3).all())
        self._lock, self._done = threading.Lock(), dict[int, Carried]()
        self._steps: Iterator[tuple[int, Carried]] | None = None

    def at(self, frame: int) -> Carried:
        """The masks at a frame."""
        with self._lock:
            if frame not in self._wanted:
                raise KeyError(f"frame {frame}: expected one of the targets {sorted(self._wanted)}")
            while frame not in self._done:
                if self._steps is None:
                    # OpenCV's own threads would split DIS into stripes, and the result would depend on how many
                    cv2.setNumThreads(1)
                    self._steps = self._walk()
                number, carried = next(self._steps)
                if number in self._wanted:
                    self._done[number] = carried
            return self._done[frame]

    def _walk(self) -> Iterator[tuple[int, Carried]]:
        size = (self._masks.shape[1], self._masks.shape[2])
        key = before = Frame.of(self._pictures[self._key], size)
        kept_key = kept = self._decider.remember(key)
        models = [KeyColors.of(key.colors, mask) for mask in self._masks]
        masks, total = self._masks, np.zeros((*size, 2), np.float32)
        for first in range(self._key + self._way, self._last + self._way, self._way * _AHEAD):
            numbers = range(first, self._last + self._way, self._way)[:_AHEAD]
            frames = [before, *(Frame.of(self._pictures[number], size) for number in numbers)]
            steps = self._parallel(self._both_ways, list(zip(frames[1:], frames[:-1], strict=True)))
            for number, frame, (back, there) in zip(numbers, frames[1:], steps, strict=True):
                total = back if number == self._key + self._way else chain(back, total)
                direct = total if number == self._key + self._way else self._estimate(frame.grey, key.grey, total)
                key_change = change(frame.rgb, warp(key.rgb, direct))
                carried = np.stack([warp(mask, direct) for mask in self._masks])
                shared = (consistency(Route(back, there)), change(frame.rgb, warp(before.rgb, back)), key_change)
                known = np.stack(
                    [
                        known_planes(frame.rgb, mask, *shared, model.likelihood(frame.colors))
                        for mask, model in zip(carried, models, strict=True)
                    ]
                )
                moved = np.stack([warp(mask, back) for mask in masks])
                memory = None if kept is None or kept_key is None else (kept, kept_key)
                kept_here = self._decider.remember(frame)
                sight = Sight(frame, before, key, moved, masks, self._masks, known, back, memory)
                decided, sure = self._decider.decide(sight, kept_here)
                rest = _at_rest(direct, key_change)
                decided = decided + rest * (carried - decided)
                if self._compete:
                    decided = decided / np.maximum(decided.sum(axis=0), 1)
                out = Carried(
                    decided.astype(np.float16),
                    (sure + rest * (1 - sure)).astype(np.float16),
                    direct.astype(np.float16),
                    (1 - np.minimum(3 * key_change, 1)).astype(np.float16),
                )
                # what goes on is what comes out, to the bit
                masks, before, kept = out.masks.astype(np.float32), frame, kept_here
                yield number, out

    def _both_ways(self, pair: tuple[Frame, Frame]) -> tuple[Image, Image]:
        here, before = pair
        return self._estimate(here.grey, before.grey, None), self._estimate(before.grey, here.grey, None)


def _at_rest(to_key: Image, key_change: Image) -> Image:
    """(h, w), 1 where nothing has moved or changed since the key."""
    moved = np.square(to_key).sum(axis=2) / np.square(_REST_MOTION)
    return np.asarray(np.exp(-moved) * np.maximum(1 - key_change / _REST_CHANGE, 0), np.float32)
