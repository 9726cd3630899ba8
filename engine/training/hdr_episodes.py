"""Motion for training HDR, estimated once: shots in panoramas, two keys each, targets between them and the routes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from stpn.engine.alignment import Image
from stpn.engine.carriers import Key
from stpn.engine.fusion import fuse
from stpn.engine.properties.hdr import LogCarrier, blindness_of, lightness_of
from stpn.engine.properties.response import EPSILON
from stpn.engine.training.aligned_episodes import BLOCK, LONGEST, SHORTEST, packed
from stpn.engine.training.hdr_shots import SIZE, Shot, draw_shot

ROUTES = 3


@dataclass(frozen=True)
class HdrEpisodes:
    """One shot: frame 0 is the key before, 1 the key after, the others are targets between; all memory-mapped.

    Attributes:
        frames: (2 + N,) their numbers.
        scene: (2 + N, H, W, 3) float16 RGB, scene-linear, 1 = where the camera clips.
        shown: (2 + N, H, W, 3) float16: what the camera's inverse curve makes of its picture.
        ldr: (2 + N, H, W, 3) uint8: that picture.
        routes: (N, 2 * ROUTES, 2, H, W, 2) int16, as in `aligned_episodes`.
        error: (N, h, w) float32, the mean squared error of `flow` where the picture clips, over blocks.
    """

    frames: NDArray[np.int64]
    scene: NDArray[np.float16]
    shown: NDArray[np.float16]
    ldr: NDArray[np.uint8]
    routes: NDArray[np.int16]
    error: Image


def load_hdr_episodes(folder: Path) -> HdrEpisodes:
    """What `build_hdr_episodes` wrote."""
    names = ("frames", "scene", "shown", "ldr", "routes", "error")
    return HdrEpisodes(*(np.load(folder / f"{name}.npy", mmap_mode="r") for name in names))


def build_hdr_episodes(panoramas: list[Image], index: int, targets: int, seed: list[int], path: Path) -> None:
    """Draws a shot, estimates its motion and writes it to the folder `path`, which is there only when it is whole.

    Args:
        panoramas, index: as for `draw_shot`.
        targets: at most so many.
        seed: decides everything.
        path: a folder to be made.
    """
    rng = np.random.default_rng(seed)
    gap = int(rng.integers(SHORTEST, LONGEST + 1))
    shot = draw_shot(panoramas, index, gap + 1, rng)
    chosen = np.sort(rng.choice(np.arange(1, gap), min(targets, gap - 1), replace=False))
    frames = np.array([0, gap, *chosen])
    shown = _shown(shot)
    logs = np.log(shot.scene + EPSILON)
    lightness = {t: lightness_of(np.log(light + EPSILON)) for t, light in enumerate(shown)}
    clipped = {t: picture.max(axis=2) >= 250 for t, picture in enumerate(shot.ldr)}
    carrier = LogCarrier([Key(0, logs[0]), Key(gap, logs[gap])], lightness, clipped, [int(t) for t in chosen])
    part = path.with_suffix(".part")
    part.mkdir(parents=True, exist_ok=True)
    routes = np.zeros((len(chosen), 2 * ROUTES, 2, *SIZE, 2), np.int16)
    errors = []
    for row, target in enumerate(map(int, chosen)):
        ways = carrier.ways(target)
        for place, way in enumerate(way for key_ways in ways for way in key_ways):
            routes[row, place] = packed(way)
        candidates = carrier.candidates(target, ways)
        blend = fuse([one for each in candidates for one in each], lightness[target]).blend
        squared = ((blend - logs[target]) ** 2).sum(axis=2) * blindness_of(shot.ldr[target] / np.float32(255)).max(
            axis=2
        )
        size = (-(-SIZE[1] // BLOCK), -(-SIZE[0] // BLOCK))
        errors.append(cv2.resize(squared, size, interpolation=cv2.INTER_AREA))
    arrays = {
        "frames": frames, "scene": shot.scene[frames].astype(np.float16), "shown": shown[frames].astype(np.float16),
        "ldr": shot.ldr[frames], "routes": routes, "error": np.array(errors, np.float32),
    }  # fmt: skip
    for name, array in arrays.items():
        np.save(part / f"{name}.npy", array)
    os.replace(part, path)


def _shown(shot: Shot) -> Image:
    return np.asarray(shot.camera.inverse(shot.ldr.astype(np.float32) / np.float32(255)), np.float32)
