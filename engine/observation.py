"""What the network of `--method aligned` sees of candidates and keys, as tensors in its own units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import numpy as np
import torch
from torch import Tensor

from stpn.engine.aligned_network import Inputs
from stpn.engine.alignment import Image
from stpn.engine.fusion import Candidate, Fused

# of lightness
UNIT = np.float32(100)
# distances are told in units of the longest interval that is trained
FAR = np.float32(40)

KEYS = 2


def observe(
    candidates: Sequence[Sequence[Candidate]],
    fused: Fused,
    lightness: Image,
    keys: Sequence[tuple[Image, Image]],
    unit: float = 100.0,
    shown: tuple[Image, Image] | None = None,
) -> dict[str, Image]:
    """The planes of `Inputs` for one picture or window, without the batch axis; channels first, float32.

    Args:
        candidates: the routes of each key, as many of each: one or two keys.
        fused: what the candidates say by hand, in the same order.
        lightness: (h, w) 0..100, of the target frame.
        keys: lightness (h, w) and property (h, w, C) of each key, same size.
        unit: of the property.
        shown: the property that the plate shows (h, w, C), and how far it clips (h, w, C), 0..1.
    """
    height, width = lightness.shape
    each = len(candidates[0])
    count = KEYS * each
    scale = np.float32(unit)
    channels = fused.blend.shape[2]
    out = {
        "lightness": _light(lightness)[None],
        "values": np.zeros((count, channels, height, width), np.float32),
        "warped": np.zeros((count, 1, height, width), np.float32),
        "weights": np.zeros((count, 1, height, width), np.float32),
        "error": np.zeros((count, 2, height, width), np.float32),
        "flow": np.zeros((count, 2, height, width), np.float32),
        "blend": _first(fused.blend / scale),
        "spread": _first(fused.spread / scale),
        "confidence": fused.confidence[None],
        "distance": np.ones(count, np.float32),
        "key_lightness": np.zeros((KEYS, 1, height, width), np.float32),
        "key_values": np.zeros((KEYS, channels, height, width), np.float32),
    }
    weights = iter(fused.weights)
    for k, (routes, (key_lightness, prop)) in enumerate(zip(candidates, keys, strict=True)):
        _light(key_lightness, out["key_lightness"][k, 0])
        np.divide(_first(prop), scale, out=out["key_values"][k])
        for r, one in enumerate(routes):
            i = k * each + r
            np.divide(_first(one.value), scale, out=out["values"][i])
            _light(one.lightness, out["warped"][i, 0])
            out["weights"][i, 0], out["distance"][i] = next(weights), one.distance / FAR
            out["error"][i], out["flow"][i] = _first(one.error), _first(one.flow)
    if shown is not None:
        out["shown"], out["blind"] = _first(shown[0] / scale), _first(shown[1])
    return out


def collate(pictures: Sequence[dict[str, Image]]) -> dict[str, Tensor]:
    """Planes of several pictures of one size as one batch; of one picture alone they are its own where they can be."""
    if len(pictures) == 1:
        return {name: torch.from_numpy(np.ascontiguousarray(plane)[None]) for name, plane in pictures[0].items()}
    return {name: torch.from_numpy(np.stack([p[name] for p in pictures])) for name in pictures[0]}


def inputs(batch: dict[str, Tensor]) -> Inputs:
    """The tensors of a batch by name."""
    return Inputs(**{field.name: batch[field.name] for field in fields(Inputs) if field.name in batch})


def _light(lightness: Image, out: Image | None = None) -> Image:
    """0..1, as in training; light beyond white or below black looks like white and black."""
    clipped = np.clip(lightness, 0, UNIT, out=out)
    return np.divide(clipped, UNIT, out=clipped)


def _first(image: Image) -> Image:
    return np.moveaxis(image, 2, 0)
