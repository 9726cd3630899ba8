"""Hostile headers and pixels: refused in one line or read, within 5 s and 1 GiB, in a process with limits."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from stpn.ocio.plate import PlateError, inspect_plate, read_plate, write_plate

SECONDS, MEBIBYTES = 5.0, 1024
TILED, LONG_NAMES, MULTIPART = 0x200, 0x400, 0x1000

CHILD = """
import json, resource, sys, time
from pathlib import Path
# threads of the OpenEXR library claim room for their stacks that they never touch, so that room is larger
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
from stpn.ocio.plate import PlateError, inspect_plate, read_plate
import OpenEXR
for line in sys.stdin:
    path = line.rstrip()
    Path("/proc/self/clear_refs").write_text("5")  # the peak of memory begins anew
    begin, said = time.process_time(), None  # other processes may take the machine
    try:
        inspect_plate(path)
        read_plate(path)
    except PlateError as error:
        said = str(error)
    seconds = time.process_time() - begin
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    print(json.dumps([said, seconds, int(peak.split()[1]) >> 10]), flush=True)
"""

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="measures memory in /proc")


def attribute(name: bytes, kind: bytes, data: bytes) -> bytes:
    return name + b"\0" + kind + b"\0" + struct.pack("<i", len(data)) + data


def channel(name: bytes) -> bytes:
    return name + b"\0" + struct.pack("<iB3x2i", 1, 0, 1, 1)


def header(
    window: tuple[int, int, int, int] = (0, 0, 0, 0), compression: int = 0, more: bytes = b"", channels: bytes = b""
) -> bytes:
    box = struct.pack("<4i", *window)
    return (
        attribute(b"channels", b"chlist", (channels or channel(b"Y")) + b"\0")
        + attribute(b"compression", b"compression", bytes([compression]))
        + attribute(b"dataWindow", b"box2i", box)
        + attribute(b"displayWindow", b"box2i", box)
        + attribute(b"lineOrder", b"lineOrder", b"\0")
        + attribute(b"pixelAspectRatio", b"float", struct.pack("<f", 1))
        + attribute(b"screenWindowCenter", b"v2f", bytes(8))
        + attribute(b"screenWindowWidth", b"float", struct.pack("<f", 1))
        + more
        + b"\0"
    )


def lines(head: bytes, count: int, each: int, data: bytes, *, top: int = 0, flags: int = 0) -> bytes:
    """A file of scan lines whose chunks all hold the same bytes."""
    start = b"\x76\x2f\x31\x01" + struct.pack("<I", 2 | flags) + head
    chunks = -(-count // each)
    size = 8 + len(data)
    first = len(start) + 8 * chunks
    offsets = struct.pack(f"<{chunks}Q", *range(first, first + chunks * size, size))
    body = b"".join(struct.pack("<2i", top + index * each, len(data)) + data for index in range(chunks))
    return start + offsets + body


def one_pixel(more: bytes, flags: int = 0) -> bytes:
    return lines(header(more=more), 1, 1, b"\0\0", flags=flags)


def zeros(width: int, height: int) -> bytes:
    """ZIP that becomes a thousand times as much: chunks of 16 lines of half floats."""
    return lines(header((0, 0, width - 1, height - 1), 3), height, 16, zlib.compress(bytes(width * 32), 9))


def square_tiles(side: int, tile: tuple[int, int], flags: int = TILED) -> bytes:
    tiles = attribute(b"tiles", b"tiledesc", struct.pack("<IIB", *tile, 0))
    head = b"\x76\x2f\x31\x01" + struct.pack("<I", 2 | flags) + header((0, 0, side - 1, side - 1), more=tiles)
    count = (-(-side // tile[0])) * (-(-side // tile[1]))
    first = len(head) + 8 * count
    offsets = struct.pack(f"<{count}Q", *range(first, first + count * 22, 22))
    places = ((x, y) for y in range(side) for x in range(side))
    return head + offsets + b"".join(struct.pack("<5i", x, y, 0, 0, 2) + b"\0\0" for x, y in places)


def parts(count: int, channels: int, tile: tuple[int, int] | None = None) -> bytes:
    names = b"".join(channel(b"%05d" % index) for index in range(channels))
    kind = b"tiledimage" if tile else b"scanlineimage"

    def more(index: int) -> bytes:
        found = attribute(b"name", b"string", b"%d" % index) + attribute(b"type", b"string", kind)
        found += attribute(b"chunkCount", b"int", struct.pack("<i", 1))
        return found + (attribute(b"tiles", b"tiledesc", struct.pack("<IIB", *tile, 0)) if tile else b"")

    head = b"".join(header(more=more(index), channels=names) for index in range(count)) + b"\0"
    start = b"\x76\x2f\x31\x01" + struct.pack("<I", 2 | MULTIPART) + head
    size = 2 * channels
    place = struct.pack("<4i", 0, 0, 0, 0) if tile else struct.pack("<i", 0)
    chunks = [struct.pack("<i", index) + place + struct.pack("<i", size) + bytes(size) for index in range(count)]
    first = len(start) + 8 * count
    offsets = [first + index * len(chunks[0]) for index in range(count)]
    return start + struct.pack(f"<{count}Q", *offsets) + b"".join(chunks)


def many(count: int, width: int) -> bytes:
    return b"".join(attribute(b"%0*d" % (width, index), b"t", b"") for index in range(count))


FAR = (1 << 30) - 11

# the file, and how what is said of it begins; None: it is read
HOSTILE: dict[str, tuple[Callable[[], bytes], str | None]] = {
    "long names": (lambda: one_pixel(many(50_000, 255), LONG_NAMES), "more than 16384 attributes: damaged"),
    "many names": (lambda: one_pixel(many(200_000, 7)), "more than 16384 attributes: damaged"),
    "as many names as may be": (lambda: one_pixel(many(16_000, 20)), None),
    "a name without end": (
        lambda: b"\x76\x2f\x31\x01\2\0\0\0" + b"a" * (8 << 20),
        "an attribute name of part 0 is longer than 31 letters",
    ),
    "empty strings": (
        lambda: one_pixel(attribute(b"v", b"stringvector", bytes(60 << 20))),
        "part 0, attribute 'v': a string vector of more than 65536 strings",
    ),
    "many numbers": (
        lambda: one_pixel(attribute(b"v", b"floatvector", bytes(60 << 20))),
        "part 0, attribute 'v': a floatvector of more than 1048576 numbers",
    ),
    "a long string": (lambda: one_pixel(attribute(b"s", b"string", b"a" * (30 << 20) + "\U0001f600".encode())), None),
    "a string of a negative length": (
        lambda: one_pixel(b"s\0string\0" + struct.pack("<i", -5)),
        "attribute 's' of part 0 claims a size of -5 bytes: damaged",
    ),
    "a header without end": (
        lambda: one_pixel(b"s\0string\0" + struct.pack("<i", 2**31 - 1)),
        "expected 2147483647 bytes for attribute 's' of part 0",
    ),
    "a preview that overflows": (
        lambda: one_pixel(attribute(b"preview", b"preview", struct.pack("<2I", 1 << 31, 1 << 31) + bytes(8))),
        "part 0, attribute 'preview': a preview of 2147483648 x 2147483648 does not fit into 16 bytes",
    ),
    "parts with channels": (lambda: parts(600, 120), "more than 65536 channels in all parts: damaged"),
    "as many parts as may be": (lambda: parts(1024, 1), None),
    "one part too many": (lambda: parts(1025, 1), "more than 1024 parts: damaged"),
    "a channel too many": (lambda: parts(1, 4097), "part 0: more than 4096 channels: damaged"),
    "parts of large tiles": (lambda: parts(1024, 1, (8192, 4096)), None),
    "tiles without end": (
        lambda: parts(1, 1, (1 << 30, 1 << 30)),
        "part 0: tiles of 1073741824 x 1073741824, mode 0, are impossible: damaged",
    ),
    "tiles far larger than the picture": (
        lambda: parts(1, 1, (1 << 20, 1 << 20)),
        "part 0 (0): tiles of 1048576 x 1048576 for 1 x 1 pixels: damaged",
    ),
    "lines of one pixel": (
        lambda: lines(header((0, 0, 0, 999_999)), 1_000_000, 1, b"\0\0"),
        "has 1000000 chunks (1 x 1000000), the limit is 524288",
    ),
    "tiles of one pixel": (lambda: square_tiles(1000, (1, 1)), "has 1000000 chunks (1000 x 1000), the limit is 524288"),
    "DWAA of nothing": (
        lambda: lines(header((0, 0, 65535, 47999), 8), 48000, 32, b"\0" * 20),
        "claims 6000 MiB of pixels (65536 x 48000) in 54000 bytes, over 1500 times as many",
    ),
    "HTJ2K of nothing": (
        lambda: lines(header((0, 0, 65535, 10239), 10), 10240, 256, b"\0" * 200),
        "claims 1280 MiB of pixels (65536 x 10240) in 8640 bytes, over 1500 times as many",
    ),
    "one chunk of everything": (
        lambda: lines(header((0, 0, (1 << 28) - 1, 0), 8), 1, 32, b"\0" * 4000),
        "claims 512 MiB of pixels (268435456 x 1) in 4016 bytes, over 1500 times as many",
    ),
    "a channel with a flag nobody knows": (
        lambda: one_pixel(b"").replace(b"Y\0\1\0\0\0\0", b"Y\0\1\0\0\0\3"),
        "part 0: channel Y has the flag 3 where 0 or 1 belongs: damaged",
    ),
    "a channel with a name without end": (
        lambda: lines(header(channels=channel(b"Y" * 256)), 1, 1, b"\0\0"),
        "part 0: the name of channel 0 is longer than 255 bytes: damaged",
    ),
    "as much as a small file may claim": (
        lambda: lines(header((0, 0, 65535, 5999), 8), 6000, 32, b"\0" * 40),
        "part 0: OpenEXR cannot decode its pixels: damaged",
    ),
    "a bomb within the limit": (lambda: zeros(32768, 4096), None),
    "beyond the address space": (lambda: zeros(65536, 40000), "part 0: OpenEXR cannot decode its pixels: damaged"),
    "far to the right": (
        lambda: lines(header((FAR, FAR, FAR + 9, FAR + 9)), 10, 1, bytes(20), top=FAR), None
    ),
    "far to the left": (
        lambda: lines(header((-FAR, -FAR, -FAR + 9, -FAR + 9)), 10, 1, bytes(20), top=-FAR), None
    ),
    "a window that overflows": (
        lambda: lines(header((-(1 << 31), 0, (1 << 31) - 1, 0)), 1, 1, b"\0\0"),
        "part 0: the data window (-2147483648, 0) - (2147483647, 0) is impossible: damaged",
    ),
    "random lines": (
        lambda: one_pixel(b"").replace(b"lineOrder\0lineOrder\0\1\0\0\0\0", b"lineOrder\0lineOrder\0\1\0\0\0\2"),
        "part 0 has scan lines in random order, which is for tiles alone: damaged",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def child() -> Iterator[subprocess.Popen[str]]:
    """Reads the files whose paths it is told, and tells what became of them."""
    started = subprocess.Popen(
        [sys.executable, "-c", CHILD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    yield started
    started.kill()
    started.wait()


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_costs_neither_time_nor_memory(name: str, child: subprocess.Popen[str], tmp_path: Path) -> None:
    make, expected = HOSTILE[name]
    path = tmp_path / "in.exr"
    path.write_bytes(make())
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.poll() is None, "it died of a file before"
    child.stdin.write(f"{path}\n")
    child.stdin.flush()
    overdue = threading.Timer(60, child.kill)
    overdue.start()
    answer = child.stdout.readline()
    overdue.cancel()
    path.unlink()
    assert answer, f"died with {child.wait()}, or took more than a minute"
    said, seconds, mebibytes = json.loads(answer)
    assert (said is None) == (expected is None), said
    if expected is not None:
        assert said.startswith(f"{path}: {expected}"), said
        assert said.isprintable()
    assert seconds < SECONDS
    assert mebibytes < MEBIBYTES


def test_a_list_of_channels_that_says_the_same_keeps_the_bytes_that_the_format_reserves(tmp_path: Path) -> None:
    # found by tests/fuzz
    list_of_one = b"Y\0" + struct.pack("<iB3s2i", 1, 1, b"abc", 1, 1)
    path = tmp_path / "in.exr"
    path.write_bytes(lines(header(channels=list_of_one), 1, 1, b"\0\x3c"))
    plate = read_plate(path)
    write_plate(tmp_path / "out.exr", plate, replace={"Y": plate.pixels("Y")})
    assert list_of_one in (tmp_path / "out.exr").read_bytes()
    write_plate(tmp_path / "out.exr", plate, replace={"Y": plate.pixels("Y").astype("f4")})
    assert b"abc" not in (tmp_path / "out.exr").read_bytes()


# ---------------------------------------------------------------- other formats


def png(width: int, height: int, more: bytes = b"") -> bytes:
    pixels = zlib.compress(bytes((1 + 3 * width) * height), 9)
    shape = struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + piece(b"IHDR", shape) + more + piece(b"IDAT", pixels) + piece(b"IEND", b"")


def piece(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def tiff(width: int, height: int, compression: int, data: bytes) -> bytes:
    start = 8 + 2 + 12 * 9 + 4
    entries = (
        (256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, compression), (262, 3, 2), (273, 4, start),
        (277, 3, 3), (278, 4, height), (279, 4, len(data)),
    )  # fmt: skip
    table = b"".join(struct.pack("<2H2I", tag, kind, 1, value) for tag, kind, value in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + table + bytes(4) + data


def jpeg_of_scans(count: int) -> bytes:
    whole = cv2.imencode(".jpg", np.zeros((1000, 1000, 3), np.uint8), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    last = whole[whole.rindex(b"\xff\xda") : -2]
    return whole[:-2] + last * count + b"\xff\xd9"


TEXT = piece(b"zTXt", b"k\0\0" + zlib.compress(bytes(4 << 20), 9))
OTHERS: dict[str, tuple[Callable[[], bytes], str]] = {
    "scans.jpg": (lambda: jpeg_of_scans(20_000), "expected a JPEG of up to 100 scans, found more: made to take time"),
    "texts.png": (lambda: png(4, 4, TEXT * 100), "expected a PNG of up to 64 compressed texts, found more: damaged"),
    "claims.png": (lambda: png(60, 40).replace(struct.pack(">2I", 60, 40), struct.pack(">2I", 60000, 40000)), ""),
    "nothing.tif": (
        lambda: tiff(20_000, 20_000, 5, b"\x80" * 400_000),
        "claims 1144 MiB of pixels (20000 x 20000) in 400122 bytes, over 1500 times as many",
    ),
    "claims.tif": (lambda: tiff(60_000, 40_000, 1, bytes(64)), ""),
    "overflows.tif": (lambda: tiff(2**31 - 1, 2**31 - 1, 1, bytes(64)), ""),
    "claims.dpx": (lambda: b"SDPX" + bytes(764) + struct.pack(">2H2I", 0, 1, 65536, 65536) + bytes(2000), ""),
    "claims.hdr": (lambda: b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 60000 +X 60000\n" + bytes(1000), ""),
    "a line.hdr": (lambda: b"#?RADIANCE\n" + b"A" * (20 << 20), ""),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_hostile_pictures_are_refused_at_once(name: str, tmp_path: Path) -> None:
    make, expected = OTHERS[name]
    path = tmp_path / name
    path.write_bytes(make())
    begin = time.monotonic()
    for call in (inspect_plate, read_plate):
        with pytest.raises(PlateError) as error:
            call(path)
        assert str(error.value).startswith(f"{path}: {expected}")
        assert str(error.value).isprintable()
    assert time.monotonic() - begin < SECONDS


def test_pictures_with_a_few_texts_and_scans_are_read(tmp_path: Path) -> None:
    for name, data in (("in.png", png(4, 4, TEXT * 2)), ("in.jpg", jpeg_of_scans(2))):
        (tmp_path / name).write_bytes(data)
        assert read_plate(tmp_path / name).info.width in (4, 1000)
