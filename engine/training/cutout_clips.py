"""Clips of moving cut-outs with their motion, made once and kept in the cache."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from stpn.engine.alignment import Image, Route, chain, consistency, estimate_flow
from stpn.engine.training.cutout_scenes import CutoutClip
from stpn.engine.training.cutouts import GROWTH, cutout_clip, training_part
from stpn.engine.training.data import DataFolders
from stpn.engine.training.decoding import Frames

FRAMES = 8


@dataclass(frozen=True)
class MovingCutout:
    """A clip and its motion; frame 0 is the key.

    Attributes:
        frames: (T, H, W, 3) uint8 BGR.
        mattes: (T, H, W) uint8, 255 = the object alone.
        back: (T - 1, H, W, 2) float16, pixels: flow from frame t + 1 to frame t.
        trust: (T - 1, H, W) uint8, 255 = going to frame t and back ends where it began.
        to_key: (T - 1, H, W, 2) float16, pixels: flow from frame t + 1 to the key.
    """

    frames: Frames
    mattes: Frames
    back: NDArray[np.float16]
    trust: NDArray[np.uint8]
    to_key: NDArray[np.float16]


def with_motion(clip: CutoutClip) -> MovingCutout:
    """Estimates the motion as a shot's is estimated: step by step, and from the steps' sum to the key."""
    grey = [cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) for frame in clip.frames]
    back: list[Image] = []
    trust: list[Image] = []
    to_key: list[Image] = []
    total: Image | None = None
    for before, here in pairwise(grey):
        route = Route(estimate_flow(here, before), estimate_flow(before, here))
        total = route.to_key if total is None else chain(route.to_key, total)
        direct = route.to_key if len(back) == 0 else estimate_flow(here, grey[0], total)
        back.append(route.to_key)
        trust.append(np.rint(255 * consistency(route)))
        to_key.append(direct)
    return MovingCutout(
        clip.frames,
        clip.mattes,
        np.stack(back).astype(np.float16),
        np.stack(trust).astype(np.uint8),
        np.stack(to_key).astype(np.float16),
    )


def load_cutouts(data: DataFolders, count: int, seed: int, growth: float = GROWTH) -> list[MovingCutout]:
    """So many clips, those that the cache lacks made first: about a second each and processor.

    Photographs that are held out are not among the material.

    Args:
        data: photographs, and clips to put behind.
        count: how many clips.
        seed: clip i follows from (seed, i).
        growth: as of `cutout_clip`.

    Raises:
        DataError: no photographs or no clips.
    """
    folder = data.cache / "cutouts" / f"{FRAMES}-seed{seed}{f'-growth{growth:g}' if growth != GROWTH else ''}"
    folder.mkdir(parents=True, exist_ok=True)
    photos, clips = data.paths("photos"), data.paths("clips")
    photos = [photos[index] for index in training_part([path.name for path in photos])]
    jobs = [index for index in range(count) if not (folder / f"{index:05d}").exists()]
    if jobs:
        processes = min(len(jobs), len(os.sched_getaffinity(0)))
        work = _Work(photos, clips, folder, seed, growth)
        with ProcessPoolExecutor(processes, get_context("spawn"), _prepare, (work,)) as pool:
            list(pool.map(_make, jobs, chunksize=4))
    return [_load(folder / f"{index:05d}") for index in range(count)]


@dataclass(frozen=True)
class _Work:
    """What every process of the pool is given once."""

    photos: Sequence[Path]
    clips: Sequence[Path]
    folder: Path
    seed: int
    growth: float


_work: list[_Work] = []


def _prepare(work: _Work) -> None:
    cv2.setNumThreads(1)
    _work.append(work)


def _make(index: int) -> None:
    work = _work[-1]
    photos, clips = ([np.load(path, mmap_mode="r") for path in paths] for paths in (work.photos, work.clips))
    rng = np.random.default_rng([work.seed, index])
    made = with_motion(cutout_clip(photos, clips, rng, FRAMES, growth=work.growth))
    _save(made, work.folder / f"{index:05d}")


def _save(made: MovingCutout, path: Path) -> None:
    """A folder of arrays, there whole or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.mkdir(exist_ok=True)
    for field in fields(made):
        np.save(part / f"{field.name}.npy", getattr(made, field.name))
    os.replace(part, path)


def _load(path: Path) -> MovingCutout:
    return MovingCutout(*(np.load(path / f"{field.name}.npy", mmap_mode="r") for field in fields(MovingCutout)))
