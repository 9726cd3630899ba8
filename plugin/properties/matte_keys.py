"""Keys that are mattes or object numbers: which channels of their files count, and what the pixels say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stpn.ocio.plate import Plate, PlateError, PlateInfo
from stpn.ocio.raster import normalized
from stpn.plugin.frame_source import FrameSource

Image = NDArray[np.float32]
Array = NDArray[Any]

MOST_LABELS = 255
_COLOR = ("R", "G", "B")
# what a filter or a half float may put a matte past 1
_TOLERANCE = 1e-3


@dataclass(frozen=True)
class MatteKeys:
    """The keys of a shot as mattes.

    Attributes:
        files: where each key comes from.
        part: the part that holds the mattes.
        channels: names of the mattes, an object each; R, G and B where a picture of three equal channels is one matte.
        others: names of color channels beside them, which are left out.
        pixel_type: type of the mattes: half, float, uint8 ...
        format: exr, png, tiff ...
        labels: whether the one channel holds object numbers.
    """

    files: FrameSource
    part: int
    channels: tuple[str, ...]
    others: tuple[str, ...]
    pixel_type: str
    format: str
    labels: bool

    @property
    def names(self) -> tuple[str, ...]:
        """What the mattes are called in an EXR: as in the keys; what a picture holds is A, or label."""
        if self.format == "exr" and self.channels != _COLOR:
            return self.channels
        return ("label",) if self.labels else ("A",)

    def stored(self, key: Plate) -> list[Array]:
        """(H, W) of each matte in the type of the file; object numbers of a PNG with a palette are its indices."""
        arrays = [key.pixels(name, self.part) for name in self.channels]
        if self.labels and self.channels == _COLOR:
            colors = _palette(key)
            if colors is not None:
                return [_indices(arrays, colors)]
        return arrays[:1] if self.channels == _COLOR else arrays

    def mattes(self, key: Plate) -> Image:
        """(H, W, C) float32, 0..1, an object each."""
        scaled = [normalized(array) if self.format != "exr" else array for array in self.stored(key)]
        return np.clip(np.dstack(scaled).astype(np.float32), 0, 1)

    def objects(self, key: Plate) -> NDArray[np.uint8]:
        """(H, W) object numbers, 0 background."""
        return np.asarray(self.stored(key)[0], np.uint8)

    def problem(self, frame: int, key: Plate) -> str:
        """What is wrong with the pixels of a key; empty: nothing."""
        where = f"{key.info.path}: frame {frame}"
        if self.channels == _COLOR and not (self.labels and _palette(key) is not None):
            red, green, blue = (key.pixels(name, self.part) for name in _COLOR)
            if not (np.array_equal(red, green) and np.array_equal(red, blue)):
                return (
                    f"{where}: expected a matte in A, in one channel, or in R, G and B alike, found a picture in "
                    "color; write one matte an object, or their numbers as grey values for --mask-labels"
                )
        for name, array in zip(self.channels, self.stored(key), strict=False):
            found = self._label_problem(array) if self.labels else self._matte_problem(array)
            if found:
                return f"{where}, channel {name}: {found}"
        if "A" in self.channels and self.others and not self.labels:
            alpha, color = key.pixels("A", self.part), [key.pixels(name, self.part) for name in self.others]
            most = np.iinfo(alpha.dtype).max if alpha.dtype.kind == "u" else 1
            if (alpha >= most).all() and any((array < most).any() for array in color):
                return (
                    f"{where}: expected a matte in A, found A = 1 everywhere beside {', '.join(self.others)}; write "
                    "the matte as grey, without alpha"
                )
        return ""

    def _matte_problem(self, array: Array) -> str:
        if array.dtype.kind == "u":
            return ""
        broken = int(np.count_nonzero(~np.isfinite(array)))
        if broken:
            return f"expected a matte of 0 to 1, found {broken} pixels that are NaN or infinite; repair them"
        low, high = float(array.min()), float(array.max())
        if low < -_TOLERANCE or high > 1 + _TOLERANCE:
            return f"expected a matte of 0 to 1, found values of {low:.4g} to {high:.4g}; scale or clamp it"
        return ""

    def _label_problem(self, array: Array) -> str:
        if not np.isfinite(array).all() or (array != np.rint(array.astype(np.float64))).any():
            return "expected object numbers (--mask-labels), found values that are not whole; leave --mask-labels out"
        low, high = array.min(), array.max()
        if low < 0 or high > MOST_LABELS:
            found = int(high) if high > MOST_LABELS else int(low)
            return f"expected object numbers of 0 to {MOST_LABELS} (--mask-labels), found {found}; renumber them"
        return ""


def open_matte_keys(
    files: FrameSource, infos: Sequence[PlateInfo], *, labels: bool
) -> tuple[MatteKeys, str, list[str]]:
    """Decides which channels are mattes.

    Args:
        files: where each key comes from.
        infos: what each holds, at least one.
        labels: whether they hold object numbers.

    Returns:
        The keys, what was decided in words, and what is wrong with the others, one line each.

    Raises:
        PlateError: the first key holds no mattes.
    """
    first = infos[0]
    part, channels, others = _matte_channels(first, labels=labels)
    kinds = {channel.name: channel.pixel_type for channel in first.parts[part].channels}
    ids = [name for name in channels if kinds[name] == "uint32" and first.format == "exr"]
    if ids and not labels:
        raise PlateError(
            f"{first.path}: expected mattes of half or float, found {ids[0]} of type uint32: IDs are no mattes; "
            "extract one matte an object, or give --mask-labels"
        )
    if labels and len(channels) > 1 and channels != _COLOR:
        raise PlateError(
            f"{first.path}: expected one channel of object numbers (--mask-labels), found {', '.join(channels)}"
        )
    widest = max((kinds[name] for name in channels), key=lambda kind: (kind == "float", kind))
    keys = MatteKeys(files, part, channels, others, widest, first.format, labels)
    problems = []
    for info in infos[1:]:
        found_part, found, _ = _matte_channels(info, labels=labels)
        types = {channel.name: channel.pixel_type for channel in info.parts[found_part].channels}
        wanted = ", ".join(f"{name} ({kinds[name]})" for name in channels)
        if (found_part, info.format) != (part, first.format) or [(n, types[n]) for n in found] != [
            (n, kinds[n]) for n in channels
        ]:
            got = ", ".join(f"{name} ({types[name]})" for name in found)
            problems.append(
                f"{info.path}: expected mattes {wanted} in part {part} as {first.path.name} has, found {got} in part "
                f"{found_part}"
            )
    what = "object numbers in" if labels else "mattes" if len(channels) > 1 and channels != _COLOR else "matte"
    left = f"; {', '.join(others)} left out" if others else ""
    return keys, f"keys: {what} {', '.join(channels)}{left}", problems


def _matte_channels(info: PlateInfo, *, labels: bool) -> tuple[int, tuple[str, ...], tuple[str, ...]]:
    """Part and names of the mattes, and of what is beside them: of a picture with color, A is the matte."""
    for index, part in enumerate(info.parts):
        names = part.channel_names
        color = tuple(name for name in names if name in _COLOR) if set(_COLOR) <= set(names) else ()
        if info.format != "exr":
            color = color or tuple(name for name in names if name != "A")
            if labels or "A" not in names:
                return index, _COLOR if set(_COLOR) <= set(color) else color[:1], ()
            return index, ("A",), color
        if color and "A" in names:
            return index, ("A",), tuple(name for name in names if name != "A")
        mattes = tuple(name for name in names if name not in color)
        if mattes:
            return index, mattes, color
    return 0, _COLOR, ()


def _palette(key: Plate) -> NDArray[np.uint8] | None:
    """(N, 3) the colors of a PNG with a palette, which OpenImageIO gives in place of indices; None of another file."""
    if key.info.format != "png":
        return None
    with key.info.path.open("rb") as file:
        if file.read(8) != b"\x89PNG\r\n\x1a\n":
            return None
        while len(head := file.read(8)) == 8 and head[4:] not in (b"IDAT", b"IEND"):
            data = file.read(int.from_bytes(head[:4], "big"))
            file.seek(4, 1)
            if head[4:] == b"IHDR" and data[9:10] != b"\x03":
                return None
            if head[4:] == b"PLTE":
                return np.frombuffer(data, np.uint8).reshape(-1, 3)
    return None


def _indices(colors: Sequence[Array], palette: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W) the place of each pixel's color in the palette; of equal ones the first."""
    weights = (65536, 256, 1)
    codes = [sum(int(weight) * values.astype(np.int64) for weight, values in zip(weights, of, strict=True))
             for of in (palette.T, colors)]  # fmt: skip
    entries, places = np.unique(codes[0], return_index=True)
    return np.asarray(places[np.searchsorted(entries, codes[1])], np.uint8)
