"""`--check`: what was written is decoded and compared, before it is put in place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from stpn.ocio import exr
from stpn.ocio.digest import without_digest
from stpn.ocio.exr_chunks import PackedPart
from stpn.ocio.exr_header import HeaderError
from stpn.ocio.plate_info import PlateError

if TYPE_CHECKING:
    from stpn.ocio.convert_steps import FilePlan

Array = npt.NDArray[Any]


def check_copy(source: Path, written: Path, target: Path) -> str:
    """Compares a copy byte for byte; returns a note.

    Raises:
        PlateError: It differs.
    """
    with source.open("rb") as one, written.open("rb") as two:
        while True:
            a, b = one.read(1 << 20), two.read(1 << 20)
            if a != b:
                raise PlateError(f"{target}: --check found other bytes than in {source}")
            if not a:
                return "checked: byte for byte the source"


def check_exr(
    plan: FilePlan, written: Path, packed: Sequence[PackedPart], wanted: Sequence[Mapping[str, Array]]
) -> str:
    """Decodes an EXR that was written and compares attributes, channels and pixels.

    Pixels that went through a transform are compared with what it gave, all others with the source, which is read
    anew. Both bit for bit, except those that a lossy compression changed, whose largest error is told.

    Args:
        plan: Of the file.
        written: Where it lies now.
        packed: The attributes that were to be written.
        wanted: The pixels that were to be written.

    Returns:
        A note for the log.

    Raises:
        PlateError: Something differs that must not.
    """
    from stpn.ocio.convert_steps import lossy_channels

    assert plan.info is not None
    try:
        found, decoded = exr.read_exr(written)
    except HeaderError as error:
        raise PlateError(f"{plan.target}: --check cannot decode what was written: {error}") from None
    again = exr.read_exr(plan.source)[1] if plan.info.format == "exr" else None
    worst, where, exact = 0.0, "", 0
    for index, (part, head) in enumerate(zip(plan.parts, found.header.parts, strict=True)):
        if without_digest(head.attributes) != without_digest(packed[index].attributes):
            raise PlateError(f"{plan.target}, part {index}: --check found other attributes than were written")
        lossy = lossy_channels(part.compression, part.channels) if part.encode else []
        color = {name for layer in part.layers for name in layer.channels}
        for channel in part.channels:
            name = channel.name
            expected = wanted[index][name]
            untransformed = name not in color or (plan.transform is None and not plan.multiply)
            if again is not None and part.geometry.keeps_pixels and untransformed:
                with np.errstate(over="ignore"):
                    expected = again[index][name].astype(expected.dtype, copy=False)
            got = decoded[index].get(name)
            if got is None or got.dtype != expected.dtype or got.shape != expected.shape:
                raise PlateError(f"{plan.target}, part {index}, channel {name}: --check found another channel")
            if got.tobytes() == np.ascontiguousarray(expected).tobytes():
                exact += 1
                continue
            if name not in lossy:
                raise PlateError(f"{plan.target}, part {index}, channel {name}: --check decoded other pixels")
            finite = np.isfinite(expected) & np.isfinite(got)
            off = np.abs(np.subtract(expected, got, dtype=np.float64, where=finite, out=np.zeros(expected.shape)))
            if off.max() >= worst:
                worst, where = float(off.max()), f"{name} by {part.compression.upper()}"
    told = f"; largest error {worst:.3g} in {where}" if where else ""
    return f"checked: {exact} channels bit for bit{told}"
