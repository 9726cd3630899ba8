"""The protocol of HDR, the paper's Table 3, on shots in panoramas, with and without blending."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from stpn.engine.carriers import Key
from stpn.engine.evaluation.baselines import Baseline
from stpn.engine.evaluation.clips import Source
from stpn.engine.evaluation.methods import METHODS as METHODS
from stpn.engine.evaluation.methods import Method, RememberedMotion, network
from stpn.engine.evaluation.methods import parse_method as parse
from stpn.engine.evaluation.metrics import LOG_EPSILON, hdr_errors, log_radiance
from stpn.engine.evaluation.numbers import Numbers, Plan, mean_of_known
from stpn.engine.evaluation.panorama import HdrShot, inverse_camera, shot_in
from stpn.engine.evaluation.spans import Span, spans
from stpn.engine.properties.hdr import HdrCarrier

Image = NDArray[np.float32]
Reader = Callable[[Path], Image]
"""Gives the panorama of a path: (H, W, 3) float32 RGB, equirectangular, scene-linear."""

BASELINES = ("copy", "flow_one", "flow_both")
METRICS = {
    "log_rmse": ("RMSE of ln(H + 0.01), all pixels", ".4f"),
    "log_rmse_clipped": ("RMSE of ln(H + 0.01), clipped pixels", ".4f"),
    "pu21_psnr": ("PU21-PSNR (dB)", ".2f"),
    "change_at_keys": ("change of the error from a frame to the next, in areas, at keys", ".4f"),
    "change_between": ("the same between keys", ".4f"),
}
# flicker is seen in areas, noise is not
_AREA = 16


@dataclass(frozen=True)
class Job:
    """One panorama at one interval.

    Attributes:
        source: the panorama.
        interval: frames from key to key, 2 or more.
        methods: to be measured.
        baselines: among `BASELINES`.
        read: reads it.
    """

    source: Source
    interval: int
    methods: Sequence[Method]
    baselines: Sequence[str]
    read: Reader


def plan(
    sources: Sequence[Source],
    intervals: Sequence[int],
    methods: Sequence[Method],
    baselines: Sequence[str],
    read: Reader,
) -> Plan[Job]:
    """All panoramas at all intervals.

    Measured are each method and each baseline, as they are and with blending, and `inverse`: the camera's true curve,
    inverted. It, and the blending of baselines, are told that curve; the methods find it in the keys.
    """
    carried = [*(method.label for method in methods), *baselines]
    labels = (*carried, "inverse", *(f"{name}+blend" for name in carried))
    jobs = {f"K={k}": [Job(source, k, methods, baselines, read) for source in sources] for k in intervals}
    return Plan(jobs, labels, METRICS)


def parse_method(text: str) -> Method:
    """Reads `aligned`, `flow`, `stpn`, or `LABEL=FILE` with weights that were trained for HDR.

    Raises:
        MethodError: no such method, or its weights cannot be used.
    """
    return parse(text, "hdr", (*BASELINES, "inverse"))


def measure(job: Job) -> Numbers:
    """Of all that is measured each of `METRICS`, mean over frames; of clipped pixels over the frames that have such.

    The first three are there at each distance from the nearest key too, as METRIC@DISTANCE.
    """
    shot = shot_in(job.read(job.source.path))
    return score(
        shot, job.interval, (one for span in spans(len(shot.scene), job.interval) for one in _carried(job, shot, span))
    )


def score(shot: HdrShot, interval: int, made: Iterable[tuple[int, Mapping[str, Image]]]) -> Numbers:
    """The numbers of what was made of a shot; see `measure`.

    Args:
        shot: what is there.
        interval: frames from key to key.
        made: each target frame and radiances (H, W, 3) by label.
    """
    errors: dict[str, dict[str, list[float | None]]] = {}
    areas: dict[str, dict[int, Image]] = {}
    nearest = {frame: span.nearest(frame) for span in spans(len(shot.scene), interval) for frame in span.targets}
    for frame, radiances in made:
        for label, radiance in radiances.items():
            found = errors.setdefault(label, {})
            for metric, error in hdr_errors(radiance, shot.scene[frame], shot.ldr[frame]).items():
                found.setdefault(metric, []).append(error)
                found.setdefault(f"{metric}@{abs(nearest[frame] - frame)}", []).append(error)
            off = log_radiance(radiance) - log_radiance(shot.scene[frame])
            areas.setdefault(label, {})[frame] = _in_areas(off)
    return {
        label: {metric: mean_of_known(values) for metric, values in found.items()}
        | _flicker(areas[label], len(shot.scene), interval)
        for label, found in errors.items()
    }


def _carried(job: Job, shot: HdrShot, span: Span) -> Iterator[tuple[int, dict[str, Image]]]:
    """Each target frame and what everything that is measured makes of it: radiance (H, W, 3)."""
    keys = [Key(key, log_radiance(shot.scene[key])) for key in span.keys]
    seen = {
        frame: cv2.cvtColor(shot.ldr[frame], cv2.COLOR_RGB2GRAY).astype(np.float32) / np.float32(2.55)
        for frame in span.reach
    }
    made = {name: Baseline(name, keys, seen) for name in job.baselines}
    carriers = _carriers(job.methods, shot, span)
    for frame in span.targets:
        inverse = log_radiance(inverse_camera(shot.ldr[frame] / np.float32(255)))
        values = {"inverse": inverse}
        for name, baseline in made.items():
            values[name] = baseline.carry(frame)
            values[f"{name}+blend"] = blended(values[name], inverse, shot.ldr[frame])
        radiances = {label: np.exp(value) - np.float32(LOG_EPSILON) for label, value in values.items()}
        for label, carrier in carriers.items():
            carried, _ = carrier.propagated(frame)
            radiances[label] = carrier.response.from_log(carried)
            radiances[f"{label}+blend"] = carrier.joined(frame, carried)
        yield frame, radiances


def _in_areas(off: Image) -> Image:
    """Means over areas."""
    size = (-(-off.shape[1] // _AREA), -(-off.shape[0] // _AREA))
    return np.asarray(cv2.resize(off, size, interpolation=cv2.INTER_AREA), np.float32)


def _flicker(areas: Mapping[int, Image], frames: int, interval: int) -> dict[str, float | None]:
    """How much the error changes from a key to the frames beside it, and between other frames: RMS in ln(H + 0.01)."""
    nothing = np.zeros_like(next(iter(areas.values())))
    at_keys: list[float] = []
    between: list[float] = []
    for frame in range(1, frames):
        change = areas.get(frame, nothing) - areas.get(frame - 1, nothing)
        (at_keys if frame % interval in (0, 1) else between).append(float(np.mean(change**2)))
    both = {"change_at_keys": at_keys, "change_between": between}
    return {name: float(np.sqrt(np.mean(changes))) if changes else None for name, changes in both.items()}


def _carriers(methods: Sequence[Method], shot: HdrShot, span: Span) -> dict[str, HdrCarrier]:
    """One a method; they share what they ask motion for."""
    keys = [Key(key, shot.scene[key]) for key in span.keys]
    ldr = {frame: shot.ldr[frame] / np.float32(255) for frame in span.reach}
    motion = RememberedMotion()
    return {
        method.label: HdrCarrier(keys, ldr, span.targets, network(method, "hdr"), estimate=motion) for method in methods
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
