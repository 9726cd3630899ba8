"""Which channels of a file are color, told from their names and types; everything else is left alone.

The rule. Channels form layers: what stands before the last dot of their names. A layer is color if it has R, G and B
(also r, g, b or red, green, blue) that are half or float, or Y alone, and if no word of its name, or of the name of its
part, says that it holds something else: normals, positions, motion, UVs, depth, IDs, mattes, cryptomatte. In a format
that is not EXR integers are color too. The layer's own A is its alpha.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from stpn.ocio.convert_request import ConvertRequestError
from stpn.ocio.plate_info import ChannelInfo, PartInfo, PlateInfo

COLOR_NAMES = (("R", "G", "B"), ("r", "g", "b"), ("red", "green", "blue"), ("Red", "Green", "Blue"))
ALPHA_NAMES = ("A", "a", "alpha", "Alpha")
FLOATING = ("half", "float")

DATA_WORDS = frozenset(
    {
        "normal", "normals", "nrm", "nml", "tangent", "tangents", "bitangent", "binormal", "dpdu", "dpdv",
        "position", "positions", "pos", "pworld", "pref", "wpp", "worldpos", "worldposition", "pointposition",
        "motion", "motionvector", "motionvectors", "vector", "vectors", "mv", "mvec", "velocity", "flow", "disparity",
        "uv", "uvs", "stmap", "uvw", "depth", "zdepth", "distance",
        "id", "ids", "objectid", "objid", "materialid", "matid", "nodeid", "instanceid", "assetid", "index", "indices",
        "mask", "masks", "matte", "mattes", "multimatte", "puzzlematte", "coverage", "opacity", "alpha", "samples",
        "nworld", "ncamera",
    }
)  # fmt: skip
"""Words of layer and part names that say: no color. Letter case does not matter."""

WHOLE_NAMES = frozenset({"n", "p", "z", "s", "t", "u", "v", "st", "sts", "mm", "data"})
"""Names that say the same if they are the whole name of a layer, or all that stands between two dots of it."""


@dataclass(frozen=True)
class ColorLayer:
    """Color channels that are converted together.

    Attributes:
        part: Index of their part.
        name: What stands before the last dot of their names; "" for R, G and B themselves.
        channels: Red, green, blue, or luminance alone.
        alpha: The layer's own alpha; None where it has none.
    """

    part: int
    name: str
    channels: tuple[str, ...]
    alpha: str | None

    @property
    def all_channels(self) -> tuple[str, ...]:
        """Color and alpha."""
        return self.channels if self.alpha is None else (*self.channels, self.alpha)

    @property
    def called(self) -> str:
        """The layer in words."""
        return f"layer {self.name}" if self.name else f"{', '.join(self.channels)}"


def is_data_name(name: str) -> bool:
    """Whether the name of a layer or part says that it is no color."""
    for component in name.split("."):
        if component.casefold() in WHOLE_NAMES:
            return True
        spaced = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", component)
        words = [word.casefold() for word in re.findall(r"[^\W\d_]+", spaced)]
        joined = "".join(words)
        if joined in DATA_WORDS or any(
            word in DATA_WORDS or word.startswith("crypto") or word.endswith("cryptomatte") for word in words
        ):
            return True
    return False


def chosen_parts(info: PlateInfo, pattern: str | None) -> tuple[int, ...]:
    """Return the parts that `--parts` means: names, or numbers from 0.

    Raises:
        ConvertRequestError: A pattern means none.
    """
    if pattern is None:
        return tuple(range(len(info.parts)))
    names = [part.name or str(index) for index, part in enumerate(info.parts)]
    chosen: set[int] = set()
    for wanted in _patterns(pattern):
        found = {
            index for index, name in enumerate(names) if fnmatchcase(name, wanted) or fnmatchcase(str(index), wanted)
        }
        if not found:
            raise ConvertRequestError(
                f"--parts {wanted}: expected a part of {info.path}, got none of that name; {_hint(wanted, names)}"
            )
        chosen |= found
    return tuple(sorted(chosen))


def color_layers(info: PlateInfo, parts: Sequence[int], pattern: str | None = None) -> tuple[ColorLayer, ...]:
    """Return the layers that are color, in the order of the file.

    Args:
        info: The file.
        parts: Indices of the parts that are looked at.
        pattern: Of `--channels`, comma separated: these channels are taken for color whatever their layer is called;
            a channel is named as in the file, or as part/channel. None: by the rule.

    Raises:
        ConvertRequestError: A pattern means no channel, or no whole color.
    """
    exr = info.format == "exr"
    if pattern is None:
        return tuple(
            layer
            for index in parts
            for layer in _layers(index, info.parts[index].channels, exr)
            if not _is_data(info.parts[index], layer)
        )
    names = [_qualified(info, index, name) for index in parts for name in info.parts[index].channel_names]
    matched: set[tuple[int, str]] = set()
    for wanted in _patterns(pattern):
        found = {
            (index, name)
            for index in parts
            for name in info.parts[index].channel_names
            if fnmatchcase(name, wanted) or fnmatchcase(f"{info.parts[index].name}/{name}", wanted)
        }
        if not found:
            raise ConvertRequestError(
                f"--channels {wanted}: expected a channel of {info.path}, got none of that name; {_hint(wanted, names)}"
            )
        matched |= found
    layers = []
    for index in parts:
        layers += [
            layer
            for layer in _layers(index, info.parts[index].channels, exr)
            if any((index, name) in matched for name in layer.channels)
        ]
    problems = []
    for layer in layers:
        missing = [name for name in layer.channels if (layer.part, name) not in matched]
        if missing:
            problems.append(
                f"--channels {pattern}: expected all of {', '.join(layer.channels)}, which are one color, got them"
                f" without {', '.join(missing)}; name them too"
            )
    if not layers:
        problems.append(
            f"--channels {pattern}: expected R, G and B of a layer, or Y, half or float, in {info.path}, got"
            f" {', '.join(sorted(name for _, name in matched))}; name colors"
        )
    if problems:
        raise ConvertRequestError(*problems)
    return tuple(layers)


def _layers(part: int, channels: Sequence[ChannelInfo], exr: bool) -> list[ColorLayer]:
    """Return all that looks like color by the last word of the names and by type."""
    by_layer: dict[str, dict[str, ChannelInfo]] = {}
    for channel in channels:
        layer, _, leaf = channel.name.rpartition(".")
        by_layer.setdefault(layer, {})[leaf] = channel
    found = []
    for layer, held in by_layer.items():
        usable = {leaf for leaf, channel in held.items() if not exr or channel.pixel_type in FLOATING}
        triple: tuple[str, ...] | None = next((names for names in COLOR_NAMES if usable.issuperset(names)), None)
        if triple is None and "Y" in usable and not {"X", "Z", "RY", "BY"} & set(held):
            triple = ("Y",)
        if triple is not None:
            alpha = next((held[name].name for name in ALPHA_NAMES if name in usable), None)
            found.append(ColorLayer(part, layer, tuple(held[name].name for name in triple), alpha))
    return found


def _is_data(part: PartInfo, layer: ColorLayer) -> bool:
    if is_data_name(layer.name) or is_data_name(part.name):
        return True
    if part.attributes.get("colorInteropID") == "data":
        return True
    for name, value in part.attributes.items():
        of_cryptomatte = name.startswith("cryptomatte/") and name.endswith("/name") and isinstance(value, str)
        if of_cryptomatte and value and re.fullmatch(re.escape(str(value)) + r"\d*", layer.name):
            return True
    return False


def _patterns(text: str) -> list[str]:
    return [pattern.strip() for pattern in text.split(",") if pattern.strip()]


def _qualified(info: PlateInfo, part: int, name: str) -> str:
    return name if len(info.parts) == 1 else f"{info.parts[part].name or part}/{name}"


def _hint(wanted: str, names: Sequence[str]) -> str:
    folded = {name.casefold(): name for name in names}
    close = difflib.get_close_matches(wanted.casefold().rstrip("*"), folded, 3, 0.5)
    if close:
        return f"did you mean {' or '.join(folded[name] for name in close)}?"
    return f"it has {', '.join(list(names)[:12])}"
