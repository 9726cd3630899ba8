"""What the attributes of a file say of its color, after a conversion: true of the new pixels, or gone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from stpn.ocio.attributes import chromaticity_numbers, linear_primaries
from stpn.ocio.config import ColorError, Config
from stpn.ocio.convert_channels import ColorLayer, color_layers
from stpn.ocio.convert_color import ColorTransform
from stpn.ocio.plate_info import PartInfo, PlateInfo
from stpn.ocio.primaries import CHROMATICITY_TOLERANCE

#: CTL names and a luminance that belong to scene-referred pixels.
_OF_SCENE = ("renderingTransform", "lookModTransform", "whiteLuminance", "adoptedNeutral")
#: What says where a view or look came from; set by a conversion, and gone with the next one.
_OF_VIEW = ("stpn:display", "stpn:view", "stpn:look")


@dataclass
class AttributeChange:
    """What becomes of a part's attributes.

    Attributes:
        put: Added, or in place of what the part has.
        drop: Taken away.
        notes: For the log.
    """

    put: dict[str, object] = field(default_factory=dict)
    drop: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)


def describe_color(config: Config, transform: ColorTransform, attributes: Mapping[str, object]) -> AttributeChange:
    """Returns what a part has to say of its color once it went through a transform.

    Scene-linear light says its chromaticities; anything else must not, because readers take chromaticities for linear
    light. A color interop ID is given where the config has one for the space, oiio:ColorSpace where the file had it or
    nothing else would tell the space.

    Args:
        config: The config of the transform.
        transform: What was done.
        attributes: What the part says now, by name.
    """
    change = AttributeChange()
    info = config.find(transform.space)
    primaries = linear_primaries(config, transform.space)
    if primaries is not None:
        if not _same_chromaticities(attributes.get("chromaticities"), primaries.chromaticities):
            change.put["chromaticities"] = primaries.chromaticities
    else:
        change.drop.add("chromaticities")
    interop = info.interop_id if info is not None else ""
    if interop:
        change.put["colorInteropID"] = interop
    else:
        change.drop.add("colorInteropID")
    if "oiio:ColorSpace" in attributes or (not interop and primaries is None):
        change.put["oiio:ColorSpace"] = transform.space
    if primaries is None or primaries.name != "ACES AP0":
        change.drop.add("acesImageContainerFlag")
    change.drop.update(_OF_VIEW)
    if transform.look is not None:
        change.put["stpn:look"] = transform.look
        change.drop.update(("preview", "lookModTransform"))
    if transform.display is not None:
        change.put.update({"stpn:display": transform.display, "stpn:view": str(transform.view)})
        change.drop.update(("preview", *_OF_SCENE))
    elif primaries is None:
        change.drop.add("adoptedNeutral")
    elif "adoptedNeutral" in attributes:
        change.put["adoptedNeutral"] = primaries.white
    change.drop -= set(change.put)
    change.drop &= set(attributes)
    gone = sorted(change.drop - {"chromaticities", "colorInteropID"} - set(_OF_VIEW))
    if gone:
        change.notes.append(f"attributes {', '.join(gone)} are not true of {transform.described()}: left out")
    return change


def _same_chromaticities(value: object, wanted: tuple[float, ...]) -> bool:
    if value is None:
        return False
    try:
        numbers = chromaticity_numbers(value)
    except ColorError:
        return False
    return bool(np.abs(np.subtract(numbers, wanted)).max() <= CHROMATICITY_TOLERANCE)


def attribute_changes(
    config: Config,
    transform: ColorTransform,
    info: PlateInfo,
    layers: Sequence[ColorLayer],
    says: Callable[[PartInfo], str | None],
    notes: list[str],
) -> dict[int, AttributeChange]:
    """Returns what becomes of the attributes of each part of a file.

    Args:
        config: The config of the transform.
        transform: What is done; one that changes nothing too, where the file says something else than was asked.
        info: The file.
        layers: The layers that go through the transform.
        says: Gives the color space that a part claims.
        notes: For the log; added to.
    """
    everything = color_layers(info, range(len(info.parts)))
    touched = {layer.part for layer in layers}
    others = {layer.part for layer in everything} - touched
    changes: dict[int, AttributeChange] = {}
    for index in sorted(touched):
        part = info.parts[index]
        if transform.is_identity and says(part) == transform.space:
            continue
        left = [layer for layer in everything if layer.part == index and layer not in layers]
        named = ", ".join(layer.called for layer in left)
        if any(not layer.name for layer in left):
            notes.append(f"part {index}: {named} stays as it is, and the attributes go on saying its color space")
            continue
        if left:
            notes.append(f"part {index}: {named} stays in {transform.source}, the attributes say {transform.space}")
        change = describe_color(config, transform, part.attributes)
        changes[index] = _apart(change, transform.space) if others else change
        notes += change.notes
    if not changes:
        return changes
    if others:
        notes.append("chromaticities belong to all parts by the format: left out, as parts are in several color spaces")
    shared = describe_color(config, transform, {}).put.get("chromaticities")
    for index, part in enumerate(info.parts):
        if index not in changes:
            changes[index] = _of_other_part(config, transform.source, part, index in others, bool(others), shared)
    return changes


def _of_other_part(
    config: Config, space: str, part: PartInfo, is_color: bool, apart: bool, shared: object
) -> AttributeChange:
    """The change of a part that does not go through the transform: chromaticities are shared by all parts."""
    change = AttributeChange()
    has = "chromaticities" in part.attributes
    if apart or shared is None:
        change.drop |= {"chromaticities"} if has else set()
        if is_color and has:
            found = config.find(space)
            interop = found.interop_id if found is not None else ""
            change.put.update({"colorInteropID": interop} if interop else {"oiio:ColorSpace": space})
    else:
        change.put["chromaticities"] = shared
    return change


def _apart(change: AttributeChange, space: str) -> AttributeChange:
    """The change of a part of a file whose other parts stay in another space: it says its own by name."""
    put = {name: value for name, value in change.put.items() if name != "chromaticities"}
    if "colorInteropID" not in put:
        put["oiio:ColorSpace"] = space
    return AttributeChange(put, change.drop | {"chromaticities"}, change.notes)
