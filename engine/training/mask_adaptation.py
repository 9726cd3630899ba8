"""Fine-tuning the network for masks on a shot's own keys, by dreaming: the objects are cut out, what was behind them is
guessed, both are moved, bent and lit anew, and the network learns to follow them there.

Source of the idea: Khoreva et al., Lucid Data Dreaming for Video Object Segmentation, IJCV 2019.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np
import torch

from stpn.engine.alignment import Image
from stpn.engine.carriers import Key
from stpn.engine.properties.mask_chain import Frame
from stpn.engine.properties.mask_detail import reduced, working_size
from stpn.engine.properties.mask_network import MULTIPLE, MaskRefiner
from stpn.engine.training.cutout_clips import MovingCutout, with_motion
from stpn.engine.training.cutout_scenes import shutter_moments
from stpn.engine.training.cutouts import lucid_clip
from stpn.engine.training.decoding import Frames
from stpn.engine.training.mask_samples import draw
from stpn.engine.training.mask_task import mask_loss, stacked

# of a dream, and dreams an object and key
_FRAMES = 5
_DREAMS = 12
# a shot of many keys has fewer of each, so that time and memory end
_MOST_DREAMS = 96
_BATCH = 3
_CROP = 192
_LEARNING_RATE = 1.5e-4
_WARM_UP = 8
_CLIP = 1.0
# objects of fewer pixels are too small to learn from
_FEWEST = 12


def adapt_mask_network(
    network: MaskRefiner,
    keys: Sequence[Key],
    pictures: Mapping[int, Image],
    steps: int = 80,
    seed: int = 0,
    cancelled: Callable[[], bool] = lambda: False,
    said: Callable[[str], None] = lambda _: None,
) -> MaskRefiner:
    """A copy of the network that knows the objects of these keys better; the one given stays as it is.

    It takes about a second a dream, up to twelve an object and key and 96 in all, or one each, and half a second a
    step. The same arguments give the
    same weights on the same machine with as many threads. Where no object is large enough to learn from, or it is
    cancelled, the copy is the network as far as it has come.

    Args:
        network: to start from.
        keys: `prop` (H, W, C) float32, 0..1, one channel an object.
        pictures: (H, W, 3) float32, display-referred RGB 0..1, of the keys.
        steps: how many.
        seed: of the dreams and of what is drawn from them.
        cancelled: asked now and then.
        said: is told what is done.
    """
    tuned = copy.deepcopy(network)
    dreams: list[MovingCutout] = []
    count = min(_DREAMS, max(1, _MOST_DREAMS // max(1, sum(key.prop.shape[2] for key in keys))))
    for key in keys:
        size = working_size(*key.prop.shape[:2])
        frame = Frame.of(pictures[key.frame], size)
        bgr = np.ascontiguousarray(np.rint(255 * frame.rgb[..., ::-1]).astype(np.uint8))
        for index, matte in enumerate(reduced(key.prop, size)):
            for number in range(count):
                if cancelled():
                    return tuned.eval()
                said(f"key {key.frame}, object {index + 1}: dream {number + 1} of {count}")
                if np.count_nonzero(matte > 0.5) >= _FEWEST and min(size) >= 2 * MULTIPLE:
                    dreams.append(_dream(bgr, matte, np.random.default_rng([seed, key.frame, index, number])))
    if not dreams:
        return tuned.eval()
    cv2.setNumThreads(1)
    _learn(tuned, dreams, steps, seed, cancelled, said)
    _halfway(tuned, network)
    return tuned.eval().requires_grad_(False)


def _halfway(tuned: MaskRefiner, network: MaskRefiner) -> None:
    """Weights in the middle of before and after, so that dreams do not undo what footage has taught."""
    with torch.no_grad():
        for new, old in zip(tuned.parameters(), network.parameters(), strict=True):
            new.lerp_(old, 0.5)


def _dream(picture: Frames, matte: Image, rng: np.random.Generator) -> MovingCutout:
    pace = float(rng.choice([0.4, 1.0, 2.0]))
    # what crosses the object is of the same picture
    return with_motion(lucid_clip(picture, matte, [picture], shutter_moments(_FRAMES, rng), pace, rng))


def _learn(
    network: MaskRefiner,
    dreams: Sequence[MovingCutout],
    steps: int,
    seed: int,
    cancelled: Callable[[], bool],
    said: Callable[[str], None],
) -> None:
    from stpn.engine.device import fast_bfloat16

    smallest = min(min(dream.mattes.shape[1:]) for dream in dreams)
    crop = min(_CROP, smallest // MULTIPLE * MULTIPLE)
    network.train().requires_grad_(True)
    optimizer = torch.optim.AdamW(network.parameters(), lr=_LEARNING_RATE, weight_decay=1e-4)
    for step in range(steps):
        if cancelled():
            return
        falling = 0.5 + 0.5 * math.cos(math.pi * step / steps)
        for group in optimizer.param_groups:
            group["lr"] = _LEARNING_RATE * min((step + 1) / _WARM_UP, 1.0) * falling
        rngs = [np.random.default_rng([seed, 1, step, index]) for index in range(_BATCH)]
        batch = stacked([draw(dreams, rng, crop) for rng in rngs])
        with torch.autocast("cpu", torch.bfloat16, enabled=fast_bfloat16()):
            loss, numbers = mask_loss(network, batch)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(network.parameters(), _CLIP)
        if math.isfinite(loss.item()) and bool(torch.isfinite(norm)):
            optimizer.step()
        said(f"step {step + 1} of {steps}: {numbers['missed1']:.3f}")
