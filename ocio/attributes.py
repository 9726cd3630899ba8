"""`--colorspace auto`: the color space of a file, decided from its attributes and its format, with the reason."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from stpn.ocio.analysis import analyse
from stpn.ocio.config import ColorError, ColorSpaceInfo, Config
from stpn.ocio.primaries import CHROMATICITY_TOLERANCE, PUBLISHED, REC709, Primaries

_ADVICE = "pass --colorspace NAME"

#: Names that OpenImageIO, older configs and the Color Interop Forum use, for configs that lack them as an alias.
#: Each goes to the spaces that mean the same, in order of trust.
_SYNONYMS: dict[str, tuple[str, ...]] = {
    "srgb": ("srgb_rec709_scene", "srgb_texture", "sRGB - Texture", "Utility - sRGB - Texture", "texture_paint"),
    "srgb_rec709_scene": ("srgb_texture", "sRGB - Texture", "Utility - sRGB - Texture", "texture_paint"),
    "srgb_rec709_display": ("sRGB - Display", "srgb_display", "Output - sRGB"),
    "rec709": ("Camera Rec.709", "rec709_camera", "g24_rec709_scene"),
    "lin_srgb": ("lin_rec709_scene",),
    "lin_ap0_scene": ("ACES2065-1", "aces_interchange"),
    "lin_ap1_scene": ("ACEScg", "lin_ap1"),
    "acescg": ("lin_ap1_scene", "lin_ap1"),
    "aces": ("ACES2065-1", "aces_interchange"),
}
#: Linear spaces by name, for configs that have the space under another name: found by their primaries.
_LINEAR_PRIMARIES = {
    "lin_rec709_scene": "Rec.709",
    "lin_srgb": "Rec.709",
    "lin_rec2020_scene": "Rec.2020",
    "lin_p3d65_scene": "P3-D65",
    "lin_adobergb_scene": "Adobe RGB",
    "lin_ap0_scene": "ACES AP0",
    "lin_ap1_scene": "ACES AP1",
}
#: OpenImageIO's "scene-linear with the facility's primaries": says linear, but not which.
_UNSPECIFIC_LINEAR = frozenset({"linear", "scene_linear", "lnf"})
_SAYS_NOTHING = frozenset({"", "unknown", "undefined"})


@dataclass(frozen=True)
class Decision:
    """A color space and why it was taken.

    Attributes:
        space: the space's own name in the config.
        reason: one clause for people: "chromaticities are those of Rec.709".
    """

    space: str
    reason: str


def space_from_attributes(
    config: Config, attributes: Mapping[str, object], *, file_format: str, pixel_type: str | None = None
) -> Decision:
    """Decides the color space of a file that nobody named one for.

    What the file says is asked in this order, and the first answer holds: `colorInteropID`; acesImageContainerFlag = 1;
    `dpx:Transfer`; `oiio:ColorSpace` where it names a space; `chromaticities`; then what the format implies. A hint
    that contradicts the one taken is named in the reason.

    Args:
        config: the config.
        attributes: the file's attributes by name.
        file_format: "exr", "png", "jpeg", "tiff", "dpx", "hdr", or a file extension of these.
        pixel_type: "half", "float", "uint8", "uint16" ...; decides TIFF, which may hold either; None: integer.

    Returns:
        The space and the reason.

    Raises:
        ColorError: the hints name no space of the config, or the format implies none.
    """
    notes: list[str] = []
    decision = (
        _by_interop_id(config, attributes)
        or _by_container_flag(config, attributes)
        or _by_transfer(config, attributes)
        or _by_name(config, attributes, file_format, notes)
        or _by_chromaticities(config, attributes)
        or _by_format(config, file_format, pixel_type, notes)
    )
    notes.extend(_contradictions(config, attributes, decision.space, file_format))
    return Decision(decision.space, "; ".join([decision.reason, *notes]))


def _find(config: Config, name: str) -> ColorSpaceInfo | None:
    """The space meant by a name in a file, through the config, the synonyms, and the primaries of linear spaces."""
    folded = name.casefold().removeprefix("ocio:")
    for candidate in (name, *_SYNONYMS.get(folded, ())):
        found = config.find(candidate)
        if found is not None:
            return found
    wanted = _LINEAR_PRIMARIES.get(folded)
    if wanted is None:
        return None
    primaries = next(known for known in PUBLISHED if known.name == wanted)
    return _linear_space(config, primaries.chromaticities)


def _text(attributes: Mapping[str, object], name: str) -> str:
    value = attributes.get(name)
    return value.strip() if isinstance(value, str) else ""


def _by_interop_id(config: Config, attributes: Mapping[str, object]) -> Decision | None:
    identifier = _text(attributes, "colorInteropID")
    if identifier.casefold() in _SAYS_NOTHING:
        return None
    found = _find(config, identifier)
    if found is None:
        raise ColorError(
            f"expected a space of the config, got colorInteropID {identifier!r} in the file, which {config.origin}"
            f" does not have; {_ADVICE}"
        )
    if found.is_data:
        raise ColorError(f"expected color, but colorInteropID {identifier!r} says that the file holds data; {_ADVICE}")
    return Decision(found.name, f"colorInteropID is {identifier!r}")


def _by_container_flag(config: Config, attributes: Mapping[str, object]) -> Decision | None:
    if not _has_container_flag(attributes):
        return None
    found = _find(config, "lin_ap0_scene")
    if found is None:
        raise ColorError(
            f"expected ACES2065-1 for acesImageContainerFlag = 1, found none in {config.origin}; {_ADVICE}"
        )
    return Decision(found.name, "acesImageContainerFlag is 1 (SMPTE ST 2065-4)")


def _has_container_flag(attributes: Mapping[str, object]) -> bool:
    flag = attributes.get("acesImageContainerFlag")
    return isinstance(flag, int | float | np.integer) and int(flag) == 1


def _by_transfer(config: Config, attributes: Mapping[str, object]) -> Decision | None:
    """DPX says its transfer function; OpenImageIO's own oiio:ColorSpace takes video for sRGB."""
    transfer = _text(attributes, "dpx:Transfer")
    if transfer.casefold() == "printing density":
        found = config.find("ADX10") or config.find("Input - ADX - ADX10")
        if found is not None:
            return Decision(found.name, "dpx:Transfer is 'Printing density', taken for a film scan (ADX10)")
    if transfer.startswith("ITU-R 709"):
        found = _find(config, "rec709")
        if found is not None:
            return Decision(found.name, f"dpx:Transfer is {transfer!r}")
    return None


def _by_name(config: Config, attributes: Mapping[str, object], file_format: str, notes: list[str]) -> Decision | None:
    named = _text(attributes, "oiio:ColorSpace")
    folded = named.casefold()
    if folded in _SAYS_NOTHING:
        return None
    if folded in _UNSPECIFIC_LINEAR:
        if attributes.get("chromaticities") is not None or _format(file_format) == "hdr":
            return None
        return Decision(config.scene_linear().name, f"oiio:ColorSpace is {named!r}, taken for role scene_linear")
    found = _find(config, named)
    if found is None:
        notes.append(f"oiio:ColorSpace {named!r} is no space of the config")
        return None
    if found.is_data:
        raise ColorError(f"expected color, but oiio:ColorSpace {named!r} says that the file holds data; {_ADVICE}")
    return Decision(found.name, f"oiio:ColorSpace is {named!r}")


def _by_chromaticities(config: Config, attributes: Mapping[str, object]) -> Decision | None:
    value = attributes.get("chromaticities")
    if value is None:
        return None
    numbers = chromaticity_numbers(value)
    found = _linear_space(config, numbers)
    if found is None:
        listed = ", ".join(f"{number:.4g}" for number in numbers)
        raise ColorError(
            f"expected chromaticities of a scene-linear space of the config, got ({listed}) in the file, which none in"
            f" {config.origin} has; {_ADVICE}"
        )
    return Decision(found.name, f"chromaticities are those of {_name_of(numbers) or found.name}")


def _name_of(numbers: tuple[float, ...]) -> str | None:
    distances = [np.abs(np.subtract(known.chromaticities, numbers)).max() for known in PUBLISHED]
    best = int(np.argmin(distances))
    return PUBLISHED[best].name if distances[best] <= CHROMATICITY_TOLERANCE else None


def chromaticity_numbers(value: object) -> tuple[float, ...]:
    """Red, green, blue and white xy from whatever a reader gives for the EXR attribute.

    Args:
        value: eight numbers, four pairs, or an object with red, green, blue and white, each a pair or with x and y.

    Raises:
        ColorError: these are not eight finite numbers.
    """
    numbers: list[float] = []

    def collect(part: object) -> None:
        if isinstance(part, int | float | np.number):
            numbers.append(float(part))
        elif all(hasattr(part, name) for name in ("red", "green", "blue", "white")):
            for name in ("red", "green", "blue", "white"):
                collect(getattr(part, name))
        elif hasattr(part, "x") and hasattr(part, "y"):
            collect(part.x)
            collect(part.y)
        elif isinstance(part, Iterable) and not isinstance(part, str | bytes):
            for item in part:
                collect(item)

    collect(value)
    if len(numbers) != 8 or not np.all(np.isfinite(numbers)):
        raise ColorError(f"expected 8 finite chromaticities, got {str(value)[:80]!r} in the file; {_ADVICE}")
    return tuple(numbers)


def _linear_space(config: Config, numbers: tuple[float, ...]) -> ColorSpaceInfo | None:
    """The scene-linear space with these chromaticities; role scene_linear first where two have them."""
    distances: list[tuple[float, bool, int, ColorSpaceInfo]] = []
    for index, info in enumerate(config.spaces()):
        primaries = _linear_primaries(config, info)
        if primaries is not None:
            distance = float(np.abs(np.subtract(primaries.chromaticities, numbers)).max())
            if distance <= CHROMATICITY_TOLERANCE:
                distances.append((round(distance, 6), "scene_linear" not in info.roles, index, info))
    return min(distances, key=lambda entry: entry[:3])[3] if distances else None


def linear_primaries(config: Config, space: str) -> Primaries | None:
    """Primaries of a scene-linear space by name, None for a space that is none or that the config cannot linearise."""
    info = config.find(space)
    return None if info is None else _linear_primaries(config, info)


def _linear_primaries(config: Config, info: ColorSpaceInfo) -> Primaries | None:
    """Primaries of a scene-linear space, None for any other. Configs before OCIO 2 have no encodings: all are asked."""
    key = ("linear primaries", info.name)
    if key not in config.kept:
        primaries: Primaries | None = None
        if not info.is_data and info.encoding in ("scene-linear", ""):
            try:
                analysis = analyse(config, info.name)
            except ColorError:
                # A space that cannot be linearised is no candidate; it stays an error for whoever names it.
                pass
            else:
                if analysis.separable and not analysis.operations:
                    primaries = analysis.primaries
        config.kept[key] = primaries
    found = config.kept[key]
    return found if isinstance(found, Primaries) else None


def _format(file_format: str) -> str:
    name = file_format.casefold().lstrip(".")
    return {"openexr": "exr", "jpg": "jpeg", "tif": "tiff", "rgbe": "hdr", "cin": "cineon"}.get(name, name)


def _by_format(config: Config, file_format: str, pixel_type: str | None, notes: list[str]) -> Decision:
    name = _format(file_format)
    floating = pixel_type in ("half", "float", "double", "float16", "float32", "float64")
    if name == "exr" or (name == "tiff" and floating):
        kind = "EXR" if name == "exr" else "floating-point TIFF"
        return Decision(config.scene_linear().name, f"{kind} without color attributes, taken for role scene_linear")
    if name == "hdr":
        found = _find(config, "lin_rec709_scene") or _linear_space(config, REC709.chromaticities)
        if found is not None:
            return Decision(found.name, "Radiance HDR without primaries, taken for linear Rec.709")
    if name in ("png", "jpeg", "tiff"):
        found = _find(config, "srgb_rec709_scene")
        if found is not None:
            return Decision(found.name, f"{name.upper()} of integers without color attributes, taken for sRGB")
    by_rule = _by_rule(config, name)
    if by_rule is not None:
        return by_rule
    found_out = "".join(f" ({note})" for note in notes)
    raise ColorError(f"expected a file that says its color space, got {name.upper()} without one{found_out}; {_ADVICE}")


def _by_rule(config: Config, name: str) -> Decision | None:
    """What the config's own file rules say of this format, its catch-all rule left out."""
    path = f"plate.{name}"
    if config.native.filepathOnlyMatchesDefaultRule(path):
        return None
    space, index = config.native.getColorSpaceFromFilepath(path)
    found = config.find(space)
    if found is None or found.is_data:
        return None
    return Decision(found.name, f"file rule {config.native.getFileRules().getName(index)!r} of the config")


def _contradictions(config: Config, attributes: Mapping[str, object], space: str, file_format: str) -> list[str]:
    """Hints that speak of other primaries or another space than the one taken."""
    notes: list[str] = []
    taken = analyse(config, space).primaries
    value = attributes.get("chromaticities")
    if value is not None:
        try:
            numbers = chromaticity_numbers(value)
        except ColorError:
            notes.append("its chromaticities are not eight numbers")
        else:
            if np.abs(np.subtract(taken.chromaticities, numbers)).max() > CHROMATICITY_TOLERANCE:
                notes.append(f"against its chromaticities, which are those of {_name_of(numbers) or 'no known space'}")
    if _has_container_flag(attributes) and taken.name != "ACES AP0":
        notes.append("against its acesImageContainerFlag, which is 1")
    named = _text(attributes, "oiio:ColorSpace")
    # In DPX it is OpenImageIO's reading of the transfer function that was read here already.
    if named.casefold() not in _SAYS_NOTHING | _UNSPECIFIC_LINEAR and _format(file_format) != "dpx":
        other = _find(config, named)
        if other is not None and other.name != space:
            notes.append(f"against its oiio:ColorSpace, which is {named!r}")
    return notes
