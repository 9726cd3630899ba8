"""Fuzz target: whatever bytes an EXR file holds, it is read or refused in one line, and what is read survives writing.

    python tests/fuzz/fuzz_exr.py FOLDER tests/fuzz/corpus/exr -max_total_time=300 -artifact_prefix=/tmp/

New inputs go to FOLDER. An input that breaks a promise is written to the artifact prefix; give it as the only argument
to see it again. `docs/security.md` says more.
"""

from __future__ import annotations

import os
import random
import struct
import sys
import tempfile
from pathlib import Path

import atheris
import numpy as np

with atheris.instrument_imports(include=["stpn.ocio"]):
    from stpn.ocio.plate import Plate, PlateError, inspect_plate, read_plate, write_plate

# the fuzzer ends without a word to Python, so the folder stays; $TMPDIR says where
_FOLDER = Path(tempfile.mkdtemp(prefix="stpn-fuzz-"))
_INPUT, _OUTPUT = _FOLDER / "in.exr", _FOLDER / "out.exr"
_NUMBERS = (0, 1, 2, 3, 7, 255, 256, 65535, 65536, 2**30 - 1, 2**30, 2**31 - 1, 2**31, 2**32 - 1)
# the parts of a file are changed where they lie, so that offsets into it go on meaning something
_IN_PLACE = 0.8
# what a file of this size may take and still be no fault: pixels are checked against the size of the file
_MOST_PIXELS = 1 << 22


class Broken(Exception):
    """A promise that was not kept."""


def one_input(data: bytes) -> None:
    """Reads an input, and writes what could be read in two ways."""
    _INPUT.write_bytes(data)
    try:
        info = inspect_plate(_INPUT)
        if sum(part.width * part.height * len(part.channels) for part in info.parts) > _MOST_PIXELS:
            return  # whole and large; how much it takes is another test's subject
        plate = read_plate(_INPUT)
    except PlateError as error:
        _check_line(str(error))
        return
    # kept as it is: chunks are copied where that can be; encoded anew: every channel by its own pixels
    _check_round(plate, {})
    _check_round(plate, dict(plate.parts[0]))


def _check_line(text: str) -> None:
    if not text or not text.isprintable() or len(text) > 5000:
        raise Broken(f"expected one printable line, got {text[:200]!r}")


def _check_round(plate: Plate, replace: dict[str, np.ndarray]) -> None:
    for note in write_plate(_OUTPUT, plate, replace=replace):
        _check_line(note)
    again = read_plate(_OUTPUT)
    if len(plate.parts) != len(again.parts):
        raise Broken(f"{len(plate.parts)} parts became {len(again.parts)}")
    for index, (old, new) in enumerate(zip(plate.parts, again.parts, strict=True)):
        if list(old) != list(new):
            raise Broken(f"part {index}: channels {list(old)} became {list(new)}")
        for name, pixels in old.items():
            if pixels.dtype != new[name].dtype or pixels.tobytes() != new[name].tobytes():
                raise Broken(f"part {index}, channel {name}: other pixels")
    assert plate.exr_source is not None
    assert again.exr_source is not None
    for old_part, new_part in zip(plate.exr_source.header.parts, again.exr_source.header.parts, strict=True):
        for name, raw in old_part.attributes.items():
            # what is lossy is written as ZIP where it is encoded anew, which docs/exr.md says
            if name != "compression" and new_part.attributes.get(name) != raw:
                raise Broken(f"attribute {name!r}: {raw} became {new_part.attributes.get(name)}")
        if list(old_part.attributes) != list(new_part.attributes):
            raise Broken(f"attributes {list(old_part.attributes)} became {list(new_part.attributes)}")


def mutate(data: bytes, most: int, seed: int) -> bytes:
    """A changed input: numbers and bytes are overwritten where they lie, now and then anything at all."""
    chance = random.Random(seed)
    if len(data) < 32 or chance.random() > _IN_PLACE:
        return atheris.Mutate(data, most)
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4))):
        place = chance.randrange(8 if chance.random() < 0.98 else 0, len(changed) - 8)
        kind = chance.randrange(4)
        if kind == 0:
            changed[place] ^= 1 << chance.randrange(8)
        elif kind == 1:
            changed[place] = chance.randrange(256)
        elif kind == 2:
            changed[place : place + 4] = struct.pack("<I", chance.choice(_NUMBERS))
        else:
            here = struct.unpack_from("<I", changed, place)[0]
            changed[place : place + 4] = struct.pack("<I", (here + chance.choice((-1, 1, -16, 16))) % 2**32)
    return bytes(changed[:most])


def main() -> None:
    """Hands over to the fuzzer, which does not return."""
    # the disk is not what is tested
    os.fsync = lambda descriptor: None
    atheris.Setup(sys.argv, one_input, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
