"""Motion for training fusion, estimated once: episodes of two key frames, a target between them and the routes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from stpn.engine.alignment import Image, Route, refine
from stpn.engine.carriers import Key
from stpn.engine.fusion import candidate, fuse
from stpn.engine.routes import guide8, neighbour_steps, routes_from
from stpn.engine.training.data import Frames

# flows are kept as 16 bits: 1/64 pixel, up to 512 pixels
STEP = 64
# errors are kept as means over blocks, to draw crops from where there is something to learn
BLOCK = 32
SHORTEST, LONGEST = 6, 40


@dataclass(frozen=True)
class Episodes:
    """Episodes of one clip.

    Attributes:
        clip: (T, H, W, 3) uint8 BGR, memory-mapped.
        frames: (N, 3) int: before, target, after.
        routes: (N, 4, 2, H, W, 2) int16, memory-mapped: accumulated and direct of the key before, then after; to the
            key, to the target; in 1 / STEP pixels.
        error: (N, h, w) float32, the mean squared error of `flow`, ab, over blocks of BLOCK pixels.
    """

    clip: Frames
    frames: NDArray[np.int64]
    routes: NDArray[np.int16]
    error: NDArray[np.float32]


Row = tuple[int, int, int]


def draw_rows(frames: int, pairs: int, targets: int, rng: np.random.Generator) -> list[Row]:
    """Draws `pairs` pairs of keys in a clip and up to `targets` frames between each: (before, target, after)."""
    rows: list[Row] = []
    for _ in range(pairs):
        longest = min(LONGEST, frames - 1)
        gap = int(rng.integers(min(SHORTEST, longest), longest + 1))
        before = int(rng.integers(frames - gap))
        inside = np.arange(before + 1, before + gap)
        for target in sorted(rng.choice(inside, min(targets, len(inside)), replace=False)):
            rows.append((before, int(target), before + gap))
    return rows


def build_episodes(clip: Frames, rows: list[Row], path: Path) -> None:
    """Estimates the motion of every row and writes it to the folder `path`, which is there only when it is whole.

    Args:
        clip: (T, H, W, 3) uint8 BGR.
        rows: (before, target, after); rows of the same keys follow one another.
        path: a folder to be made.
    """
    lab = [lab_of(frame) for frame in clip]
    guides = {t: guide8(image[..., 0]) for t, image in enumerate(lab)}
    steps = neighbour_steps(guides)
    part = path.with_suffix(".part")
    part.mkdir(parents=True, exist_ok=True)
    height, width = clip.shape[1:3]
    routes = np.lib.format.open_memmap(
        part / "routes.npy", mode="w+", dtype=np.int16, shape=(len(rows), 4, 2, height, width, 2)
    )
    errors = []
    cache: dict[tuple[int, int], dict[int, Route]] = {}
    for index, (before, target, after) in enumerate(rows):
        if (before, after) not in cache:
            cache = {
                (before, after): {},
                (before, before): dict(routes_from(before, steps, after)),
                (after, after): dict(routes_from(after, steps, before)),
            }
        candidates = []
        for side, frame in enumerate((before, after)):
            accumulated = cache[frame, frame][target]
            direct = refine(accumulated, guides[target], guides[frame])
            key = Key(frame, lab[frame][..., 1:])
            for place, route in enumerate((accumulated, direct)):
                routes[index, 2 * side + place] = packed(route)
                light = lab[frame][..., 0], lab[target][..., 0]
                candidates.append(candidate(key.prop, *light, route, abs(target - frame)))
        value = fuse(candidates, lab[target][..., 0]).filled
        squared = ((value - lab[target][..., 1:]) ** 2).sum(axis=2)
        size = (-(-width // BLOCK), -(-height // BLOCK))
        errors.append(cv2.resize(squared, size, interpolation=cv2.INTER_AREA))
    routes.flush()
    np.save(part / "error.npy", np.array(errors, np.float32))
    np.save(part / "frames.npy", np.array(rows))
    os.replace(part, path)


def lab_of(frame: Frames) -> Image:
    """CIE Lab (H, W, 3) float32 of 8-bit BGR."""
    return np.asarray(cv2.cvtColor(frame.astype(np.float32) / 255, cv2.COLOR_BGR2LAB), np.float32)


def packed(route: Route) -> NDArray[np.int16]:
    """Both flows of a route as (2, H, W, 2) int16."""
    both = np.stack([route.to_key, route.to_target])
    return np.clip(np.rint(both * STEP), -32767, 32767).astype(np.int16)
