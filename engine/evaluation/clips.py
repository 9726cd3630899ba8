"""Sources to measure on: which there are, and their frames in memory."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

LONG_SIDE = 512
"""Pixels; larger pictures are reduced to it before anything is measured."""

Picture = NDArray[np.uint8]

_VIDEOS = {".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v"}
_STILLS = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"}
_PANORAMAS = {".exr", ".hdr"}


class ClipError(Exception):
    """A source cannot be found or read: what was expected, what was found, where, what to do."""


@dataclass(frozen=True)
class Source:
    """One clip, panorama or masked sequence.

    Attributes:
        name: unlike that of all others of the same list.
        path: a file or a folder.
    """

    name: str
    path: Path


def find_sources(places: Iterable[Path], prop: str, data: Path | None = None) -> list[Source]:
    """The sources that are meant.

    Args:
        places: sources, folders of sources, or JSON lists: an object with a list of paths for each property.
        prop: color (a video, or a folder of numbered pictures), hdr (a panorama, .exr or .hdr) or mask (a folder with
            frames.mp4 or frames/, and masks/00000.png).
        data: what paths of a JSON list are relative to; None: the folder `data` beside the JSON's own folder.

    Returns:
        One or more, in the order given, those of a folder by name; each once.

    Raises:
        ClipError: something is not there, or is no source.
    """
    is_source, expected = _KINDS[prop]
    paths: list[Path] = []
    for place in places:
        if place.suffix.lower() == ".json":
            listed = _listed(place, prop, data or place.resolve().parent.parent / "data")
            for path in listed:
                if not is_source(path):
                    raise ClipError(f"{place}: expected {expected} at {path}, found {_found(path)}; name its --data")
            paths += listed
        elif is_source(place):
            paths.append(place)
        else:
            inside = sorted(path for path in place.iterdir() if is_source(path)) if place.is_dir() else []
            if not inside:
                raise ClipError(f"{place}: expected {expected}, or a folder of such, found {_found(place)}")
            paths += inside
    once = list({path.resolve(): path for path in paths}.values())
    return [Source(name, path) for name, path in zip(_names(once), once, strict=True)]


def read_frames(path: Path) -> Picture:
    """All frames of a video or of a folder of numbered pictures, long side at most `LONG_SIDE`.

    Returns:
        (T, H, W, 3) uint8 sRGB.

    Raises:
        ClipError: no frame can be decoded, or sizes differ.
    """
    frames = [shrunk(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)) for frame in _decoded(path)]
    if not frames:
        raise ClipError(f"{path}: expected a video or numbered pictures, no frame could be decoded")
    for number, frame in enumerate(frames):
        if frame.shape != frames[0].shape:
            sizes = [f"{shape[1]} x {shape[0]}" for shape in (frames[0].shape, frame.shape)]
            raise ClipError(f"{path}: expected frames of one size, got {sizes[0]} and, at frame {number}, {sizes[1]}")
    return np.stack(frames)


def shrunk(image: NDArray[Any]) -> NDArray[Any]:
    """An image (H, W) or (H, W, C) with a long side of at most `LONG_SIDE`, averaged by area; both sides then even."""
    height, width = image.shape[:2]
    factor = LONG_SIDE / max(height, width)
    if factor >= 1:
        return image
    size = (2 * round(width * factor / 2), 2 * round(height * factor / 2))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))


def read_masks(folder: Path, frames: Picture) -> list[NDArray[np.bool_] | None]:
    """The masks of a sequence at the size of its frames; None where a frame has none.

    Args:
        folder: has 00000.png and so on, numbered as the frames; anything but 0 belongs to the object.
        frames: (T, H, W, 3).

    Raises:
        ClipError: the first frame has no mask.
    """
    masks: list[NDArray[np.bool_] | None] = []
    for number, frame in enumerate(frames):
        path = folder / f"{number:05d}.png"
        mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) if path.is_file() else None
        if mask is None:
            masks.append(None)
            continue
        covered = cv2.resize((mask > 0).astype(np.float32), frame.shape[1::-1], interpolation=cv2.INTER_AREA)
        masks.append(np.asarray(covered > 0.5))
    if masks[0] is None:
        raise ClipError(f"{folder}: expected a mask of the first frame, 00000.png; it is the key of all others")
    return masks


def _decoded(path: Path) -> Iterable[Any]:
    """Frames (H, W, 3) uint8 BGR."""
    if path.is_dir():
        for still in _stills(path):
            picture = cv2.imread(str(still), cv2.IMREAD_COLOR)
            if picture is None:
                raise ClipError(f"{still}: expected a picture, it cannot be decoded")
            yield picture
        return
    video = cv2.VideoCapture(str(path))
    while True:
        found, frame = video.read()
        if not found:
            return
        yield frame


def _stills(folder: Path) -> list[Path]:
    """The pictures of a folder in the order of the last number in their names."""

    def number(path: Path) -> tuple[int, str]:
        digits = re.findall(r"\d+", path.stem)
        return int(digits[-1]) if digits else -1, path.name

    return sorted((path for path in folder.iterdir() if path.suffix.lower() in _STILLS), key=number)


def _is_clip(path: Path) -> bool:
    return bool(_stills(path)) if path.is_dir() else path.is_file() and path.suffix.lower() in _VIDEOS


def _is_panorama(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in _PANORAMAS


def _is_masked(path: Path) -> bool:
    return (path / "masks").is_dir() and ((path / "frames").is_dir() or (path / "frames.mp4").is_file())


_KINDS: dict[str, tuple[Callable[[Path], bool], str]] = {
    "color": (_is_clip, f"a video ({', '.join(sorted(_VIDEOS))}) or a folder of numbered 8-bit pictures"),
    "hdr": (_is_panorama, "an equirectangular panorama (.exr, .hdr)"),
    "mask": (_is_masked, "a folder with frames.mp4 or frames/, and masks/"),
}


def _found(path: Path) -> str:
    if path.is_dir():
        return "a folder without any"
    return "a file that is none" if path.exists() else "nothing"


def _listed(file: Path, prop: str, data: Path) -> list[Path]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ClipError(f"{file}: expected a JSON list of sources, found nothing") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ClipError(f"{file}: expected a JSON list of sources, it cannot be read: {error}") from error
    listed = content.get(prop) if isinstance(content, dict) else None
    if not isinstance(listed, list) or not listed or not all(isinstance(item, str) for item in listed):
        keys = ", ".join(content) if isinstance(content, dict) else type(content).__name__
        raise ClipError(f'{file}: expected {{"{prop}": ["path", ...]}}, found {keys or "an empty object"}')
    return [data / item for item in listed]


def _names(paths: list[Path]) -> list[str]:
    """The files' own names; where those say nothing or are not alone, with their folders'."""
    names = [path.parent.name if path.stem == "frames" else path.name if path.is_dir() else path.stem for path in paths]
    count = Counter(names)
    pairs = zip(names, paths, strict=True)
    wider = [name if count[name] == 1 else f"{path.parent.name}/{path.name}" for name, path in pairs]
    count = Counter(wider)
    return [name if count[name] == 1 else str(path.resolve()) for name, path in zip(wider, paths, strict=True)]
