"""The protocol of soft mattes: how far mattes are from exact ones, on shots of cut-outs over real clips.

Each clip is the background of one shot. What moves before it is cut out of photographs that no recipe trains on, every
tenth by name; a seed decides the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path, PurePath

import cv2
import numpy as np

from stpn.engine.carriers import Key
from stpn.engine.evaluation.baselines import Baseline
from stpn.engine.evaluation.clips import ClipError, Source, read_frames
from stpn.engine.evaluation.displayed import Displayed
from stpn.engine.evaluation.mask_methods import METHODS, carrier
from stpn.engine.evaluation.mask_methods import parse_method as _parse_method
from stpn.engine.evaluation.methods import Method, RememberedMotion
from stpn.engine.evaluation.numbers import Numbers, Plan
from stpn.engine.training.cutout_scenes import CutoutClip, clip_behind, filmed, shutter_moments
from stpn.engine.training.cutouts import SIZE, held_out_part, random_layers
from stpn.engine.training.decoding import DecodingError, Frames, decode_tar, tar_names

__all__ = ["BASELINES", "COLUMNS", "METHODS", "METRICS", "Job", "measure", "parse_method", "plan", "shot"]

BASELINES = ("copy", "flow_one")
"""copy: the nearest key as it is. flow_one: the nearest key along one direct flow."""

METRICS = {
    "sad": ("SAD, sum of absolute differences (thousand pixels)", ".3f"),
    "sad_per_pixel": ("SAD a pixel (thousandths)", ".2f"),
}

COLUMNS: dict[str, int | None] = {"K=10": 10, "K=20": 20, "first frame": None}
"""Frames from key to key; None: the first frame is the only key."""

FRAMES = 21
_PACE = 0.5
_SEED = 2026


@dataclass(frozen=True)
class Job:
    """One shot at one interval.

    Attributes:
        source: the clip behind.
        number: of the shot; it decides what moves, with the seed.
        photos: the folder of tar files of photographs.
        interval: frames from key to key; None: one key.
        methods: of `parse_method`.
        baselines: among `BASELINES`.
    """

    source: Source
    number: int
    photos: Path
    interval: int | None
    methods: Sequence[Method]
    baselines: Sequence[str]


def parse_method(text: str) -> Method:
    """As `mask.parse_method`.

    Raises:
        MethodError: no such method, or its weights cannot be used.
    """
    return _parse_method(text, BASELINES)


def plan(sources: Sequence[Source], photos: Path, methods: Sequence[Method], baselines: Sequence[str]) -> Plan[Job]:
    """A shot a clip, each with keys every 10 and every 20 frames and with the first frame alone.

    Args:
        sources: clips of `clips.find_sources(..., "color")`, kept for measuring.
        photos: the folder of the tar files that training draws its photographs from.
        methods: of `parse_method`, labels unlike.
        baselines: among `BASELINES`.
    """
    jobs = {
        column: [Job(source, number, photos, interval, methods, baselines) for number, source in enumerate(sources)]
        for column, interval in COLUMNS.items()
    }
    return Plan(jobs, (*(method.label for method in methods), *baselines), METRICS)


def measure(job: Job) -> Numbers:
    """Of each method and baseline the difference from the true mattes, mean over the frames that are no keys.

    Raises:
        ClipError: no photographs, or the clip cannot be read.
    """
    made = shot(job.source, job.number, job.photos)
    frames = np.ascontiguousarray(made.frames[..., ::-1])
    truth = made.mattes / np.float32(255)
    keys = list(range(0, FRAMES, job.interval)) if job.interval else [0]
    targets = [frame for frame in range(FRAMES) if frame not in keys]
    motion = RememberedMotion()
    lightness = {
        number: cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) * np.float32(100 / 255) for number, frame in enumerate(frames)
    }
    numbers: Numbers = {}
    by_label: dict[str, Method | None] = {method.label: method for method in job.methods}
    for label, method in (by_label | dict.fromkeys(job.baselines)).items():
        apart: list[float] = []
        for span in _spans(keys):
            given = [Key(key, truth[key][..., None]) for key in span]
            inside = [target for target in targets if span[0] < target < (span[1] if len(span) > 1 else FRAMES)]
            if method is not None:
                carries = carrier(method, given, Displayed(frames), inside, motion)
                found = [carries.carry(target)[0] for target in inside]
            else:
                baseline = Baseline(label, given, lightness)
                found = [baseline.carry(target) for target in inside]
            apart += [float(np.abs(one[..., 0] - truth[t]).sum()) for one, t in zip(found, inside, strict=True)]
        total = float(np.mean(apart))
        numbers[label] = {"sad": total / 1000, "sad_per_pixel": 1000 * total / truth[0].size}
    return numbers


def shot(source: Source, number: int, photos: Path) -> CutoutClip:
    """The shot of a clip: 21 frames of 256 x 352 with exact mattes."""
    rng = np.random.default_rng([_SEED, number])
    moments = shutter_moments(FRAMES, rng)
    clip = np.ascontiguousarray(read_frames(source.path)[..., ::-1])
    layers = random_layers(_held_out(photos), moments, _PACE, rng, SIZE)
    return filmed(clip_behind(clip, moments, SIZE, 0, 1, 1.0), layers, moments, rng)


@lru_cache(maxsize=2)
def _held_out(folder: Path) -> tuple[Frames, ...]:
    """Photographs (H, W, 3) uint8 BGR that training leaves out, by name."""
    try:
        members = {PurePath(name).stem: (tar, name) for tar in sorted(folder.glob("*.tar")) for name in tar_names(tar)}
        names = sorted(members)
        wanted = [members[names[index]] for index in held_out_part(names)]
        found: dict[str, Frames] = {}
        for tar in {tar for tar, _ in wanted}:
            for name, picture in decode_tar(tar, {name for in_tar, name in wanted if in_tar == tar}):
                if not isinstance(picture, DecodingError):
                    found[PurePath(name).stem] = picture
    except (DecodingError, OSError) as error:
        raise ClipError(f"{folder}: expected tar files of photographs, got: {error}") from error
    if not found:
        raise ClipError(f"{folder}: expected tar files of photographs, found none")
    return tuple(found[name] for name in sorted(found))


def _spans(keys: Sequence[int]) -> list[tuple[int, ...]]:
    """The keys around each run of frames between."""
    return [(keys[0],)] if len(keys) == 1 else list(pairwise(keys))
