"""Which frames of a plate to paint next: reads the plate small, and says what each frame would give to the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from stpn.engine.cuts import SIDE as CUT_SIDE
from stpn.engine.cuts import Findings, cut_guide, search
from stpn.engine.expected_confidence import REACH, SIDE, Reach, expected_confidence
from stpn.engine.key_choice import Proposal, Prospect, propose
from stpn.ocio.plate import PlateError
from stpn.plugin.cut_search import small_luminance, what_was_found
from stpn.plugin.keys_request import DEFAULT_ADDED, Task
from stpn.plugin.properties.lightness import exposure, lightness

Image = NDArray[np.float32]
Guide8 = NDArray[np.uint8]

# pairs of a candidate and a frame that are looked at, about 1 ms each; above that not every frame is a candidate
_MOST_PAIRS = 15_000


class KeysError(Exception):
    """The work failed; the message says where and why."""


@dataclass(frozen=True)
class Advice:
    """What to paint next.

    Attributes:
        frames: the frames that were looked at.
        shots: the same, shot by shot.
        keys: those painted already, ascending.
        findings: cuts and flashes.
        step: one frame in so many could be proposed.
        confidence: (T,) float64, 0..1, to be expected with the keys there are.
        proposals: in the order to paint them.
        decisions: what was chosen and why, one line each, for people.
    """

    frames: range
    shots: tuple[range, ...]
    keys: tuple[int, ...]
    findings: Findings
    step: int
    confidence: NDArray[np.float64]
    proposals: tuple[Proposal, ...]
    decisions: tuple[str, ...]


def advise(task: Task, done: Callable[[int], None] = lambda frame: None) -> Advice:
    """Looks at the plate and chooses the frames to paint next.

    Args:
        task: as `check` found it right.
        done: called with every frame that was read.

    Raises:
        KeysError: a frame cannot be read.
    """
    cv2.setNumThreads(1)
    with ThreadPoolExecutor(task.threads, thread_name_prefix="stpn-keys") as pool, _cancelling(pool):
        small, guides = _read(task, pool, done)
        findings = search(task.frames, guides.get) if task.cuts is None else Findings(task.cuts, ())
        shots = _shots(task.frames, findings.cuts)
        step = _step(shots)
        odd = set(findings.flashes)
        candidates = [f for shot in shots for f in shot[min(step, len(shot)) // 2 :: step] if f not in odd]
        reaches: dict[int, Reach] = {}
        for shot in shots:
            light = _lightness(task, small, shot, findings.flashes)
            wanted = sorted({frame for frame in (*candidates, *task.keys) if frame in shot})
            for key, reach in expected_confidence(light, shot, wanted, pool.map):
                reaches[key] = reach
    prospect = Prospect(task.frames, reaches)
    count = _count(task, shots, len(candidates))
    proposals = propose(prospect, shots, task.keys, candidates, count, task.request.target)
    said = [*task.decisions, *what_was_found(findings, asked=task.request.cuts, looked=True)]
    if step > 1:
        said.append(f"proposals: one frame in {step} was looked at, because the plate is long")
    return Advice(
        task.frames, shots, task.keys, findings, step, prospect.curve(task.keys), tuple(proposals), tuple(said)
    )


def _read(
    task: Task, pool: ThreadPoolExecutor, done: Callable[[int], None]
) -> tuple[dict[int, Image], dict[int, Guide8]]:
    """Of every frame its small luminance, and the guide that cuts are told from."""

    def one(frame: int) -> tuple[Image, Guide8]:
        try:
            plate = task.plate.files.read(frame)
            return small_luminance(plate, task.plate, SIDE), cut_guide(small_luminance(plate, task.plate, CUT_SIDE))
        except PlateError as error:
            raise KeysError(f"frame {frame}: {error}") from error

    small, guides = {}, {}
    for frame, (luminance, guide) in zip(task.frames, pool.map(one, task.frames), strict=True):
        small[frame], guides[frame] = luminance, guide
        done(frame)
    return small, guides


def _lightness(task: Task, small: Mapping[int, Image], shot: range, flashes: Iterable[int]) -> dict[int, Image]:
    """Lightness of the frames of a shot, at an exposure that flashes have no part in."""
    odd = set(flashes)
    usual = [small[frame] for frame in shot if frame not in odd] or [small[frame] for frame in shot]
    factor = exposure(usual)
    return {frame: lightness(small[frame], factor, task.working) for frame in shot}


def _shots(frames: range, cuts: Iterable[int]) -> tuple[range, ...]:
    ends = [frames.start, *(cut for cut in cuts if frames.start < cut < frames.stop), frames.stop]
    return tuple(range(first, stop) for first, stop in pairwise(ends))


def _step(shots: Iterable[range]) -> int:
    """One frame in so many is a candidate, so that the work stays bounded."""
    pairs = sum(len(shot) * min(len(shot), 2 * REACH) for shot in shots)
    return -(-pairs // _MOST_PAIRS)


def _count(task: Task, shots: Iterable[range], candidates: int) -> int:
    """How many frames to propose at most: what was asked for, and one for each shot without a key."""
    bare = sum(not any(key in shot for key in task.keys) for shot in shots)
    asked = task.request.add
    if asked is None:
        asked = candidates if task.request.target is not None else DEFAULT_ADDED
    return max(asked, bare)


@contextmanager
def _cancelling(pool: ThreadPoolExecutor) -> Iterator[None]:
    """Where something goes wrong, what still waits is not begun."""
    try:
        yield
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
