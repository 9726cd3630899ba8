"""Videos, pictures, tar files and EXR decoded to what training draws from: uint8 BGR for display, long side 512."""

from __future__ import annotations

import re
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

LONG_SIDE = 512
# a long take would fill memory; its first frames are as good as any
MOST_FRAMES = 600
VIDEOS = (".mp4", ".mov", ".m4v", ".mkv", ".avi", ".webm")
PICTURES = (".png", ".jpg", ".jpeg", ".exr")
# of the luminance of a scene-linear picture: what becomes display white
WHITE_PERCENTILE = 97.0

Frames: TypeAlias = NDArray[np.uint8]
Light: TypeAlias = NDArray[np.float32]


class DecodingError(Exception):
    """A source is damaged or not what it should be."""


def decode_clip(path: Path) -> Frames:
    """The frames of a video file or of a folder of numbered pictures, (T, H, W, 3), T >= 2.

    Raises:
        DecodingError: fewer than two frames can be read, or frames differ in size.
    """
    frames = list(_folder_frames(path) if path.is_dir() else _video_frames(path))
    if len(frames) < 2:
        raise DecodingError(f"expected two frames or more, could decode {len(frames)}")
    if len({frame.shape for frame in frames}) > 1:
        raise DecodingError("expected frames of one size")
    return np.stack(frames)


def decode_picture(path: Path) -> Frames:
    """The picture of a file, (H, W, 3).

    Of a panorama, which is an EXR exactly twice as wide as high, only what lies within 45 degrees of the horizon is
    kept, because that looks as a lens would see it: the western half above the eastern one.

    Raises:
        DecodingError: not readable as a picture.
    """
    if path.suffix.lower() != ".exr":
        return _decoded(path.read_bytes())
    light = read_exr(path)
    display = to_display(light, white_of(light))
    height, width = display.shape[:2]
    if width == 2 * height and height % 4 == 0:
        horizon = display[height // 4 : -height // 4]
        display = np.concatenate(np.split(horizon, 2, axis=1))
    return _shrunk(display)


def tar_names(path: Path) -> list[str]:
    """Names of the pictures in a tar file.

    Raises:
        DecodingError: not a tar file.
    """
    try:
        with tarfile.open(path) as tar:
            return [m.name for m in tar if m.isfile() and PurePath(m.name).suffix.lower() in PICTURES[:-1]]
    except (tarfile.TarError, OSError) as error:
        raise DecodingError(f"expected a tar file, got: {error}") from error


def decode_tar(path: Path, wanted: set[str]) -> Iterator[tuple[str, Frames | DecodingError]]:
    """Name and picture (H, W, 3) of each wanted member, or why it cannot be used."""
    with tarfile.open(path) as tar:
        for member in tar:
            file = tar.extractfile(member) if member.name in wanted else None
            if file is None:
                continue
            try:
                yield member.name, _decoded(file.read())
            except DecodingError as error:
                yield member.name, error


def white_of(light: Light) -> float:
    """The luminance that becomes display white: a high percentile, so that a lamp or the sun does not darken the
    rest."""
    luminance = light @ np.array([0.2126, 0.7152, 0.0722], np.float32)
    return max(float(np.percentile(luminance, WHITE_PERCENTILE)), 1e-6)


def to_display(light: Light, white: float) -> Frames:
    """Scene-linear RGB (H, W, 3) as uint8 BGR under the sRGB curve, `white` at 255, clipped. Primaries stay as they
    are: for training any colors will do."""
    linear = np.clip(light[..., ::-1] / white, 0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray(np.rint(255 * encoded), np.uint8)


def _video_frames(path: Path) -> Iterator[Frames]:
    video = cv2.VideoCapture(str(path))
    try:
        for _ in range(MOST_FRAMES):
            found, frame = video.read()
            if not found:
                return
            yield _shrunk(np.asarray(frame, np.uint8))
    finally:
        video.release()


def _folder_frames(path: Path) -> Iterator[Frames]:
    files = numbered_pictures(path)[:MOST_FRAMES]
    if not files or files[0].suffix.lower() != ".exr":
        yield from (_decoded(file.read_bytes()) for file in files)
        return
    # one exposure for the whole clip, or it would flicker
    white = white_of(read_exr(files[0]))
    yield from (_shrunk(to_display(read_exr(file), white)) for file in files)


def numbered_pictures(folder: Path) -> list[Path]:
    """The pictures of a folder whose names end in a number, of the type most of them have, by number."""
    files = [p for p in folder.iterdir() if p.suffix.lower() in PICTURES and re.search(r"\d+$", p.stem)]
    types = Counter(p.suffix.lower() for p in files)
    if not types:
        return []
    suffix = min(types, key=lambda name: (-types[name], name))
    numbered = [(int(re.findall(r"\d+$", p.stem)[0]), p) for p in files if p.suffix.lower() == suffix]
    return [path for _, path in sorted(numbered)]


def _decoded(content: bytes) -> Frames:
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) if content else None
    if image is None:
        raise DecodingError("expected a PNG or JPEG picture, could not decode it")
    return _shrunk(np.asarray(image, np.uint8))


def read_exr(path: Path) -> Light:
    """RGB (H, W, 3) float32 of the first part, scene-linear, without NaN, infinite and negative values."""
    import OpenEXR

    try:
        with OpenEXR.File(str(path), separate_channels=True) as file:
            channels = {name: np.asarray(c.pixels, np.float32) for name, c in file.channels().items()}
    except Exception as error:  # the library has no error class of its own
        raise DecodingError(f"expected an EXR file, got: {error}") from error
    names = [name for name in ("R", "G", "B") if name in channels] or ["Y", "Y", "Y"]
    if len(names) < 3 or any(name not in channels for name in names):
        raise DecodingError(f"expected channels R, G and B, or Y; got {', '.join(sorted(channels))}")
    light = np.dstack([channels[name] for name in names])
    return np.asarray(np.nan_to_num(light, nan=0, posinf=65504, neginf=0).clip(0, None), np.float32)


def _shrunk(image: Frames) -> Frames:
    height, width = image.shape[:2]
    factor = LONG_SIDE / max(height, width)
    if factor >= 1:
        return image
    size = (max(round(width * factor / 2) * 2, 2), max(round(height * factor / 2) * 2, 2))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
