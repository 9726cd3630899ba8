"""The protocol of color, the paper's Table 2: keys every K frames, all others measured in 8-bit sRGB."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from stpn.engine.alignment import Estimate, estimate_flow
from stpn.engine.carriers import Key
from stpn.engine.evaluation.baselines import Baseline
from stpn.engine.evaluation.clips import ClipError, Picture, Source, read_frames
from stpn.engine.evaluation.confidence import Reliability
from stpn.engine.evaluation.methods import Method, RememberedMotion, carrier, network
from stpn.engine.evaluation.metrics import psnr, rmse
from stpn.engine.evaluation.spans import Span, spans
from stpn.engine.evaluation.style import Orthogonality, Style, orthogonality, style

if TYPE_CHECKING:
    from torch import Tensor

Image = NDArray[np.float32]


class ColorClip:
    """A clip whose true color is known.

    Attributes:
        name: what it goes by.
        frames: (T, H, W, 3) uint8 sRGB, the truth.
    """

    def __init__(self, name: str, frames: Picture) -> None:
        self.name = name
        self.frames = frames
        self._lab = [rgb_to_lab(frame.astype(np.float32) / np.float32(255)) for frame in frames]

    def __len__(self) -> int:
        return len(self.frames)

    def lightness(self, frame: int) -> Image:
        """CIE L* (H, W) float32, 0..100, of the true color: what a method sees of every frame."""
        return np.ascontiguousarray(self._lab[frame][..., 0])

    def ab(self, frame: int) -> Image:
        """a* and b* (H, W, 2) float32 of the true color: what a method sees of keys only."""
        return np.ascontiguousarray(self._lab[frame][..., 1:])

    def grey(self, frame: int) -> Image:
        """sRGB (H, W, 3) float32, about 0..1, of the lightness alone: the plate."""
        lab = np.dstack([self.lightness(frame), np.zeros_like(self.ab(frame))])
        return np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), np.float32)


@dataclass(frozen=True)
class Result:
    """What a method made of a frame.

    Attributes:
        frame: its number, from 0.
        picture: (H, W, 3) uint8 sRGB.
        ab: (H, W, 2) float32, a* and b*.
        confidence: (H, W) float32, 0..1; None where the method gives none.
    """

    frame: int
    picture: Picture
    ab: Image
    confidence: Image | None


@dataclass(frozen=True)
class FrameScore:
    """One frame.

    Attributes:
        frame: its number, from 0.
        distance: frames to the nearest key.
        rmse: 0..255, over pixels and channels of 8-bit sRGB.
        style: of its ab against the nearest key's; None where the key has no color.
        true_style: the same of the true color.
    """

    frame: int
    distance: int
    rmse: float
    style: Style | None
    true_style: Style | None

    @property
    def psnr(self) -> float:
        """dB."""
        return psnr(self.rmse)


@dataclass(frozen=True, order=True)
class Shown:
    """A frame to look at, ordered by its error.

    Attributes:
        rmse: 0..255.
        clip, frame: which.
        truth, result: (H, W, 3) uint8 sRGB.
        confidence: (H, W) float32; None where there is none.
    """

    rmse: float
    clip: str
    frame: int
    truth: Picture = field(compare=False)
    result: Picture = field(compare=False)
    confidence: Image | None = field(compare=False)


@dataclass(frozen=True)
class Score:
    """One method on one clip at one interval.

    Attributes:
        clip, interval, label: which.
        frames: every measured frame, ascending.
        reliability: of its confidence; None where it gives none.
        worst: the worst frames, no two of one span, the worst first.
        orthogonality: of its network; None where it has none.
    """

    clip: str
    interval: int
    label: str
    frames: tuple[FrameScore, ...]
    reliability: Reliability | None = None
    worst: tuple[Shown, ...] = ()
    orthogonality: Orthogonality | None = None

    @cached_property
    def psnr(self) -> float:
        """dB, the mean of the frames'."""
        return float(np.mean([frame.psnr for frame in self.frames]))

    @cached_property
    def rmse(self) -> float:
        """0..255, the mean of the frames'."""
        return float(np.mean([frame.rmse for frame in self.frames]))


@dataclass(frozen=True)
class Job:
    """One clip at one interval.

    Attributes:
        source: the clip.
        interval: frames from key to key, 2 or more.
        baselines: names.
        methods: what is measured.
        worst: how many pictures to keep of the first method.
        render: makes the results of a method, ascending; None: `carried`.
    """

    source: Source
    interval: int
    baselines: Sequence[str]
    methods: Sequence[Method]
    worst: int = 0
    render: Callable[[ColorClip, int, Method], Iterable[Result]] | None = None


def measure(job: Job) -> list[Score]:
    """Scores of the baselines, then of the methods.

    Raises:
        ClipError: the clip cannot be read, or has a single frame.
    """
    clip = ColorClip(job.source.name, read_frames(job.source.path))
    if len(clip) < 2:
        raise ClipError(f"{job.source.path}: expected 2 frames or more, got {len(clip)}: there is none to carry to")
    scores = [score(clip, job.interval, name, carried(clip, job.interval, name)) for name in job.baselines]
    render = job.render or partial(carried, estimate=RememberedMotion())
    for index, method in enumerate(job.methods):
        results = render(clip, job.interval, method)
        measured = _orthogonality(clip, job.interval, method)
        scores.append(score(clip, job.interval, method.label, results, 0 if index else job.worst, measured))
    return scores


def carried(
    clip: ColorClip, interval: int, method: Method | str, estimate: Estimate = estimate_flow
) -> Iterator[Result]:
    """Carries in memory, span by span.

    Args:
        clip: what.
        interval: frames from key to key.
        method: a method, or the name of a baseline.
        estimate: of the motion between two frames, for the methods.
    """
    for span in spans(len(clip), interval):
        lightness = {frame: clip.lightness(frame) for frame in span.reach}
        keys = [Key(key, clip.ab(key)) for key in span.keys]
        if isinstance(method, str):
            baseline = Baseline(method, keys, lightness)
            for frame in span.targets:
                ab = baseline.carry(frame)
                yield Result(frame, picture_of(lightness[frame], ab), ab, None)
        else:
            carry = carrier(method, keys, lightness, span.targets, estimate).carry
            for frame in span.targets:
                ab, confidence = carry(frame)
                yield Result(frame, picture_of(lightness[frame], ab), ab, confidence)


def score(
    clip: ColorClip,
    interval: int,
    label: str,
    results: Iterable[Result],
    worst: int = 0,
    measured: Orthogonality | None = None,
) -> Score:
    """Measures results against the truth.

    Args:
        clip: the truth.
        interval: frames from key to key.
        label: the method's name.
        results: of all frames that are no keys, ascending.
        worst: how many pictures to keep.
        measured: what is known of the method's network.
    """
    span_of = {frame: span for span in spans(len(clip), interval) for frame in span.targets}
    reliability: Reliability | None = None
    frames: list[FrameScore] = []
    worst_of: dict[Span, Shown] = {}
    for result in results:
        span, truth = span_of.pop(result.frame), clip.frames[result.frame]
        key = span.nearest(result.frame)
        key_ab, true_ab = clip.ab(key), clip.ab(result.frame)
        error = rmse(result.picture, truth)
        styles = (style(ab, key_ab) for ab in (result.ab, true_ab))
        frames.append(FrameScore(result.frame, abs(result.frame - key), error, *styles))
        if result.confidence is not None:
            reliability = reliability or Reliability()
            squared = np.square(result.picture.astype(np.float64) - truth).sum(axis=2)
            away = np.linalg.norm(result.ab - true_ab, axis=2)
            reliability.add(result.confidence, np.asarray(away, np.float32), squared)
        if worst and (span not in worst_of or worst_of[span].rmse < error):
            worst_of[span] = Shown(error, clip.name, result.frame, truth, result.picture, result.confidence)
    if span_of:
        raise ValueError(f"{label} on {clip.name}: expected a result of every frame but the keys, {len(span_of)} lack")
    return Score(
        clip.name, interval, label, tuple(frames), reliability,
        tuple(heapq.nlargest(worst, worst_of.values())), measured,
    )  # fmt: skip


def rgb_to_lab(rgb: Image) -> Image:
    """CIE Lab, D65, of sRGB in 0..1, (H, W, 3) float32."""
    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB), np.float32)


def picture_of(lightness: Image, ab: Image) -> Picture:
    """8-bit sRGB (H, W, 3) of lightness (H, W), 0..100, and ab (H, W, 2)."""
    rgb = cv2.cvtColor(np.dstack([lightness, ab]).astype(np.float32), cv2.COLOR_LAB2RGB)
    return np.asarray(np.clip(np.rint(rgb * 255), 0, 255), np.uint8)


def _orthogonality(clip: ColorClip, interval: int, method: Method) -> Orthogonality | None:
    """The mean over pairs of each key and the frame half an interval after it (or the last there is)."""
    if method.kind != "stpn":
        return None
    import torch

    paper: Any = network(method)

    def guide(frame: int) -> Tensor:
        return torch.from_numpy(np.clip(clip.lightness(frame), 0, 100) / np.float32(100) - np.float32(0.5))[None, None]

    with torch.inference_mode():
        found = [
            orthogonality(paper.gates(guide(span.keys[0]), guide(span.targets[(len(span.targets) - 1) // 2])))
            for span in spans(len(clip), interval)
        ]
    return Orthogonality(float(np.mean([o.gram for o in found])), float(np.mean([o.inverse for o in found])))
