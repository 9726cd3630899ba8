"""Scenes of cut-outs and how a camera sees them: layers that move and bend before a background, with exact mattes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from stpn.engine.training.cutout_shapes import Cutout, Matte, Picture
from stpn.engine.training.decoding import Frames

# control points of the bending
_POINTS = 4

Curve = NDArray[np.float64]


@dataclass(frozen=True)
class CutoutClip:
    """Attributes:
    frames: (T, H, W, 3) uint8 BGR.
    mattes: (T, H, W) uint8, 255 = the object alone.
    """

    frames: Frames
    mattes: Frames


@dataclass(frozen=True)
class Layer:
    """Something that moves before the background.

    Attributes:
        cutout: what.
        path: (M, 4) x, y (pixels from the picture's middle), angle (degrees) and scale at every moment.
        bend: (M, 2, n, n) how far, in pixels of the cut-out, control points are moved.
        is_object: whether its cover is the matte.
    """

    cutout: Cutout
    path: Curve
    bend: NDArray[np.float32]
    is_object: bool


def exposed(behind: Picture, layers: Sequence[Layer], moment: int) -> tuple[Picture, Matte]:
    """The picture (H, W, 3) and the object's matte (H, W) at a moment, layers from the farthest to the nearest."""
    out, matte = behind, np.zeros(behind.shape[:2], np.float32)
    for layer in layers:
        texture, cover = placed(layer, moment, behind.shape[:2])
        out = out + cover[..., None] * (texture - out)
        matte = matte * (1 - cover) + (cover if layer.is_object else 0)
    return out, matte


def placed(layer: Layer, moment: int, size: tuple[int, ...]) -> tuple[Picture, Matte]:
    """A layer's texture (H, W, 3) and cover (H, W) at a moment, bent and placed in a picture of this size."""
    height, width = size
    patch = layer.cutout.cover.shape
    x, y, angle, scale = layer.path[moment]
    matrix = cv2.getRotationMatrix2D((patch[1] / 2, patch[0] / 2), angle, scale)
    matrix[:, 2] += width / 2 + x - patch[1] / 2, height / 2 + y - patch[0] / 2
    back = cv2.invertAffineTransform(matrix)
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    at_x = (back[0, 0] * columns + back[0, 1] * rows + back[0, 2]).astype(np.float32)
    at_y = (back[1, 0] * columns + back[1, 1] * rows + back[1, 2]).astype(np.float32)
    bend = [cv2.resize(plane, patch[::-1], interpolation=cv2.INTER_CUBIC) for plane in layer.bend[moment]]
    moved = [cv2.remap(plane, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for plane in bend]
    at_x, at_y = at_x + moved[0], at_y + moved[1]
    cover = cv2.remap(layer.cutout.cover, at_x, at_y, cv2.INTER_LINEAR)
    texture = cv2.remap(layer.cutout.texture, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(texture, np.float32), np.asarray(cover, np.float32)


def shutter_moments(frames: int, rng: np.random.Generator) -> Curve:
    """Moments, in frames, at which light is gathered: one to three a frame."""
    shutter = int(rng.integers(1, 4))
    return np.arange(frames * shutter) / shutter


def filmed(
    behind: Callable[[int], Picture], layers: Sequence[Layer], moments: Curve, rng: np.random.Generator
) -> CutoutClip:
    """What a camera sees: blurred by motion, its exposure wavering, with noise and compression."""
    shutter = int(np.count_nonzero(moments < 1))
    gain = 1 + rng.uniform(0, 0.15) * np.sin(moments * rng.uniform(0.1, 0.8) + rng.uniform(0, 6))
    open_for = int(rng.integers(1, shutter + 1))
    noise, quality = rng.uniform(0, 3), int(rng.integers(40, 98))
    pictures, mattes = [], []
    for start in range(0, len(moments), shutter):
        seen = [exposed(behind(moment), layers, moment) for moment in range(start, start + open_for)]
        light = np.mean([gain[start + i] * picture for i, (picture, _) in enumerate(seen)], axis=0)
        light += rng.normal(0, noise, (*light.shape[:2], 1))
        picture = np.clip(np.rint(light), 0, 255).astype(np.uint8)
        if quality < 90:
            coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
            picture = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)
        pictures.append(picture)
        mattes.append(np.rint(255 * np.clip(np.mean([cover for _, cover in seen], axis=0), 0, 1)).astype(np.uint8))
    return CutoutClip(np.stack(pictures), np.stack(mattes))


def random_path(moments: Curve, rng: np.random.Generator, speed: float, turning: float, growth: float) -> Curve:
    """(M, 4) x, y, angle and scale: a drift of up to `speed` pixels a frame and a swing, turning by up to so many
    degrees and growing by up to this factor a frame."""
    heading, swing_at = rng.uniform(0, 2 * np.pi, 2)
    drift = speed * rng.uniform(0, 1) * np.array([np.cos(heading), 0.5 * np.sin(heading)])
    swing = 2 * speed * rng.uniform(0, 1) * np.sin(moments * rng.uniform(0.2, 1.5) + rng.uniform(0, 6))
    middle = moments - moments.mean()
    place = middle[:, None] * drift + swing[:, None] * np.array([np.cos(swing_at), np.sin(swing_at)])
    angle = turning * (rng.uniform(-1, 1) * middle + 2 * rng.uniform(-1, 1) * np.sin(moments * rng.uniform(0.2, 1.5)))
    scale = np.exp(growth * rng.uniform(-1, 1) * middle)
    return np.column_stack([place, angle, scale])


def random_bend(moments: Curve, rng: np.random.Generator, amount: float) -> NDArray[np.float32]:
    """(M, 2, n, n) control points that swing each on its own by up to `amount` pixels."""
    shape = (2, _POINTS, _POINTS)
    rate, phase = rng.uniform(0.1, 1.2, shape), rng.uniform(0, 6, shape)
    reach = amount * rng.uniform(-1, 1, shape)
    return np.asarray(reach * np.sin(moments[:, None, None, None] * rate + phase), np.float32)


def clip_behind(
    clip: Frames, moments: Curve, size: tuple[int, int], first: int, stride: int, zoom: float
) -> Callable[[int], Picture]:
    """A clip (T, H, W, 3) as background: what is seen of it at a moment, (H, W, 3) float32."""
    fit = max(size[0] / clip.shape[1], size[1] / clip.shape[2]) * zoom

    def behind(moment: int) -> Picture:
        frame = np.ascontiguousarray(clip[min(first + stride * int(moments[moment]), len(clip) - 1)])
        matrix = fitted(frame.shape, size, fit, np.array([0, 0, 0, 1.0]))
        seen = cv2.warpAffine(frame, matrix, size[::-1], borderMode=cv2.BORDER_REFLECT_101)
        return np.asarray(seen, np.float32)

    return behind


def fitted(shape: tuple[int, ...], size: tuple[int, int], fit: float, place: Curve) -> Curve:
    """The matrix that brings a picture of this shape, `fit` times as large, to the middle of one of this size, moved to
    a place of `random_path`."""
    x, y, angle, scale = place
    matrix = cv2.getRotationMatrix2D((shape[1] / 2, shape[0] / 2), angle, fit * scale)
    matrix[:, 2] += size[1] / 2 + x - shape[1] / 2, size[0] / 2 + y - shape[0] / 2
    return np.asarray(matrix, np.float64)
