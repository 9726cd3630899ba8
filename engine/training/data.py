"""Training material: clips and photographs decoded once into a cache, and training pairs drawn from it by seed."""

from __future__ import annotations

import tarfile
from collections.abc import Collection
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

LONG_SIDE = 512
LONGEST_GAP = 40

Frames = NDArray[np.uint8]
Pair = tuple[NDArray[np.float32], NDArray[np.float32]]


def build_cache(data: Path, cache: Path, excluded: Collection[str]) -> None:
    """Decodes `data/clips/*.mp4` and `data/photos/*.tar` into `cache`, a `.npy` each; what is there already is kept.

    Args:
        data: folder with `clips/` and `photos/`.
        cache: folder for the arrays, made where missing.
        excluded: sources kept for measuring, as `clips/name.mp4`.
    """
    for name in ("clips", "photos"):
        (cache / name).mkdir(parents=True, exist_ok=True)
    for clip in sorted((data / "clips").glob("*.mp4")):
        target = cache / "clips" / f"{clip.stem}.npy"
        if f"clips/{clip.name}" not in excluded and not target.exists():
            np.save(target, _decode_clip(clip))
    for shard in sorted((data / "photos").glob("*.tar")):
        with tarfile.open(shard) as tar:
            for member in tar:
                target = cache / "photos" / f"{Path(member.name).stem}.npy"
                file = tar.extractfile(member)
                if file is not None and not target.exists():
                    image = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_COLOR)
                    if image is not None:
                        np.save(target, _shrink(image))


def load_cache(cache: Path, kind: str, excluded: Collection[str]) -> list[Frames]:
    """The cached arrays of `clips` (T, H, W, 3) or `photos` (H, W, 3), uint8 BGR, memory-mapped, in order of name.

    Args:
        cache: folder of `build_cache`.
        kind: clips or photos.
        excluded: left out even where an earlier run has cached them.

    Raises:
        FileNotFoundError: nothing is cached.
    """
    paths = sorted((cache / kind).glob("*.npy"))
    arrays = [np.load(path, mmap_mode="r") for path in paths if f"{kind}/{path.stem}.mp4" not in excluded]
    if not arrays:
        raise FileNotFoundError(f"no {kind} in {cache}: give a data folder with {kind}/ in it")
    return arrays


def photo_pair(photos: list[Frames], rng: np.random.Generator, size: int) -> Pair:
    """Two views of one photograph by similarity transforms, as Lab (size, size, 3); see `similarity` for the range."""
    image = np.ascontiguousarray(photos[rng.integers(len(photos))])
    centre = _random_centre(image.shape[:2], size, rng)
    views = [_view(image, similarity(image.shape[:2], centre, size, rng), size) for _ in range(2)]
    return _augmented(views, rng)


def clip_pair(clips: list[Frames], rng: np.random.Generator, size: int) -> Pair:
    """Two frames of one clip, at most LONGEST_GAP apart, cropped at the same place, as Lab (size, size, 3)."""
    clip = clips[rng.integers(len(clips))]
    gap = int(rng.integers(1, min(LONGEST_GAP, len(clip) - 1) + 1))
    first = int(rng.integers(len(clip) - gap))
    frames = [np.ascontiguousarray(clip[first]), np.ascontiguousarray(clip[first + gap])]
    if rng.random() < 0.5:
        frames.reverse()
    centre = _random_centre(frames[0].shape[:2], size, rng)
    matrix = similarity(frames[0].shape[:2], centre, size, rng)
    return _augmented([_view(frame, matrix, size) for frame in frames], rng)


def similarity(
    shape: tuple[int, int], centre: tuple[float, float], size: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """A random similarity transform from the picture to a crop around `centre`.

    Scale 0.9..1.1, rotation within 15 degrees, shift within a tenth of the picture's shorter side.

    Source: Switchable Temporal Propagation Network, section 5.1.
    """
    scale, angle = rng.uniform(0.9, 1.1), rng.uniform(-15, 15)
    shift = rng.uniform(-0.1, 0.1, 2) * min(shape)
    matrix = cv2.getRotationMatrix2D(centre, angle, scale)
    matrix[:, 2] += np.array([size / 2, size / 2]) - np.array(centre) + shift
    return np.asarray(matrix, np.float64)


def _view(image: Frames, matrix: NDArray[np.float64], size: int) -> NDArray[np.float32]:
    view = cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(cv2.cvtColor(view.astype(np.float32) / 255, cv2.COLOR_BGR2LAB), np.float32)


def _augmented(views: list[NDArray[np.float32]], rng: np.random.Generator) -> Pair:
    """The same mirror, hue, saturation and tone for both views: what is carried should not depend on which colors."""
    angle, saturation = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 1.5)
    turn = saturation * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]], np.float32)
    gamma, mirror = rng.uniform(0.7, 1.4), rng.random() < 0.5
    for lab in views:
        lab[..., 1:] = lab[..., 1:] @ turn.astype(np.float32)
        lab[..., 0] = 100 * np.clip(lab[..., 0] / 100, 0, 1) ** gamma
    first, second = (np.ascontiguousarray(lab[:, ::-1] if mirror else lab) for lab in views)
    return first, second


def _random_centre(shape: tuple[int, int], size: int, rng: np.random.Generator) -> tuple[float, float]:
    height, width = shape
    margin_y, margin_x = min(size, height) / 2, min(size, width) / 2
    return rng.uniform(margin_x, width - margin_x), rng.uniform(margin_y, height - margin_y)


def _decode_clip(path: Path) -> Frames:
    video, frames = cv2.VideoCapture(str(path)), []
    while True:
        found, frame = video.read()
        if not found:
            break
        frames.append(_shrink(frame))
    if not frames:
        raise ValueError(f"{path}: no frame could be decoded")
    return np.stack(frames)


def _shrink(image: Frames) -> Frames:
    height, width = image.shape[:2]
    factor = LONG_SIDE / max(height, width)
    if factor >= 1:
        return image
    size = (round(width * factor / 2) * 2, round(height * factor / 2) * 2)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
