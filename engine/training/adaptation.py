"""Fine-tuning the network of `--method aligned` on a shot's own keys, checked on keys held aside.

Every key that has a neighbour on both sides is predicted from its neighbours. Some of these keys are learned from, the
others are held aside, and what was learned is kept only where it carries to the keys held aside better than before.
What is kept is exactly what was checked.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from stpn.engine.aligned_network import AlignedFusion
from stpn.engine.alignment import Image
from stpn.engine.device import fast_bfloat16
from stpn.engine.observation import collate, inputs
from stpn.engine.training.adaptation_material import (
    Exam,
    Lesson,
    Motion,
    Triple,
    checkerboard,
    seen_along,
    shown_factor,
)
from stpn.engine.training.aligned_data import LONELY
from stpn.engine.training.aligned_loss import aligned_loss

# every third key is held aside, from the second on
_THIRD = 3
# bytes a pixel of a lesson (half floats, at the network's resolution) and of an exam (two routes a key, three pictures)
_LESSON_BYTES, _EXAM_BYTES = 120, 100
# steps whose time tells how many there will be; the first compiles and is not counted
_MEASURED = 5
# the learning rate rises over more steps than are measured, so that these do not depend on how many there will be
_WARM_UP = 10
_MOST_STEPS = 100_000


class Stopped(Exception):
    """Somebody asked to stop."""


@dataclass(frozen=True)
class Amount:
    """How long to train, one of the two.

    Attributes:
        steps: so many.
        seconds: as many steps as fit by the time of the first ones: another number on another machine, and so other
            weights, while the same number of steps gives the same weights on the same machine with as many threads.
    """

    steps: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.seconds is None):
            raise ValueError("expected steps or seconds, one of the two")


@dataclass(frozen=True)
class Settings:
    """How to train.

    Attributes:
        learning_rate: of AdamW, at its height.
        crop: height and width at most, as the network sees a picture; a multiple of 16.
        most_bytes: memory at most for what is learned from, and for what is held aside; at least one key is taken.
    """

    learning_rate: float = 2e-4
    weight_decay: float = 1e-4
    clip: float = 1.0
    batch: int = 4
    crop: int = 192
    seed: int = 0
    most_bytes: int = 3 * 2**29


@dataclass(frozen=True)
class Division:
    """Which keys are learned from and which are held aside; the same single key in both: parts of its picture."""

    learned: tuple[int, ...]
    aside: tuple[int, ...]

    @property
    def frames(self) -> tuple[int, ...]:
        """All of them, ascending."""
        return tuple(sorted({*self.learned, *self.aside}))


@dataclass(frozen=True)
class Moment:
    """Where an adaptation stands, for whoever watches.

    Attributes:
        what: "motion" (of the keys), "learning" (steps) or "checking" (keys held aside).
        done, total: how many of those; total 0: not known yet.
        loss: of the last step.
        seconds_left: of the learning.
    """

    what: str
    done: int
    total: int
    loss: float | None = None
    seconds_left: float | None = None


@dataclass(frozen=True)
class Adapted:
    """What came out.

    Attributes:
        network: to render with: the adapted one where `kept`, else the one that was given, bit for bit.
        kept: whether the keys held aside are carried to better than before.
        steps: that were trained.
        before, after: PSNR of ab (dB, against 100) of each key held aside.
    """

    network: AlignedFusion
    kept: bool
    steps: int
    before: Mapping[int, float] = field(default_factory=dict)
    after: Mapping[int, float] = field(default_factory=dict)


def divide(
    keys: Sequence[int], height: int, width: int, settings: Settings = Settings(), *, reduced: bool = False
) -> Division:
    """Divides the keys that have neighbours, ascending, into those to learn from and those to hold aside.

    Every third is held aside, at least one. A single key is divided itself, in a checkerboard, which says less about
    the rest of the shot. Where memory does not hold all, those that are taken are spread evenly.

    Args:
        keys: their frames.
        height, width: of what is looked at.
        settings: how much memory there is.
        reduced: as in `stpn.engine.training.adaptation_material.Triple`.

    Raises:
        ValueError: no keys, or a single one too small to be divided.
    """
    if not keys:
        raise ValueError("expected a key with a neighbour on both sides, got none")
    if len(keys) == 1:
        checkerboard(height, width, reduced=reduced)
        return Division(tuple(keys), tuple(keys))
    aside = keys[1::_THIRD]
    learned = [key for key in keys if key not in set(aside)]
    pixels = height * width
    small = pixels // shown_factor(height, width, reduced=reduced) ** 2
    return Division(
        _spread_out(learned, settings.most_bytes // (small * _LESSON_BYTES)),
        _spread_out(aside, settings.most_bytes // (pixels * _EXAM_BYTES)),
    )


def adapt(
    network: AlignedFusion,
    triples: Iterable[Triple],
    division: Division,
    amount: Amount,
    *,
    settings: Settings = Settings(),
    parallel: Callable[..., Iterable[Image]] = map,
    report: Callable[[Moment], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> Adapted:
    """Learns from some keys and is judged by the others.

    Args:
        network: to start from; it is not changed.
        triples: of the division's frames, in that order; one at a time is looked at.
        division: see `divide`.
        amount: how long to train. Motion and the check come on top.
        settings: how to train.
        parallel: like `map`, or a pool's: what estimates motion.
        report: called as it goes on.
        stop: asked between steps and keys.

    Raises:
        Stopped: `stop` said so.
    """
    lessons, exams = _material(triples, division, parallel, report, stop)
    before = _judged(network, exams, 0, report, stop)
    tuned, steps = _tuned(network, lessons, amount, settings, report, stop)
    after = _judged(tuned, exams, len(exams), report, stop)
    # a comparison with what is no number is false
    kept = sum(after.values()) > sum(before.values())
    return Adapted(tuned if kept else network, kept, steps, before, after)


def _material(
    triples: Iterable[Triple],
    division: Division,
    parallel: Callable[..., Iterable[Image]],
    report: Callable[[Moment], None],
    stop: Callable[[], bool],
) -> tuple[list[Lesson], list[Exam]]:
    motion, lessons, exams = Motion(parallel), [], []
    for triple in triples:
        _heed(stop)
        report(Moment("motion", division.frames.index(triple.frame), len(division.frames)))
        routes = motion.routes(triple)
        learned, aside = (triple.frame in frames for frames in (division.learned, division.aside))
        shape = triple.lightness[triple.frame].shape
        cells, counted = checkerboard(*shape, reduced=triple.reduced) if learned and aside else ([], None)
        if aside:
            exams.append(Exam(triple, routes, counted))
        if learned:
            lessons.append(Lesson(triple, seen_along(triple, routes), cells=cells))
        del triple, routes  # before the next is read
    return lessons, exams


def _judged(
    network: AlignedFusion, exams: list[Exam], done: int, report: Callable[[Moment], None], stop: Callable[[], bool]
) -> dict[int, float]:
    found = {}
    for index, exam in enumerate(exams):
        _heed(stop)
        report(Moment("checking", done + index, 2 * len(exams)))
        found[exam.frame] = exam.decibels(network)
    return found


def _tuned(
    network: AlignedFusion,
    lessons: list[Lesson],
    amount: Amount,
    settings: Settings,
    report: Callable[[Moment], None],
    stop: Callable[[], bool],
) -> tuple[AlignedFusion, int]:
    tuned = copy.deepcopy(network).train().requires_grad_(True)
    tuned.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(tuned.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    total, began, step = amount.steps, time.monotonic(), 0
    first = began
    while total is None or step < total:
        _heed(stop)
        rate = _rate(step, total)
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * rate
        loss = _step(tuned, lessons, optimizer, settings, step)
        step += 1
        now = time.monotonic()
        if step == 1:
            first = now
        if total is None and step == _MEASURED:
            assert amount.seconds is not None
            each = (now - first) / (_MEASURED - 1)
            total = min(max(int(amount.seconds / each), _MEASURED), _MOST_STEPS)
        left = None if total is None else (total - step) * (now - began) / step
        report(Moment("learning", step, total or 0, loss, left))
    # as a file would hold it
    out = AlignedFusion(network.config)
    out.load_state_dict({name: value.contiguous() for name, value in tuned.state_dict().items()})
    return out.eval(), step


def _step(
    network: AlignedFusion, lessons: list[Lesson], optimizer: torch.optim.Optimizer, settings: Settings, step: int
) -> float:
    """One step; sample i of it follows from (seed, step, i). A step whose loss is no number changes nothing."""
    crops = []
    for i in range(settings.batch):
        rng = np.random.default_rng([settings.seed, step, i])
        crops.append(lessons[rng.integers(len(lessons))].crop(rng, settings.crop, LONELY))
    batch = collate(crops)
    seen = inputs(batch)
    with torch.autocast("cpu", torch.bfloat16, enabled=fast_bfloat16()):
        loss, _ = aligned_loss(seen, network(seen), batch["truth"])
    value = loss.item()
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    norm = torch.nn.utils.clip_grad_norm_(network.parameters(), settings.clip)
    if math.isfinite(value) and bool(torch.isfinite(norm)):
        optimizer.step()
    return value


def _rate(step: int, total: int | None) -> float:
    """The share of the learning rate at a step, counted from 0: a short rise, then half a cosine."""
    if step < _WARM_UP or total is None:
        return min(step + 1, _WARM_UP) / _WARM_UP
    return 0.5 + 0.5 * math.cos(math.pi * (step - _WARM_UP) / max(total - _WARM_UP, 1))


def _spread_out(frames: Sequence[int], most: int) -> tuple[int, ...]:
    """At most so many, but one, evenly."""
    count = min(len(frames), max(most, 1))
    return tuple(frames[int((index + 0.5) * len(frames) / count)] for index in range(count))


def _heed(stop: Callable[[], bool]) -> None:
    if stop():
        raise Stopped
