"""Makes the seeds of the fuzz targets: tiny EXR files of every kind, and talks with the worker.

    python tests/fuzz/make_corpus.py

The files lie in `corpus/` and are checked in, so that a run begins with the same ones everywhere. Files whose name
begins with `found-` are inputs that once broke something; nothing here touches them.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import OpenEXR

CORPUS = Path(__file__).resolve().parent / "corpus"
HEIGHT, WIDTH = 12, 17

HELLO = "hello\nprotocol 1\nclient seed"
JOB = "job\nframe 1\npicture a 4 3 float A\nsource 1 a\nkey 1 a\nwant float A"
BETWEEN = (
    "job\nframe 2\nparameter method flow\nparameter mix 0.5\npicture a 4 3 half RGB\npicture b 4 3 uint8 RGBA\n"
    "source 1 a\nsource 2 b\nsource 3 a\nkey 1 a\nkey 3 b\nmatte a\ncolorspace ACEScg\nkeys_colorspace x\nwant half RGB"
)
TALKS = {
    "job": (HELLO, JOB, "filled", "release"),
    "between": (HELLO, BETWEEN, "filled"),
    "cancel": (HELLO, JOB, "cancel", JOB, "filled", "release"),
    "twice": (HELLO, JOB, "filled", JOB),
    "mask": (HELLO, "job\nparameter property mask\nparameter mask_labels 1\n" + JOB[4:], "filled"),
    "wrong": (HELLO, "job\nframe x\nnote a\\nb\\\\c", "release", "filled"),
    "other": ("hello\nprotocol 99\nclient x",),
}
"""Texts of messages; the target sends each with its length in front."""


def pixels(dtype: type, times: int = 1) -> np.ndarray:
    """A picture that every compression makes smaller, since what does not get smaller is stored as it is."""
    rows, columns = np.mgrid[: HEIGHT * times, : WIDTH * times]
    values = (columns > 9) * 4 + (rows > 5)
    return np.ascontiguousarray(values * (0.25 if np.dtype(dtype).kind == "f" else 9), dtype)


def header(compression: str = "NO", **more: object) -> dict[str, object]:
    """The least that the OpenEXR module wants to know."""
    return {"compression": getattr(OpenEXR, f"{compression}_COMPRESSION"), "type": OpenEXR.scanlineimage, **more}


def exr_files(folder: Path) -> None:
    """Writes the EXR seeds."""
    half, whole, single = pixels(np.float16), pixels(np.uint32), pixels(np.float32)
    for name in ("RLE", "ZIPS", "ZIP", "PIZ", "PXR24", "B44", "B44A", "DWAA", "HTJ2K256", "ZSTD"):
        path = folder / f"{name.lower()}.exr"
        # these have tables of their own, which a small picture does not pay for
        picture = pixels(np.float16, 3 if name in ("PIZ", "DWAA", "HTJ2K256") else 1)
        OpenEXR.File(header(name), {"Y": picture}).write(str(path))
    mixed = {"A": half.copy(), "Z": single.copy(), "id.R": whole.copy()}
    window = {"dataWindow": ((-2, 7), (14, 18)), "displayWindow": ((0, 0), (9, 9))}
    OpenEXR.File(header("ZIPS", owner="seed", **window), mixed).write(str(folder / "mixed.exr"))
    tiles = OpenEXR.TileDescription()
    tiles.xSize, tiles.ySize = 10, 9
    tiles.mode, tiles.roundingMode = OpenEXR.ONE_LEVEL, OpenEXR.ROUND_DOWN
    tiled = header("RLE", type=OpenEXR.tiledimage, tiles=tiles)
    OpenEXR.File(tiled, {"Y": half.copy()}).write(str(folder / "tiles.exr"))
    parts = [
        OpenEXR.Part(header("ZIP", name="a"), {"Y": half.copy()}),
        OpenEXR.Part({**tiled, "name": "b"}, {"Z": single.copy()}),
    ]
    OpenEXR.File(parts).write(str(folder / "parts.exr"))
    small = {"Y": np.ascontiguousarray(half[:2, :3])}
    OpenEXR.File(header(), small).write(str(folder / "no.exr"))
    odd(folder / "no.exr", folder / "attributes.exr")


def odd(source: Path, path: Path) -> None:
    """A file with attributes that only a header of our own gets: strings that are no UTF-8, types nobody knows."""
    data = source.read_bytes()
    more = [
        (b"owner", b"string", b"Andr\xe9\x1b[31m\n"),
        (b"multiView", b"stringvector", struct.pack("<i", 4) + b"left" + struct.pack("<i", 0)),
        (b"lens", b"floatvector", struct.pack("<2f", 1.5, -2)),
        (b"thing", b"nobody", b"\1\2\3"),
        (b"preview", b"preview", struct.pack("<2I", 1, 1) + b"abcd"),
        (b"timeCode", b"timecode", struct.pack("<2I", 0x01020304, 5)),
    ]
    added = b"".join(name + b"\0" + kind + b"\0" + struct.pack("<i", len(value)) + value for name, kind, value in more)
    table = end_of_header(data)
    offsets = struct.unpack_from("<2Q", data, table + 1)
    moved = struct.pack("<2Q", *(offset + len(added) for offset in offsets))
    path.write_bytes(data[:table] + added + b"\0" + moved + data[table + 1 + 16 :])


def end_of_header(data: bytes) -> int:
    """Where the empty name stands that ends the header of a file with a single part."""
    position = 8
    while data[position]:
        position = data.index(b"\0", data.index(b"\0", position) + 1) + 1
        position += 4 + struct.unpack_from("<i", data, position)[0]
    return position


def main() -> None:
    """Writes all seeds."""
    for name in ("exr", "worker"):
        (CORPUS / name).mkdir(parents=True, exist_ok=True)
    exr_files(CORPUS / "exr")
    for name, texts in TALKS.items():
        (CORPUS / "worker" / name).write_bytes(b"\0" + b"\xff".join(text.encode() for text in texts))
    (CORPUS / "worker/bytes").write_bytes(
        b"\1" + b"".join(struct.pack("<I", len(t)) + t.encode() for t in TALKS["job"])
    )


if __name__ == "__main__":
    main()
