"""What `stpn convert`, ocioconvert and oiiotool keep of a file: kinds of attributes and channels, by tool.

    python bench/convert_kept.py

One file with all these attributes and channels, and one with two parts, go from ACEScg to ACES2065-1.
"""

from __future__ import annotations

import os
import struct
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from convert import CONFIG, TOOLS, matrix

Array = np.ndarray[Any, Any]


def main() -> None:
    """Prints the table."""
    os.environ["OCIO"] = CONFIG
    with tempfile.TemporaryDirectory() as folder:
        kept_table(Path(folder))


def kept_table(folder: Path) -> None:
    """Prints which kinds of attributes and channels come out of each tool as they went in."""
    from stpn.ocio import exr
    from stpn.ocio.exr_attributes import encoded_attribute
    from stpn.ocio.plate_info import RawAttribute

    random = np.random.default_rng(1)

    def bits(dtype: type) -> Array:
        found = np.frombuffer(random.bytes(24 * 32 * np.dtype(dtype).itemsize), dtype).reshape(24, 32)
        # infinities and NaN in alpha reach the color of other tools: a thing of its own
        return found if found.dtype.kind == "u" else np.where(np.isfinite(found), found, found.dtype.type(0.5))

    channels: dict[str, Array] = {name: random.uniform(0, 1, (24, 32)).astype(np.float16) for name in "RGB"}
    channels |= {f"diffuse.{name}": random.uniform(0, 1, (24, 32)).astype(np.float16) for name in "RGB"}
    data = {"A": bits(np.float16), "Z": bits(np.float32), "id": bits(np.uint32), "N.X": bits(np.float16)}
    data |= {f"crypto00.{name}": bits(np.float32) for name in "RGB"}
    attributes: dict[str, Any] = {
        "string": "text", "empty string": "", "string, not UTF-8": RawAttribute("string", b"caf\xe9"),
        "stringvector": ("a", "b"), "int": 7, "float": 1.5, "double": RawAttribute("double", struct.pack("<d", 0.1)),
        "v2i": (1, 2), "v3f": (1.0, 2.0, 3.5), "m44f": tuple(float(n) for n in range(16)), "box2i": (1, 2, 3, 4),
        "box2f": (1.0, 2.0, 3.0, 4.5), "rational": RawAttribute("rational", struct.pack("<iI", 24000, 1001)),
        "timecode": RawAttribute("timecode", struct.pack("<2I", 16909060, 5)),
        "keycode": RawAttribute("keycode", struct.pack("<7i", 1, 2, 3, 4, 5, 4, 64)),
        "preview": RawAttribute("preview", struct.pack("<2I", 1, 1) + b"abcd"),
        "floatvector": RawAttribute("floatvector", struct.pack("<3f", 1, 2, 3)),
        "a type nobody knows": RawAttribute("studioThing", b"\1\2\3"),
    }  # fmt: skip
    raw = exr.new_attributes((-2, 3, 29, 26), (0, 0, 39, 29))
    raw.update({f"x {name}": encoded_attribute(name, value) for name, value in attributes.items()})
    raw["chromaticities"] = encoded_attribute(
        "chromaticities", (0.713, 0.293, 0.165, 0.83, 0.128, 0.044, 0.32168, 0.33767)
    )
    raw["acesImageContainerFlag"] = encoded_attribute("acesImageContainerFlag", 0)
    raw["lineOrder"] = RawAttribute("lineOrder", b"\1")
    write_exr(folder / "in.1.exr", [(raw, channels | data)])
    second = {**raw, "name": RawAttribute("string", b"second"), "chunkCount": RawAttribute("int", struct.pack("<i", 2))}
    first = {**second, "name": RawAttribute("string", b"first")}
    write_exr(folder / "two.1.exr", [(first, channels), (second, {"Z": data["Z"]})])
    found = {name: judged(folder, make, channels, data) for name, make in kept_ways(folder).items()}
    rows = list(next(iter(found.values())))
    print("| kept | " + " | ".join(found) + " |\n|---" + "|---" * len(found) + "|")
    for row in rows:
        print(f"| {row} | " + " | ".join(answers.get(row, "no") for answers in found.values()) + " |")


def kept_ways(folder: Path) -> dict[str, Callable[[Path, Path], list[str]]]:
    """How each tool converts one file."""
    return {
        "stpn convert": lambda a, b: [
            str(TOOLS / "stpn"), "convert", str(a), str(b), "--from", "ACEScg", "--to", "ACES2065-1"],
        "ocioconvert": lambda a, b: [str(TOOLS / "ocioconvert"), str(a), "ACEScg", str(b), "ACES2065-1"],
        "oiiotool -a": lambda a, b: [
            str(TOOLS / "oiiotool"), "-a", str(a), "--colorconvert", "ACEScg", "ACES2065-1", "-o", str(b)],
    }  # fmt: skip


def judged(
    folder: Path, command: Callable[[Path, Path], list[str]], color: dict[str, Array], data: dict[str, Array]
) -> dict[str, str]:
    """Answers by row for one tool."""
    from stpn.ocio.plate import read_plate

    out = folder / "out.exr"
    answers: dict[str, str] = {}

    def tell(row: str, holds: bool) -> None:
        answers[row] = "yes" if holds else "no"

    def run(source: str) -> bool:
        out.unlink(missing_ok=True)
        subprocess.run(command(folder / source, out), capture_output=True, check=False)
        return out.exists()

    run("in.1.exr")
    before, after = header(folder / "in.1.exr"), header(out) if out.exists() else [{}]
    made = read_plate(out).parts[0] if out.exists() else {}
    for name, value in before[0].items():
        if name.startswith("x "):
            tell(f"attribute: {name[2:]}", after[0].get(name) == value)
    white = after[0].get("chromaticities", ("", b"\0" * 32))[1]
    tell("chromaticities are those of the result", bool(abs(struct.unpack("<8f", white)[0] - 0.7347) < 1e-3))
    for name in ("dataWindow", "displayWindow", "lineOrder", "compression"):
        tell(name, after[0].get(name) == before[0][name])
    told = {"chromaticities", "colorInteropID", "oiio:ColorSpace", "stpn:digest"}
    tell("nothing is added but what tells of color (and stpn's digest)", set(after[0]) - set(before[0]) <= told)
    tell("names of all channels", set(made) == set(color) | set(data))
    types = {name: array.dtype for name, array in (color | data).items()}
    tell("type of each channel", {name: array.dtype for name, array in made.items()} == types)
    for name, kind in (("A", "alpha, half"), ("Z", "depth, float"), ("id", "IDs, uint32"), ("N.X", "normals, half")):
        tell(f"bits of {kind}", name in made and made[name].tobytes() == data[name].tobytes())
    names = [name for name in data if name.startswith("crypto")]
    tell("bits of a cryptomatte", all(n in made and made[n].tobytes() == data[n].tobytes() for n in names))
    for layer in ("", "diffuse."):
        image = np.stack([color[layer + name] for name in "RGB"], axis=-1).astype(np.float64) @ matrix().T
        got = [made.get(layer + name) for name in "RGB"]
        close = all(g is not None and np.allclose(g, image[..., i], rtol=2e-3, atol=1e-4) for i, g in enumerate(got))
        tell(f"color of {'layer diffuse' if layer else 'R, G, B'} is converted", close)
    there = run("two.1.exr")
    parts = header(out) if there else []
    tell("second part and its name", len(parts) == 2 and parts[1].get("name") == ("string", b"second"))
    return answers


def write_exr(path: Path, parts: list[tuple[dict[str, Any], dict[str, Array]]]) -> None:
    """A file with exactly these attributes."""
    from stpn.ocio import exr
    from stpn.ocio.exr_chunks import write_packed

    packed = [exr.encoded_part(channels, raw, "zip") for raw, channels in parts]
    with path.open("xb") as file:
        write_packed(file, 2 | (0x1000 if len(packed) > 1 else 0), packed)


def header(path: Path) -> list[dict[str, tuple[str, bytes]]]:
    """Attributes of each part: type and bytes."""
    from stpn.ocio.exr_header import read_header

    with path.open("rb") as file:
        parts = read_header(file, path.stat().st_size).parts
    return [{name: (raw.type_name, raw.data) for name, raw in part.attributes.items()} for part in parts]


if __name__ == "__main__":
    main()
