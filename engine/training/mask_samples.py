"""Samples for the mask network: frames in a row of a clip of cut-outs, from a mask of the frame before that is as
wrong as masks become on their way."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from stpn.engine.alignment import Image, warp
from stpn.engine.properties.mask_appearance import KeyColors, lab
from stpn.engine.properties.mask_observation import all_planes, change, known_planes
from stpn.engine.training.cutout_clips import MovingCutout

Sample = dict[str, NDArray[np.float32]]


def draw(
    clips: Sequence[MovingCutout], rng: np.random.Generator, size: int, steps: int = 2, changed: float = 0.0
) -> Sample:
    """A window (size, size) of one of the clips; smaller where the clip is.

    Args:
        clips: what to draw from.
        rng: decides everything.
        size: of the window.
        steps: frames in a row.
        changed: how often parts of the object have other colors at the key, as when it has turned since.

    Returns:
        key_picture, before_picture (3, S, S) and key_mask, before_mask (1, S, S), 0..1; planes1 (10, S, S) of
        `all_planes`; known2, known3, ... (8, S, S) of `known_planes`; of every step flow (2, S, S), truth (1, S, S).
    """
    clip = clips[int(rng.integers(len(clips)))]
    before = int(rng.integers(len(clip.frames) - steps)) if rng.random() < 0.75 else 0
    top, left = _corner(clip.mattes[before + 1], rng, size)
    window = slice(top, top + size), slice(left, left + size)
    look = _look(rng)
    pictures = {frame: look(clip.frames[frame]) for frame in {0, *range(before, before + steps + 1)}}
    if rng.random() < 0.4:  # the light on the key is another
        pictures[0] = np.asarray(np.clip(pictures[0] * rng.uniform(0.8, 1.2, 3), 0, 1), np.float32)
    masks = {frame: np.asarray(clip.mattes[frame] / np.float32(255), np.float32) for frame in {0, before}}
    key_picture = pictures[0]
    if changed and rng.random() < changed and before > 0:
        key_picture = repainted(key_picture, masks[0], rng)
    start = masks[0] if before == 0 else corrupted(masks[before], rng)
    colors = KeyColors.of(lab(key_picture), masks[0])
    out = {
        "key_picture": _planes(key_picture[window]),
        "before_picture": _planes(pictures[before][window]),
        "key_mask": masks[0][window][None],
        "before_mask": start[window][None],
    }
    for step in range(1, steps + 1):
        here = before + step
        picture = np.ascontiguousarray(pictures[here][window])
        flow, to_key = (np.asarray(flows[here - 1][window], np.float32) for flows in (clip.back, clip.to_key))
        in_lab = lab(picture)
        known = known_planes(
            picture,
            warp(masks[0], to_key, (top, left)),
            clip.trust[here - 1][window] / np.float32(255),
            change(picture, warp(pictures[here - 1], flow, (top, left))),
            change(picture, warp(key_picture, to_key, (top, left))),
            colors.likelihood(in_lab),
        )
        if step == 1:
            out["planes1"] = all_planes(known, warp(start, flow, (top, left)), in_lab)
        else:
            out[f"known{step}"] = known
        out[f"flow{step}"] = _planes(flow)
        out[f"truth{step}"] = np.asarray(clip.mattes[here][window][None] / np.float32(255), np.float32)
    if rng.random() < 0.5:
        for name, value in out.items():
            out[name] = value[..., ::-1] * (np.array([-1, 1], np.float32)[:, None, None] if "flow" in name else 1)
    return {name: np.ascontiguousarray(value, np.float32) for name, value in out.items()}


def corrupted(mask: Image, rng: np.random.Generator) -> Image:
    """A mask (H, W), 0..1, displaced, bent, grown or shrunk, with parts lost and others won; at times as it was."""
    extent = float(np.sqrt(mask.sum()))
    if extent < 4 or rng.random() < 0.25:
        return mask
    height, width = mask.shape
    if rng.random() < 0.6:
        points = extent * rng.choice([0.02, 0.06, 0.15]) * rng.normal(size=(2, 5, 5))
        points += extent * rng.choice([0.0, 0.05, 0.2], p=[0.5, 0.3, 0.2]) * rng.normal(size=(2, 1, 1))
        bend = [
            cv2.resize(plane, (width, height), interpolation=cv2.INTER_CUBIC) for plane in points.astype(np.float32)
        ]
        mask = warp(mask, np.dstack(bend))
    for _ in range(int(rng.choice([0, 1, 2, 3], p=[0.4, 0.3, 0.2, 0.1]))):
        inside = rng.random() < 0.5
        ring = cv2.dilate(mask, np.ones((int(0.3 * extent) | 1,) * 2)) > 0.5
        rows, columns = np.nonzero(mask > 0.5 if inside else ring)
        if len(rows):
            chosen = int(rng.integers(len(rows)))
            axes = tuple(max(int(one), 1) for one in extent * rng.uniform(0.06, 0.35, 2))
            blob = np.zeros(mask.shape, np.float32)
            cv2.ellipse(blob, (int(columns[chosen]), int(rows[chosen])), axes, rng.uniform(0, 180), 0, 360, 1.0, -1)
            mask = np.minimum(mask, 1 - blob) if rng.random() < 0.5 else np.maximum(mask, blob)
    if rng.random() < 0.4:
        kernel = np.ones((2 * int(1 + 0.04 * extent * rng.random()) + 1,) * 2, np.uint8)
        mask = cv2.dilate(mask, kernel) if rng.random() < 0.5 else cv2.erode(mask, kernel)
    if rng.random() < 0.4:
        mask = cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.5, 3))
    return np.asarray(np.clip(mask, 0, 1), np.float32)


def repainted(picture: Image, matte: Image, rng: np.random.Generator) -> Image:
    """A picture (H, W, 3), 0..1, whose object has other colors on one side of a line through it."""
    rows, columns = np.nonzero(matte > 0.5)
    if not len(rows):
        return picture
    chosen, angle = int(rng.integers(len(rows))), rng.uniform(0, 2 * np.pi)
    at_row, at_column = np.mgrid[: matte.shape[0], : matte.shape[1]]
    beside = np.cos(angle) * (at_column - columns[chosen]) + np.sin(angle) * (at_row - rows[chosen])
    share = (matte * np.clip(beside / 3 + 0.5, 0, 1)).astype(np.float32)[..., None]
    other = picture[..., rng.permutation(3)] * rng.uniform(0.4, 1.4, 3) + rng.uniform(-0.2, 0.2, 3)
    return np.asarray(picture + share * (np.clip(other, 0, 1) - picture), np.float32)


def _corner(matte: NDArray[np.uint8], rng: np.random.Generator, size: int) -> tuple[int, int]:
    """Of a window with the object somewhere in it, mostly."""
    height, width = matte.shape
    rows, columns = np.nonzero(np.asarray(matte) > 127)
    if len(rows) and rng.random() < 0.9:
        chosen = int(rng.integers(len(rows)))
        at = np.array([rows[chosen], columns[chosen]]) - size * rng.uniform(0.2, 0.8, 2)
    else:
        at = rng.uniform(0, 1, 2) * [height, width]
    top, left = (int(np.clip(one, 0, max(side - size, 0))) for one, side in zip(at, (height, width), strict=True))
    return top, left


def _look(rng: np.random.Generator) -> Callable[[NDArray[np.uint8]], Image]:
    """Other colors for all frames alike: (H, W, 3) uint8 BGR to float32 RGB, 0..1."""
    order = rng.permutation(3) if rng.random() < 0.3 else np.array([2, 1, 0])
    tone, gain = rng.uniform(0.7, 1.4), rng.uniform(0.8, 1.1, 3)
    table = np.clip(gain[:, None] * (np.arange(256) / 255) ** tone, 0, 1).astype(np.float32)

    def look(frame: NDArray[np.uint8]) -> Image:
        return np.asarray(np.dstack([table[channel][frame[..., order[channel]]] for channel in range(3)]), np.float32)

    return look


def _planes(image: Image) -> NDArray[np.float32]:
    return np.moveaxis(image, 2, 0)
