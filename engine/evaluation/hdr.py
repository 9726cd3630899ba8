"""The protocol of HDR, the paper's Table 3, on shots in panoramas: baselines, with and without blending."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from stpn.engine.carriers import Key
from stpn.engine.evaluation.baselines import Baseline
from stpn.engine.evaluation.clips import Source
from stpn.engine.evaluation.metrics import LOG_EPSILON, hdr_errors, log_radiance
from stpn.engine.evaluation.numbers import Numbers, Plan, mean_of_known
from stpn.engine.evaluation.panorama import inverse_camera, shot_in
from stpn.engine.evaluation.spans import spans

Image = NDArray[np.float32]
Reader = Callable[[Path], Image]
"""Gives the panorama of a path: (H, W, 3) float32 RGB, equirectangular, scene-linear."""

BASELINES = ("copy", "flow_one", "flow_both")
METRICS = {
    "log_rmse": ("RMSE of ln(H + 0.01), all pixels", ".4f"),
    "log_rmse_clipped": ("RMSE of ln(H + 0.01), clipped pixels", ".4f"),
    "pu21_psnr": ("PU21-PSNR (dB)", ".2f"),
}


@dataclass(frozen=True)
class Job:
    """One panorama at one interval.

    Attributes:
        source: the panorama.
        interval: frames from key to key, 2 or more.
        baselines: among `BASELINES`.
        read: reads it.
    """

    source: Source
    interval: int
    baselines: Sequence[str]
    read: Reader


def plan(sources: Sequence[Source], intervals: Sequence[int], baselines: Sequence[str], read: Reader) -> Plan[Job]:
    """All panoramas at all intervals.

    Measured are `inverse` (the camera's true curve, inverted), each baseline, and each with blending.
    """
    labels = ("inverse", *baselines, *(f"{name}+blend" for name in baselines))
    jobs = {f"K={k}": [Job(source, k, baselines, read) for source in sources] for k in intervals}
    return Plan(jobs, labels, METRICS)


def measure(job: Job) -> Numbers:
    """Of all that is measured each of `METRICS`, mean over frames; of clipped pixels over the frames that have such."""
    shot = shot_in(job.read(job.source.path))
    logs = [log_radiance(frame) for frame in shot.scene]
    lightness = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32) / np.float32(2.55) for frame in shot.ldr]
    rows: dict[str, list[dict[str, float | None]]] = {}
    for span in spans(len(logs), job.interval):
        keys = [Key(key, logs[key]) for key in span.keys]
        seen = {frame: lightness[frame] for frame in span.reach}
        made = {name: Baseline(name, keys, seen) for name in job.baselines}
        for frame in span.targets:
            inverse = log_radiance(inverse_camera(shot.ldr[frame] / np.float32(255)))
            values = {"inverse": inverse}
            for name, baseline in made.items():
                values[name] = baseline.carry(frame)
                values[f"{name}+blend"] = blended(values[name], inverse, shot.ldr[frame])
            for label, value in values.items():
                rows.setdefault(label, []).append(
                    hdr_errors(np.exp(value) - np.float32(LOG_EPSILON), shot.scene[frame], shot.ldr[frame])
                )
    return {
        label: {metric: mean_of_known(row[metric] for row in found) for metric in METRICS}
        for label, found in rows.items()
    }


def blended(carried: Image, inverse: Image, ldr: NDArray[np.uint8]) -> Image:
    """The camera's picture where it does not clip, what was carried where it does, never darker than the picture.

    Args:
        carried, inverse: (H, W, 3) float32, ln(H + 0.01).
        ldr: (H, W, 3) uint8.

    Source: Switchable Temporal Propagation Network, section 5.3; alpha from Eilertsen et al., HDR image reconstruction
    from a single exposure using deep CNNs, 2017, equation (2).
    """
    brightest = ldr.max(axis=2, keepdims=True) / np.float32(255)
    alpha = np.clip((brightest - np.float32(0.95)) / np.float32(0.05), 0, 1)
    return np.asarray((1 - alpha) * inverse + alpha * np.maximum(carried, inverse), np.float32)
