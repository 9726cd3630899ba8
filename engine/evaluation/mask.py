"""The protocol of masks, the paper's Table 4: the first frame's mask is the only key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from stpn.engine.carriers import Key
from stpn.engine.evaluation.baselines import Flows, Guide8, warped
from stpn.engine.evaluation.clips import ClipError, Picture, Source, read_frames, read_masks
from stpn.engine.evaluation.displayed import Displayed
from stpn.engine.evaluation.mask_methods import METHODS, carrier
from stpn.engine.evaluation.mask_methods import parse_method as _parse_method
from stpn.engine.evaluation.methods import Method, RememberedMotion
from stpn.engine.evaluation.metrics import Mask, boundary, jaccard
from stpn.engine.evaluation.numbers import Numbers, Plan

__all__ = ["BASELINES", "METHODS", "METRICS", "Job", "measure", "parse_method", "plan"]

BASELINES = ("copy", "flow_one", "grabcut")
"""copy: the first mask. flow_one: along the flow accumulated over all frames between. grabcut: from frame to frame, its
edge snapped to the picture."""

METRICS = {"J": ("J, region (percent)", ".1f"), "F": ("F, boundary (percent)", ".1f")}

# the band around a mask's edge in which its true edge is looked for; a square of 13 pixels in most pictures
_BAND = 13
_MARGIN = 40
_FEWEST = 20


@dataclass(frozen=True)
class Job:
    """One sequence.

    Attributes:
        source: a folder with frames.mp4 or frames/, and masks/.
        baselines: among `BASELINES`.
        methods: of `parse_method`.
    """

    source: Source
    baselines: Sequence[str]
    methods: Sequence[Method] = ()


def parse_method(text: str) -> Method:
    """Reads the name of a method, or `LABEL=FILE` for the method whose network's weights the file holds.

    Raises:
        MethodError: no such method, or its weights cannot be used.
    """
    return _parse_method(text, BASELINES)


def plan(sources: Sequence[Source], methods: Sequence[Method], baselines: Sequence[str]) -> Plan[Job]:
    """All sequences.

    Args:
        sources: of `clips.find_sources`.
        methods: of `parse_method`, labels unlike.
        baselines: among `BASELINES`.
    """
    labels = (*(method.label for method in methods), *baselines)
    return Plan({"all frames": [Job(source, baselines, methods) for source in sources]}, labels, METRICS)


def measure(job: Job) -> Numbers:
    """Of each method and baseline J and F in percent, mean over the frames with a true mask but the first."""
    folder = job.source.path
    pictures = folder / "frames"
    frames = read_frames(pictures if pictures.is_dir() else folder / "frames.mp4")
    truth = read_masks(folder / "masks", frames)
    at = [frame for frame in range(1, len(frames)) if truth[frame] is not None]
    if truth[0] is None or not at:
        raise ClipError(f"{folder}: expected masks of the first frame and of one more, or more, found {len(at)} more")
    numbers: Numbers = {}
    motion = RememberedMotion()
    made = {method.label: _carried(method, frames, truth[0], motion) for method in job.methods}
    for name in job.baselines:
        made[name] = {"copy": _copied, "flow_one": _flowed, "grabcut": _snapped}[name](frames, truth[0])
    for name, masks in made.items():
        pairs = [(masks[frame], mask) for frame in at if (mask := truth[frame]) is not None]
        numbers[name] = {
            "J": 100 * float(np.mean([jaccard(*pair) for pair in pairs])),
            "F": 100 * float(np.mean([boundary(*pair) for pair in pairs])),
        }
    return numbers


def _carried(method: Method, frames: Picture, first: Mask, motion: RememberedMotion) -> list[Mask]:
    targets = range(1, len(frames))
    key = Key(0, first.astype(np.float32)[..., None])
    carries = carrier(method, [key], Displayed(frames), targets, motion)
    return [first, *(np.asarray(carries.carry(frame)[0][..., 0] > 0.5) for frame in targets)]


def _copied(frames: Picture, first: Mask) -> list[Mask]:
    return [first] * len(frames)


def _flowed(frames: Picture, first: Mask) -> list[Mask]:
    flows, masks = Flows(_guides(frames)), [first]
    total = np.zeros((*first.shape, 2), np.float32)
    for frame in range(1, len(frames)):
        step = flows.direct(frame, frame - 1)
        total = step + warped(total, step)
        masks.append(warped(first.astype(np.float32), total) > 0.5)
    return masks


def _snapped(frames: Picture, first: Mask) -> list[Mask]:
    """Each frame's mask from the one before; GrabCut decides on what lies in a band around its edge."""
    flows, masks = Flows(_guides(frames)), [first]
    for frame in range(1, len(frames)):
        moved = warped(masks[-1].astype(np.float32), flows.direct(frame, frame - 1)) > 0.5
        cut = _cut(frames[frame], moved)
        # a cut that loses half of the object, or doubles it, has left it
        before, after = np.count_nonzero(moved), np.count_nonzero(cut)
        masks.append(cut if 0.5 * before <= after <= 1.6 * before else moved)
    return masks


def _cut(picture: Picture, mask: Mask) -> Mask:
    """A mask with its edge moved to that of the picture (H, W, 3) uint8; as it is where it is too small for that."""
    band = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_BAND, _BAND))
    object8 = mask.astype(np.uint8)
    inner, outer = cv2.erode(object8, band), cv2.dilate(object8, band)
    if np.count_nonzero(inner) <= _FEWEST or outer.all():
        return mask
    labels = np.full(mask.shape, cv2.GC_BGD, np.uint8)
    labels[outer > 0] = cv2.GC_PR_BGD
    labels[mask] = cv2.GC_PR_FGD
    labels[inner > 0] = cv2.GC_FGD
    rows, columns = np.nonzero(outer)
    box = (
        slice(max(rows.min() - _MARGIN, 0), rows.max() + _MARGIN),
        slice(max(columns.min() - _MARGIN, 0), columns.max() + _MARGIN),
    )
    part = labels[box].copy()
    if not np.isin(part, (cv2.GC_BGD, cv2.GC_PR_BGD)).any():
        return mask
    cv2.setRNGSeed(0)  # GrabCut starts from random clusters
    bgr = np.ascontiguousarray(picture[box][..., ::-1])
    cv2.grabCut(bgr, part, None, np.zeros((1, 65)), np.zeros((1, 65)), 2, cv2.GC_INIT_WITH_MASK)
    kept = object8.copy()
    kept[box] = np.isin(part, (cv2.GC_FGD, cv2.GC_PR_FGD))
    return np.asarray(cv2.medianBlur(kept, 5) > 0)


def _guides(frames: Picture) -> dict[int, Guide8]:
    return {number: cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for number, frame in enumerate(frames)}
