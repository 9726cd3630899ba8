"""Adapting the network for mattes to a shot's own keys, before anything is rendered; nothing is written."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import cv2
import torch

from stpn.engine.properties.mask_network import MaskRefiner
from stpn.engine.training import mask_adaptation
from stpn.plugin.adaptation_plan import MaskPlan
from stpn.plugin.device import torch_threads
from stpn.plugin.memory import return_free_memory
from stpn.plugin.progress import Status
from stpn.plugin.properties.mask import Mask
from stpn.plugin.reading import Cancelled, Reader
from stpn.plugin.shot import Shot

_SEED = 0


def adapted_to_mattes(shot: Shot, cancelled: threading.Event, status: Status | None = None) -> Shot:
    """The shot with a network that has learned from the keys that its plan names.

    Args:
        shot: with a plan for mattes.
        cancelled: set it to stop.
        status: where to say how far it is.

    Raises:
        RenderError: a frame cannot be read.
        Cancelled: `cancelled` was set.
    """
    plan, before = shot.adaptation, shot.network
    assert isinstance(plan, MaskPlan)
    assert isinstance(before, MaskRefiner)
    assert isinstance(shot.prop, Mask)

    def show(text: str) -> None:
        if status is not None:
            status.show(f"adapting: {text}")

    # one thread everywhere: sums depend on how many there are, and all machines of a farm must come to the same weights
    cv2.setNumThreads(1)
    try:
        with ThreadPoolExecutor(shot.threads, thread_name_prefix="stpn-adapt") as pool, torch_threads(1):
            reader = Reader(shot.plate.files, shot.keys, cancelled, pool)
            keys, _ = shot.prop.read_keys(plan.keys, reader)
            pictures = shot.prop.pictures(plan.keys, plan.keys, reader)
            network = mask_adaptation.adapt_mask_network(
                before, keys, pictures, plan.steps, _SEED, cancelled.is_set, show
            )
    finally:
        if status is not None:
            status.close()
    return_free_memory()
    if cancelled.is_set():
        raise Cancelled
    said: tuple[str, ...] = ()
    if _same(before, network):
        said = ("adapt: nothing on the keys is large enough to learn from, so the weights stay as they were",)
        if status is not None:
            status.say(*said)
    return replace(shot, network=network, adaptation=None, decisions=(*shot.decisions, *said))


def _same(one: MaskRefiner, other: MaskRefiner) -> bool:
    weights = other.state_dict()
    return all(torch.equal(value, weights[name]) for name, value in one.state_dict().items())
