"""One file of a conversion: read, its color through the transform, its pixels to their windows and types, written."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from stpn.ocio import exr, raster
from stpn.ocio.atomic import written_whole
from stpn.ocio.convert_check import check_copy, check_exr
from stpn.ocio.convert_color import converted
from stpn.ocio.convert_geometry import cropped_array, resized_array
from stpn.ocio.convert_raster import metadata, unassociated, write_layer
from stpn.ocio.convert_steps import FilePlan, PartPlan
from stpn.ocio.digest import digest_of, sealed, without_digest
from stpn.ocio.exr_attributes import encoded_attribute
from stpn.ocio.exr_chunks import PackedPart, chunk_ranges, packed_part, write_packed
from stpn.ocio.plate_convert import attributes_of_new
from stpn.ocio.plate_info import PlateError, RawAttribute
from stpn.ocio.plate_pixels import Plate
from stpn.ocio.plate_read import read_plate

Array = npt.NDArray[Any]


def convert_file(plan: FilePlan, digest: str | None, *, check: bool, proceed: Callable[[], None]) -> list[str]:
    """Makes one file of a conversion, whole or not at all.

    Args:
        plan: From `stpn.ocio.convert_plan`.
        digest: Of `made_of`; None: the file does not say.
        check: Whether to decode what was written and compare, before it is put in place.
        proceed: Called between steps; raises to stop.

    Returns:
        Notes for the log.

    Raises:
        PlateError, HeaderError: The file cannot be read, or not be written as asked.
        OSError: The disk or the file system does not allow it.
    """
    notes = list(plan.notes)
    plan.target.parent.mkdir(parents=True, exist_ok=True)
    if plan.copy:
        _copy(plan, check, notes)
        return notes
    assert plan.info is not None
    if plan.info.format == "exr":
        source, pixels = exr.read_exr(plan.source, keep_file=not all(part.encode for part in plan.parts))
        plate = Plate(plan.info, pixels, exr_source=source)
        now = [(part.channels, part.data_window, part.compression) for part in source.header.parts]
        if now != [(part.channels, part.data_window, part.compression) for part in plan.info.parts]:
            raise PlateError(f"{plan.source}: changed since it was inspected: run again once nobody writes it")
    else:
        plate = read_plate(plan.source)
    proceed()
    if plan.target_format == "exr":
        _write_exr(plan, plate, digest, check, proceed, notes)
    else:
        _write_raster(plan, plate, digest, check, proceed, notes)
    return notes


def _copy(plan: FilePlan, check: bool, notes: list[str]) -> None:
    """Copies the bytes; what can be decoded is decoded, so that damage is found here and not by who reads the copy."""
    if plan.info is not None:
        read_plate(plan.source)
    with written_whole(plan.target) as temporary:
        shutil.copyfile(plan.source, temporary)
        if check:
            notes.append(check_copy(plan.source, temporary, plan.target))


def pixels_of(plan: FilePlan, part: PartPlan, channels: Mapping[str, Array]) -> dict[str, Array]:
    """Returns the channels of a part as they are to be stored; integers where nothing had to become 0..1."""
    types = {channel.name: exr.DTYPES.get(channel.pixel_type) for channel in part.channels}
    result = {name: channels[name] for name in types}
    to_exr = plan.target_format == "exr"
    if not part.geometry.keeps_pixels:
        result = {name: cropped_array(array, part.geometry) for name, array in result.items()}
    if plan.resize_first:
        result = _resized(part, result)
    for layer in part.layers:
        if plan.transform is None and not ((plan.divide or plan.multiply) and layer.alpha):
            continue
        wide = [dtype for name in layer.channels if (dtype := types[name]) is not None] if to_exr else []
        done = converted(
            None if plan.transform is None else plan.transform.runs,
            [result[name] for name in layer.channels],
            None if layer.alpha is None else result[layer.alpha],
            np.result_type(*wide) if wide else np.float32,
            divide=plan.divide,
            multiply=plan.multiply,
        )
        result.update(zip(layer.channels, done, strict=True))
    if not plan.resize_first:
        result = _resized(part, result)
    if to_exr:
        for name, wanted in types.items():
            if wanted is not None and result[name].dtype != wanted:
                result[name] = _typed(result[name], wanted)
    return result


def _resized(part: PartPlan, channels: Mapping[str, Array]) -> dict[str, Array]:
    if not part.geometry.resizes:
        return dict(channels)
    smooth = {name for layer in part.layers for name in layer.all_channels}
    return {name: resized_array(array, part.geometry, smooth=name in smooth) for name, array in channels.items()}


def _typed(array: Array, dtype: np.dtype[Any]) -> Array:
    values = raster.normalized(array) if array.dtype.kind == "u" else array
    with np.errstate(over="ignore"):
        return np.asarray(values.astype(dtype))


def _overflowed(name: str, before: Array, after: Array) -> str | None:
    """A note where values that were finite are beyond the range of half."""
    if after.dtype != np.float16 or before.shape != after.shape:
        return None
    # the bits of infinity are the largest but for NaN, and read as signed those of positive numbers are
    if int(after.view(np.uint16).max()) < 0xFC00 and int(after.view(np.int16).max()) < 0x7C00:
        return None
    count = int(np.count_nonzero(~np.isfinite(after) & np.isfinite(before.astype(np.float32, copy=False))))
    return f"channel {name}: {count} values beyond half's 65504 became infinite or no number" if count else None


def _write_exr(
    plan: FilePlan, plate: Plate, digest: str | None, check: bool, proceed: Callable[[], None], notes: list[str]
) -> None:
    source = plate.exr_source
    packed: list[PackedPart] = []
    stored: list[Mapping[str, Array]] = []
    for index, part in enumerate(plan.parts):
        if source is not None:
            raw = without_digest(source.header.parts[index].attributes)
        else:
            raw = without_digest(attributes_of_new(plate, {}, notes)[0])
        raw = _changed(raw, part, plan)
        if not part.encode:
            assert source is not None
            assert source.data is not None
            header = source.header
            ranges = chunk_ranges(io.BytesIO(source.data), header, header.parts[index], source.tables[index])
            packed.append(packed_part(memoryview(source.data), raw, ranges))
            stored.append(plate.parts[index])
            continue
        pixels = pixels_of(plan, part, plate.parts[index])
        proceed()
        if part.layers and not part.geometry.resizes and part.geometry.keeps_pixels:
            for layer in part.layers:
                said = (_overflowed(name, plate.parts[index][name], pixels[name]) for name in layer.channels)
                notes += [note for note in said if note]
        linear = (
            frozenset(channel.name for channel in plan.info.parts[index].channels if channel.perceptually_linear)
            if plan.info is not None
            else frozenset[str]()
        )
        packed.append(exr.encoded_part(pixels, raw, part.compression, linear))
        stored.append(pixels)
        proceed()
    flags = source.header.flags if source is not None else exr.flags_for(packed[0].attributes)
    if digest is not None:
        sealed(packed, digest, 0)
    with written_whole(plan.target) as temporary, temporary.open("x+b") as file:
        write_packed(file, flags, packed)
        size = file.tell()
        file.seek(0)
        # What was asked for may contradict the format; a file we would not read again is not put in place.
        exr.open_checked(file, size)
        if check:
            file.flush()
            notes.append(check_exr(plan, temporary, packed, stored))


def _changed(raw: dict[str, RawAttribute], part: PartPlan, plan: FilePlan) -> dict[str, RawAttribute]:
    """Returns the attributes of a part as they are to be written."""
    changed = {name: value for name, value in raw.items() if name not in part.change.drop}
    put = dict(part.change.put)
    if part.level is not None:
        put["dwaCompressionLevel"] = part.level
    for name, value in put.items():
        known = changed.get(name)
        changed[name] = encoded_attribute(name, value, known.type_name if known is not None else None)
    for name, window in (("dataWindow", part.geometry.data), ("displayWindow", part.geometry.display)):
        changed[name] = encoded_attribute(name, window, "box2i")
    return changed


def _write_raster(
    plan: FilePlan, plate: Plate, digest: str | None, check: bool, proceed: Callable[[], None], notes: list[str]
) -> None:
    assert plan.info is not None
    assert plan.raster is not None
    (part,) = plan.parts
    (layer,) = part.layers
    info = plan.info.parts[layer.part]
    pixels = pixels_of(plan, part, plate.parts[layer.part])
    proceed()
    names = ("R", "G", "B") if len(layer.channels) == 3 else ("Y",)
    channels = {new: pixels[old] for new, old in zip(names, layer.channels, strict=True)}
    form = plan.target_format
    if layer.alpha is not None and form not in ("hdr", "jpeg"):
        channels["A"] = pixels[layer.alpha]
    if form == "hdr" and len(layer.channels) == 1:
        channels = dict.fromkeys(("R", "G", "B"), channels["Y"])
    attributes: dict[str, object] = {}
    if plan.info.format != form:
        attributes, left = metadata(info, plan.info.format, form)
        if left:
            notes.append(f"{form.upper()} cannot hold the attributes {', '.join(left[:20])}: left out")
    if form == "dpx" and plan.transfer is not None:
        attributes["dpx:Transfer"] = plan.transfer
    elif plan.space is not None:
        attributes["oiio:ColorSpace"] = plan.space
    notes += write_layer(
        plan.target,
        form,
        channels,
        plan.raster,
        attributes=attributes,
        source_spec=plate.raster_spec if plan.info.format == form else None,
        unassociated_alpha=form == "png" or (form == "tiff" and unassociated(plan.info)),
        check=check,
        made_of=digest,
    )


def made_of(plan: FilePlan, shared: Sequence[bytes], content: str) -> str:
    """Returns what a file is made of, for its digest: what is done to it, and the content of its source.

    Args:
        plan: Of the file; where it lies does not count.
        shared: What all files of a conversion share.
        content: Digest of the source.
    """
    said: list[object] = [plan.target_format, plan.raster, plan.divide, plan.multiply, plan.space, plan.transfer]
    said += [plan.resize_first, None if plan.transform is None else plan.transform.processor.getCacheID()]
    for part in plan.parts:
        change = (sorted(part.change.put.items()), sorted(part.change.drop))
        said += [part.layers, part.geometry, part.channels, part.compression, part.level, part.encode, change]
    return digest_of([*shared, *(repr(item).encode() for item in said), content.encode()])


def same_bytes(first: os.PathLike[str], second: os.PathLike[str]) -> bool:
    """Whether two files hold the same."""
    try:
        if os.stat(first).st_size != os.stat(second).st_size:
            return False
        with open(first, "rb") as one, open(second, "rb") as two:
            while True:
                a, b = one.read(1 << 20), two.read(1 << 20)
                if a != b:
                    return False
                if not a:
                    return True
    except OSError:
        return False
