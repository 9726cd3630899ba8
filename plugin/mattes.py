"""The mattes of a sequence, an object each: channels of an EXR, grey pictures, or pictures of labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stpn.ocio.plate import PlateError, PlateInfo
from stpn.ocio.sequence import Sequence
from stpn.plugin.layers import Layers, open_layers

Image = NDArray[np.float32]

MOST_LABELS = 32
"""Objects that a picture of labels may hold. A grey picture without a larger value holds labels: a matte that is
nowhere above an eighth is none."""
MOST_NUMBERS = 255
"""The same where all values are said to be labels."""

_COLORS = 1 << 24  # objects of any other color are numbered from here


@dataclass(frozen=True)
class Mattes:
    """A numbered sequence of mattes.

    Attributes:
        layers: where they lie.
        labels: what each object has in a picture of labels: a value, or a color 0xRRGGBB; -1: it is not there. Empty: a
            channel each.
        objects: names of the objects, those of all sequences of a comparison.
    """

    layers: Layers
    labels: tuple[int, ...]
    objects: tuple[str, ...]

    @property
    def frames(self) -> frozenset[int]:
        """The frames that are on disk."""
        return self.layers.frames

    def mattes(self, frame: int) -> tuple[Image, int]:
        """The mattes of a frame.

        Returns:
            (N, H, W) float32, 0..1, one an object; and how many pixels were NaN: they are 0 here.

        Raises:
            PlateError: the file cannot be read.
        """
        if self.labels:
            code = _code(self.layers.stored(frame))
            return np.stack([code == label for label in self.labels]).astype(np.float32), 0
        values = self.layers.values(frame)
        if not _is_exr(self.layers.info):
            values = values[:1]  # of a grey picture all channels are alike
        broken = int(np.count_nonzero(np.isnan(values).any(axis=0)))
        return np.asarray(np.clip(np.nan_to_num(values, nan=0.0), 0.0, 1.0), np.float32), broken


def open_mattes(
    files: Mapping[str, Sequence],
    infos: Mapping[str, list[PlateInfo]],
    frames: Mapping[str, list[int]],
    looked_at: Mapping[str, list[int]],
    asked: tuple[str, ...],
    *,
    numbered: bool = False,
) -> dict[str, Mattes]:
    """Decides what is an object, alike in all sequences.

    Args:
        files: by role: result at least.
        infos: of every frame that will be read.
        frames: all that are on disk.
        looked_at: those that will be read; integer pictures are read for their labels.
        asked: names of channels; empty: not asked.
        numbered: whether all values are labels, however large, those of an EXR's channel too.

    Raises:
        PlateError: the sequences do not hold the same objects, or no mattes.
    """
    if asked and not any(_is_exr(of_role[0]) for role, of_role in infos.items() if role in files):
        raise PlateError(f"--channels {','.join(asked)}: expected EXR files to choose from, found none; leave it out")
    exr = {role: of_role for role, of_role in files.items() if _is_exr(infos[role][0])}
    layers = open_layers(exr, infos, frames, asked, single=numbered) if exr else {}
    for role in files.keys() - exr.keys():
        layers[role] = _integers(role, files[role], infos[role], frames[role], numbered=numbered)
    can_be = [role for role in files if numbered or _can_be_labels(layers[role])]
    labels = {role: found for role in can_be if (found := _labels(layers[role], looked_at[role], numbered))}
    every = tuple(sorted({number for found in labels.values() for number in found}))
    if numbered:
        labels = {role: labels.get(role, {}) for role in files}
        if not every:
            raise PlateError(f"{files['result'].pattern}: expected object numbers, found nothing but 0")
    counts = {role: len(every) if role in labels else _count(layers[role]) for role in files}
    if len(set(counts.values())) > 1:
        said = ", ".join(f"{count} in {files[role].pattern}" for role, count in sorted(counts.items()))
        raise PlateError(f"expected as many mattes in all sequences, found {said}; name those meant with --channels")
    others = sorted(files.keys() - labels.keys())
    if len(every) > 1 and others:
        raise PlateError(
            f"{files[others[0]].pattern}: expected labels as {files[min(labels)].pattern} has, found mattes by "
            "channel, and nothing says which is which; write all the same way"
        )
    channels = next((layers[role].channels for role in ("keys", "reference", "result") if role in exr), ("matte",))
    names = tuple(map(_name, every)) if len(every) > 1 else channels
    return {
        role: Mattes(layers[role], tuple(labels[role].get(n, -1) for n in every) if role in labels else (), names)
        for role in files
    }


def _integers(role: str, files: Sequence, infos: list[PlateInfo], frames: Iterable[int], *, numbered: bool) -> Layers:
    """A matte in alpha; or a picture of grey, or of colors."""
    held = infos[0].parts[0].channel_names
    channels = ("A",) if "A" in held and not numbered else ("R", "G", "B") if "R" in held else ("Y",)
    for info in infos:
        if info.format == "exr" or not set(channels) <= set(info.parts[0].channel_names):
            raise PlateError(
                f"{info.path}: expected {', '.join(channels)} as in {infos[0].path.name}, found "
                f"{', '.join(info.parts[0].channel_names)}"
            )
    return Layers(role, files, 0, channels, infos[0], frozenset(frames))


def _can_be_labels(layers: Layers) -> bool:
    """Whether a sequence may hold labels, though nobody says so: mattes of an EXR are half or float."""
    types = [c.pixel_type for c in layers.info.parts[layers.part].channels if c.name in layers.channels]
    return not _is_exr(layers.info) or types == ["uint32"]


def _labels(layers: Layers, frames: Iterable[int], numbered: bool) -> dict[int, int]:
    """The labels of a sequence, by the number of the object; empty: it holds a matte, or nothing."""
    found: set[int] = set()
    most = MOST_NUMBERS if numbered else MOST_LABELS
    for frame in frames:
        stored = layers.stored(frame)
        code = _code(stored)
        if len(stored) == 1 and code.max() > MOST_LABELS and not numbered:
            return {}
        found |= {int(value) for value in np.unique(code)} - {0}
        if len(found) > most:
            if not numbered and all(np.array_equal(array, stored[0]) for array in stored):
                return {}
            raise PlateError(
                f"{layers.files.path(frame)}: expected a grey matte, or at most {most} labels, one an object, "
                f"found {len(found)}"
            )
    return {_number(label) if len(layers.channels) > 1 else label: label for label in found}


def _code(stored: list[NDArray[np.generic]]) -> NDArray[np.int32]:
    """One number a pixel: the value of a grey picture, 0xRRGGBB of a colored one."""
    if len(stored) == 1:
        return np.asarray(np.rint(np.nan_to_num(stored[0].astype(np.float32))), np.int32)
    red, green, blue = (array.astype(np.int32) >> (8 if array.dtype.itemsize > 1 else 0) for array in stored)
    return np.asarray(red << 16 | green << 8 | blue, np.int32)


def _number(color: int) -> int:
    """The number of an object from its color 0xRRGGBB: that of the palette that label pictures commonly have, 800000,
    008000, 808000, 000080 ..., where the bits of a number are dealt to red, green and blue; others come after these."""
    number = 0
    for bit in range(8):
        for index, channel in enumerate((color >> 16, color >> 8, color)):
            number |= (channel >> (7 - bit) & 1) << (3 * bit + index)
    return number if number <= MOST_NUMBERS else _COLORS + color


def _name(number: int) -> str:
    return str(number) if number < _COLORS else f"#{number - _COLORS:06x}"


def _count(layers: Layers) -> int:
    return len(layers.channels) if _is_exr(layers.info) else 1


def _is_exr(info: PlateInfo) -> bool:
    return info.format == "exr"
