"""All scores of one call: means over clips, gains, confidence, style."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from stpn.engine.evaluation.color import FrameScore, Score
from stpn.engine.evaluation.confidence import Reliability
from stpn.engine.evaluation.numbers import mean_of_known

LEAST_SURE = (0.10, 0.25)
"""Shares of the pixels whose error is reported."""


@dataclass(frozen=True)
class Gain:
    """A method against a baseline.

    Attributes:
        mean: dB of PSNR, over clips.
        least: dB of the clip that gains least.
        clip: which that is.
    """

    mean: float
    least: float
    clip: str


@dataclass(frozen=True)
class Trust:
    """How well confidence tells errors; None where nothing errs, or all does.

    Attributes:
        auc: mean over clips.
        auc_pooled: over the pixels of all clips together.
        clips: how many clips have an AUC.
        shares: of the squared RGB error in the least sure pixels, for each of `LEAST_SURE`; mean over clips.
        pooled: all clips together.
    """

    auc: float | None
    auc_pooled: float | None
    clips: int
    shares: tuple[float | None, ...]
    pooled: Reliability


class Summary:
    """Scores by clip, interval and method.

    Attributes:
        clips, intervals, labels: in the order of the call.
    """

    def __init__(self, scores: Iterable[Score], clips: Sequence[str], labels: Sequence[str]) -> None:
        self._scores = {(score.clip, score.interval, score.label): score for score in scores}
        self.clips, self.labels = clips, labels
        self.intervals = sorted({interval for _, interval, _ in self._scores})

    def score(self, clip: str, interval: int, label: str) -> Score:
        """One method on one clip."""
        return self._scores[clip, interval, label]

    def scores(self, interval: int, label: str) -> list[Score]:
        """One method on all clips."""
        return [self._scores[clip, interval, label] for clip in self.clips]

    def psnr(self, interval: int, label: str) -> float:
        """dB, mean over clips."""
        return float(np.mean([score.psnr for score in self.scores(interval, label)]))

    def rmse(self, interval: int, label: str) -> float:
        """0..255, mean over clips."""
        return float(np.mean([score.rmse for score in self.scores(interval, label)]))

    def gain(self, interval: int, label: str, baseline: str) -> Gain:
        """A method over a baseline."""
        pairs = zip(self.scores(interval, label), self.scores(interval, baseline), strict=True)
        gains = [(own.psnr - other.psnr, own.clip) for own, other in pairs]
        return Gain(float(np.mean([gain for gain, _ in gains])), *min(gains))

    def decay(self, interval: int, label: str) -> dict[int, float]:
        """PSNR in dB by distance from the nearest key: mean over a clip's frames, then over the clips that have it."""
        by_clip: dict[int, list[float]] = {}
        for score in self.scores(interval, label):
            for distance in sorted({frame.distance for frame in score.frames}):
                values = [frame.psnr for frame in score.frames if frame.distance == distance]
                by_clip.setdefault(distance, []).append(float(np.mean(values)))
        return {distance: float(np.mean(by_clip[distance])) for distance in sorted(by_clip)}

    def trust(self, interval: int, label: str) -> Trust | None:
        """What a method's confidence is worth; None where it gives none."""
        parts = [score.reliability for score in self.scores(interval, label) if score.reliability is not None]
        if not parts:
            return None
        areas = [area for part in parts if (area := part.auc()) is not None]
        shares = tuple(mean_of_known(part.share_of_error(least) for part in parts) for least in LEAST_SURE)
        pooled = Reliability.pooled(parts)
        return Trust(mean_of_known(areas), pooled.auc(), len(areas), shares, pooled)

    def style(self, interval: int, label: str, truth: bool = False) -> tuple[float | None, float | None]:
        """Energy and loss of `Style`, mean over frames, then clips; of the true color where `truth` is set."""

        def of(frame: FrameScore) -> tuple[float, float] | None:
            found = frame.true_style if truth else frame.style
            return (found.energy, found.loss) if found is not None else None

        clips = [[pair for frame in score.frames if (pair := of(frame))] for score in self.scores(interval, label)]
        means = [np.mean(pairs, axis=0) for pairs in clips if pairs]
        return (float(np.mean([m[0] for m in means])), float(np.mean([m[1] for m in means]))) if means else (None, None)

    def orthogonality(self, interval: int, label: str) -> tuple[float, float] | None:
        """`gram` and `inverse` of `Orthogonality`, mean over clips; None where the method has no such network."""
        found = [score.orthogonality for score in self.scores(interval, label) if score.orthogonality is not None]
        if not found:
            return None
        return float(np.mean([o.gram for o in found])), float(np.mean([o.inverse for o in found]))

    def report(self, baselines: Sequence[str]) -> dict[str, Any]:
        """Everything as plain lists, objects and numbers, for JSON."""
        return {
            "property": "color",
            "clips": list(self.clips),
            "mean": self._table(lambda k, m: {"psnr": self.psnr(k, m), "rmse": self.rmse(k, m)}),
            "gain": self._table(
                lambda k, m: {b: asdict(self.gain(k, m, b)) for b in baselines if b != m and m not in baselines}
            ),
            "confidence": self._table(self._confidence),
            "style": self._table(self._style),
            "decay": self._table(lambda k, m: {str(distance): value for distance, value in self.decay(k, m).items()}),
            "by_clip": {clip: self._table(lambda k, m, clip=clip: self._clip(clip, k, m)) for clip in self.clips},
        }

    def _table(self, cell: Any) -> dict[str, dict[str, Any]]:
        rows = {str(k): {label: cell(k, label) for label in self.labels} for k in self.intervals}
        return {k: {label: value for label, value in row.items() if value} for k, row in rows.items()}

    def _confidence(self, interval: int, label: str) -> dict[str, Any] | None:
        trust = self.trust(interval, label)
        if trust is None:
            return None
        shares = {f"error_in_least_sure_{100 * x:.0f}%": y for x, y in zip(LEAST_SURE, trust.shares, strict=True)}
        return {
            "auc": trust.auc, "auc_pooled": trust.auc_pooled, "clips_with_auc": trust.clips, **shares,
            "monotone": trust.pooled.is_monotone(), "calibration": [asdict(b) for b in trust.pooled.calibration()],
        }  # fmt: skip

    def _style(self, interval: int, label: str) -> dict[str, Any]:
        energy, loss = self.style(interval, label)
        true_energy, true_loss = self.style(interval, label, truth=True)
        gram, inverse = self.orthogonality(interval, label) or (None, None)
        return {
            "energy": energy, "loss": loss, "true_energy": true_energy, "true_loss": true_loss,
            "gram_minus_identity": gram, "switched_minus_identity": inverse,
        }  # fmt: skip

    def _clip(self, clip: str, interval: int, label: str) -> dict[str, Any]:
        score = self.score(clip, interval, label)
        trusted: dict[str, Any] = {}
        if score.reliability is not None:
            trusted["auc"] = score.reliability.auc()
            for least in LEAST_SURE:
                trusted[f"error_in_least_sure_{100 * least:.0f}%"] = score.reliability.share_of_error(least)
        frames = [{"frame": f.frame, "distance": f.distance, "psnr": f.psnr, "rmse": f.rmse} for f in score.frames]
        return {"psnr": score.psnr, "rmse": score.rmse, **trusted, "frames": frames}
