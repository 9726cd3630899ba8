"""Clips of moving cut-outs with exact soft mattes: what a mask network learns from.

Behind is a photograph under a moving camera, or a clip. The object moves on its own, turns, bends and blurs; others of
its kind and other things cross before and behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from stpn.engine.training.cutout_scenes import (
    Curve,
    CutoutClip,
    Layer,
    clip_behind,
    filmed,
    fitted,
    random_bend,
    random_path,
    shutter_moments,
)
from stpn.engine.training.cutout_shapes import Cutout, Matte, Picture, grabbed, random_cutout, softened
from stpn.engine.training.decoding import Frames

# of the clips: height, width
SIZE = (256, 352)
# photographs whose number is a multiple of this are never trained on, so that mattes can be measured on them
HELD_OUT_EVERY = 10
# share by which an object grows or shrinks a frame, at most
GROWTH = 0.03


def training_part(names: Sequence[str]) -> list[int]:
    """Which of the photographs, sorted by name, are trained on; the others are those of `held_out_part`."""
    return [index for index in range(len(names)) if index % HELD_OUT_EVERY]


def held_out_part(names: Sequence[str]) -> list[int]:
    """Which of the photographs, sorted by name, are never trained on."""
    return list(range(0, len(names), HELD_OUT_EVERY))


def cutout_clip(
    photos: Sequence[Frames],
    clips: Sequence[Frames],
    rng: np.random.Generator,
    frames: int = 8,
    size: tuple[int, int] = SIZE,
    growth: float = GROWTH,
) -> CutoutClip:
    """A clip of an object that moves.

    Args:
        photos: (H, W, 3) uint8 BGR each.
        clips: (T, H, W, 3) uint8 BGR each; may be none.
        rng: decides everything.
        frames: how many.
        size: height and width.
        growth: by what share, at most, the object grows or shrinks a frame.
    """
    moments = shutter_moments(frames, rng)
    pace = float(rng.choice([0.4, 1.0, 2.0], p=[0.35, 0.45, 0.2]))
    if rng.random() < 0.3:
        photo = np.ascontiguousarray(photos[int(rng.integers(len(photos)))])
        fit = np.asarray(cv2.resize(photo, size[::-1], interpolation=cv2.INTER_AREA), np.uint8)
        shape = grabbed(fit)
        if shape is not None:
            return lucid_clip(fit, softened(shape, 0.7), photos, moments, pace, rng, growth)
    behind = _background(photos, clips, moments, pace, rng, size)
    return filmed(behind, random_layers(photos, moments, pace, rng, size, growth), moments, rng)


def lucid_clip(
    picture: Frames,
    matte: Matte,
    photos: Sequence[Frames],
    moments: Curve,
    pace: float,
    rng: np.random.Generator,
    growth: float = GROWTH,
) -> CutoutClip:
    """A clip dreamt up of one picture and its matte: the object is cut out, what was behind it guessed, and both move.

    Args:
        picture: (H, W, 3) uint8 BGR.
        matte: (H, W) float32, 0..1.
        photos: what may cross it.
        moments: of `shutter_moments`.
        pace: how lively.
        rng: decides everything else.
        growth: as of `cutout_clip`.
    """
    size = picture.shape[:2]
    scene = in_painted(picture, matte).astype(np.float32)
    rows, columns = np.nonzero(matte > 0.1)
    box = slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)
    edge = ((1, 1), (1, 1))
    cutout = Cutout(
        np.pad(picture[box].astype(np.float32), (*edge, (0, 0)), mode="edge"),
        np.pad(matte[box], edge).astype(np.float32),
    )
    middle = np.array([columns.min() + columns.max() + 1, rows.min() + rows.max() + 1]) / 2 - np.array(size[::-1]) / 2
    wide = max(cutout.cover.shape)
    path = random_path(moments, rng, pace * rng.uniform(0, 8), 2.5 * pace, growth * pace)
    path[:, :2] += middle - path[0, :2] * rng.uniform(0, 1)
    layers = [Layer(cutout, path, random_bend(moments, rng, wide * rng.uniform(0.02, 0.14) * min(pace, 1)), True)]
    for _ in range(int(rng.choice([0, 1], p=[0.6, 0.4]))):
        other = random_cutout(np.ascontiguousarray(photos[int(rng.integers(len(photos)))]), rng)
        aside = random_path(moments, rng, 8 * pace, 2 * pace, 0.02)
        aside[:, :2] += middle + rng.uniform(-1, 1, 2) * wide
        aside[:, 3] *= rng.uniform(0.2, 0.8) * wide / max(other.cover.shape)
        layers.append(Layer(other, aside, random_bend(moments, rng, 5.0), False))
    camera = random_path(moments, rng, 5 * pace, 1.0 * pace, 0.012 * pace)
    if rng.random() < 0.3:
        camera[:] = [0, 0, 0, 1]

    def behind(moment: int) -> Picture:
        matrix = fitted(scene.shape, size, 1.0, camera[moment])
        return np.asarray(cv2.warpAffine(scene, matrix, size[::-1], borderMode=cv2.BORDER_REFLECT_101), np.float32)

    return filmed(behind, layers, moments, rng)


def in_painted(picture: Frames, matte: Matte) -> Frames:
    """A picture (H, W, 3) uint8 with what the matte (H, W) covers replaced by a guess from around it."""
    height, width = picture.shape[:2]
    factor = min(1.0, 160 / max(height, width))
    size = max(int(width * factor), 8), max(int(height * factor), 8)
    near = max(int(0.02 * max(height, width)), 2)
    gone = cv2.dilate((matte > 0.02).astype(np.uint8), np.ones((2 * near + 1, 2 * near + 1), np.uint8))
    if gone.all():
        return picture
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    hole = (cv2.resize(gone.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0).astype(np.uint8)
    filled = cv2.resize(cv2.inpaint(small, hole, 3, cv2.INPAINT_TELEA), (width, height), interpolation=cv2.INTER_CUBIC)
    share = cv2.GaussianBlur(gone.astype(np.float32), (0, 0), near / 2)[..., None]
    return np.asarray(np.rint(picture + share * (filled.astype(np.float32) - picture)), np.uint8)


def _background(
    photos: Sequence[Frames],
    clips: Sequence[Frames],
    moments: Curve,
    pace: float,
    rng: np.random.Generator,
    size: tuple[int, int],
) -> Callable[[int], Picture]:
    """A function from moment to picture (H, W, 3) float32."""
    height, width = size
    if clips and rng.random() < 0.45:
        clip = clips[int(rng.integers(len(clips)))]
        count = int(np.ceil(moments[-1])) + 1
        stride = int(rng.integers(1, max(min(3, (len(clip) - 1) // count), 1) + 1))
        first = int(rng.integers(max(len(clip) - stride * count, 1)))
        return clip_behind(clip, moments, size, first, stride, float(rng.choice([1.0, 1.3])))
    scene = np.ascontiguousarray(photos[int(rng.integers(len(photos)))]).astype(np.float32)
    fit = max(height / scene.shape[0], width / scene.shape[1]) * float(rng.uniform(1.05, 1.4))
    camera = random_path(moments, rng, 5 * pace, 1.0 * pace, 0.015 * pace)
    if rng.random() < 0.25:
        camera[:] = [0, 0, 0, 1]

    def of_photo(moment: int) -> Picture:
        matrix = fitted(scene.shape, size, fit, camera[moment])
        return np.asarray(cv2.warpAffine(scene, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101), np.float32)

    return of_photo


def random_layers(
    photos: Sequence[Frames],
    moments: Curve,
    pace: float,
    rng: np.random.Generator,
    size: tuple[int, int],
    growth: float = GROWTH,
) -> list[Layer]:
    """From the farthest to the nearest; one of them is the object."""
    height, width = size

    def layer(cutout: Cutout, extent: float, place: NDArray[np.float64], is_object: bool) -> Layer:
        """A cut-out of about `extent` pixels."""
        inside = cutout.cover > 0.5
        wide = max(int(np.count_nonzero(inside.any(axis=axis))) for axis in (0, 1))
        wide = max(wide, 8)
        path = random_path(moments, rng, pace * rng.uniform(0, 9), 3 * pace, growth * pace)
        path[:, :2] += place
        path[:, 3] *= extent / wide
        return Layer(cutout, path, random_bend(moments, rng, wide * rng.uniform(0, 0.16) * min(pace, 1)), is_object)

    def somewhere(reach: float) -> NDArray[np.float64]:
        return np.asarray(reach * rng.uniform(-0.5, 0.5, 2) * [width, height], np.float64)

    number = int(rng.integers(len(photos)))
    mine = random_cutout(np.ascontiguousarray(photos[number]), rng)
    extent = width * float(np.exp(rng.uniform(np.log(0.1), np.log(0.6))))
    place = somewhere(0.6)
    layers = [layer(mine, extent, place, True)]
    if rng.random() < 0.45:  # another of its kind, or of its colors
        twin = rng.random() < 0.4
        cutout = mine if twin else random_cutout(np.ascontiguousarray(photos[number]), rng)
        aside = place + rng.uniform(0.5, 1.3) * extent * np.array([rng.choice([-1, 1]), rng.uniform(-0.5, 0.5)])
        layers.insert(int(rng.integers(2)), layer(cutout, extent * rng.uniform(0.6, 1.3), aside, False))
    for _ in range(int(rng.choice([0, 1, 2], p=[0.5, 0.35, 0.15]))):
        other = random_cutout(np.ascontiguousarray(photos[int(rng.integers(len(photos)))]), rng)
        size_of = width * float(rng.uniform(0.08, 0.4))
        near = place + rng.uniform(-1, 1, 2) * extent if rng.random() < 0.5 else somewhere(1.0)
        layers.insert(int(rng.integers(len(layers) + 1)), layer(other, size_of, near, False))
    return layers
