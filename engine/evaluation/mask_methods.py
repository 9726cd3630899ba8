"""The methods for masks that can be measured, by the names people type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from stpn.engine.alignment import Estimate, Image, estimate_flow
from stpn.engine.carriers import Carrier, Key
from stpn.engine.evaluation.methods import Method, MethodError, kind_in, named, refuse_other_kind
from stpn.engine.properties.mask import MaskCarrier, SegmentationCarrier
from stpn.engine.weights import WeightsError, load_mask, load_mask_segmentation, shipped

if TYPE_CHECKING:
    from stpn.engine.properties.mask_network import MaskRefiner
    from stpn.engine.properties.mask_segmentation import MaskSegmentation

METHODS = ("aligned", "adapted", "flow", "seg_t", "seg_ts")
"""aligned: along motion, frame by frame, a network decides. adapted: the same with the network fine-tuned on the keys
(`adapt_mask_network`), a minute or two a sequence. flow: the same without learning. seg_t, seg_ts: the paper's
SEG(t) and SEG(t+s), from the key at once."""

_KINDS = {"MaskRefiner": "aligned", "MaskSegmentation": "seg_ts"}


def parse_method(text: str, taken: Sequence[str] = ()) -> Method:
    """Reads the name of a method, or `LABEL=FILE` for the method whose network's weights the file holds.

    Weights of the paper's networks stand for both: `seg_t=FILE` is SEG(t), any other label SEG(t+s). So do those of
    the aligned method: `adapted=FILE` is adapted, any other label is not.

    Args:
        text: as typed.
        taken: labels of baselines.

    Raises:
        MethodError: no such method, or its weights cannot be used.
    """
    label, weights = named(text, METHODS, taken)
    kind = label
    if weights is not None:
        found = kind_in(text, weights)
        if found not in _KINDS:
            raise MethodError(f"--method {text}: expected weights of {' or '.join(_KINDS)}, for masks, got {found}")
        kind = _KINDS[found]
        # a label that is the name of a method says which of the two that the weights are of is meant
        if (kind, label) in (("seg_ts", "seg_t"), ("aligned", "adapted")):
            kind = label
        refuse_other_kind(text, label, kind, METHODS)
    method = Method(label, kind, weights)
    if method.kind in ("aligned", "adapted"):
        mask_network(method)
    elif method.kind != "flow":
        segmentation_network(method)
    return method


@lru_cache(maxsize=16)
def mask_network(method: Method) -> MaskRefiner:
    """The network of a method of kind aligned or adapted, before it is adapted, read once.

    Raises:
        MethodError: the weights cannot be used.
    """
    try:
        return load_mask(method.weights or shipped("mask"))
    except WeightsError as error:
        raise MethodError(f"--method {method.label}: {error}") from error


@lru_cache(maxsize=16)
def segmentation_network(method: Method) -> MaskSegmentation:
    """The networks of a method of kind seg_t or seg_ts, read once.

    Raises:
        MethodError: the weights cannot be used.
    """
    try:
        return load_mask_segmentation(method.weights or shipped("mask_seg"))
    except WeightsError as error:
        raise MethodError(f"--method {method.label}: {error}") from error


def carrier(
    method: Method,
    keys: Sequence[Key],
    pictures: Mapping[int, Image],
    targets: Sequence[int],
    estimate: Estimate = estimate_flow,
) -> Carrier:
    """What carries the keys' masks to the frames around them; arguments as of `MaskCarrier`."""
    if method.kind in ("seg_t", "seg_ts"):
        return SegmentationCarrier(keys, pictures, segmentation_network(method), method.kind == "seg_ts")
    network = None if method.kind == "flow" else mask_network(method)
    if network is not None and method.kind == "adapted":
        from stpn.engine.training.mask_adaptation import adapt_mask_network

        network = adapt_mask_network(network, keys, pictures)
    return MaskCarrier(keys, pictures, targets, network, estimate=estimate)
