"""From what a property makes of a frame to what the host asked for: channels, matte and mix, pixel type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stpn.ocio.raster import normalized, quantized
from stpn.plugin.live_job import Job
from stpn.plugin.live_pictures import TYPES
from stpn.plugin.properties.interface import Result
from stpn.plugin.request import RequestError

Image = NDArray[np.float32]
Array = NDArray[Any]
Planes = dict[str, Array]


def output(
    job: Job, result: Result, confidence: Image | None, source: Mapping[str, Array], matte: Array | None
) -> Planes:
    """The planes that a job asked for, those that were made: (H, W) by name, in the type that is wanted.

    Args:
        job: the job.
        result: of its frame.
        confidence: (H, W) float32; None at a key frame, which is sure.
        source: planes of the Source at the frame.
        matte: the plane of the matte; None: there is none.

    Raises:
        RequestError: nothing that was made fits in the channels that are wanted.
    """
    kind, wanted = job.want
    if job.values["output"] == "confidence":
        shape = next(iter(source.values())).shape
        sure = np.ones(shape, np.float32) if confidence is None else confidence
        made: Planes = dict.fromkeys("A" if wanted == "A" else "RGB", sure)
    else:
        made = _fitted(dict(result.channels[result.part]), wanted)
    labels = job.values.get("mask_labels") == "1" and job.values["output"] == "result"
    mix = float(job.values["mix"])
    if mix < 1 or matte is not None:
        made = {name: _mixed(plane, source.get(name), mix, matte, labels=labels) for name, plane in made.items()}
    return {name: _typed(plane, kind, labels=labels) for name, plane in made.items()}


def _fitted(made: Planes, wanted: str) -> Planes:
    """What was made, under the names of the channels that are wanted."""
    if len(made) == 1 and not set(made) & set(wanted):
        alone = next(iter(made.values()))
        # one matte in a picture without alpha is a grey picture
        return dict.fromkeys("A" if wanted == "A" else "RGB", alone)
    fitting = {name: made[name] for name in wanted if name in made}
    if not fitting:
        raise RequestError(
            f"Output: expected channels {', '.join(made)}, the host's output has {', '.join(wanted)} alone; give it "
            "RGB or RGBA"
        )
    return fitting


def _mixed(made: Array, source: Array | None, mix: float, matte: Array | None, *, labels: bool) -> Array:
    """The Source where mix and matte are 0, what was made where both are 1; float32. Object numbers are not blended:
    one half decides."""
    share: Any = np.float32(mix) if matte is None else np.float32(mix) * normalized(matte)
    if labels:
        return np.where(share >= 0.5, made, 0).astype(made.dtype)
    before = np.zeros(made.shape, np.float32) if source is None else normalized(source)
    after = made.astype(np.float32) if made.dtype.kind == "f" else normalized(made)
    with np.errstate(invalid="ignore"):
        blended = before + (after - before) * share
    # a broken or infinite pixel of the one side must not show where the other side is meant
    blended = np.where(share >= 1, after, np.where(share <= 0, before, blended))
    return np.asarray(blended, np.float32)


def _typed(plane: Array, kind: str, *, labels: bool) -> Array:
    dtype = TYPES[kind]
    if plane.dtype == dtype:
        return plane
    if labels:
        return plane.astype(dtype)
    if dtype.kind == "u":
        return quantized(normalized(plane), kind, dtype.itemsize * 8)[0]
    with np.errstate(over="ignore"):  # light beyond the largest half is infinite, as every host has it
        return normalized(plane).astype(dtype)
