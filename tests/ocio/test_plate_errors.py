"""Files that are refused, requests that cannot be met, writes that fail: one line each, no file left half written."""

from __future__ import annotations

import errno
import os
import struct
import sys
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import OpenEXR
import pytest

from stpn.ocio import atomic, exr, plate_write
from stpn.ocio.plate import Plate, PlateError, inspect_plate, new_plate, read_plate, write_plate

ZERO = np.zeros((4, 6), np.float16)


def picture(path: Path, **header: Any) -> Path:
    header = {"compression": OpenEXR.ZIPS_COMPRESSION, "type": OpenEXR.scanlineimage, **header}
    pixels = np.random.default_rng(0).normal(0, 1, (4, 6)).astype(np.float16)
    OpenEXR.File(header, {"R": pixels, "G": ZERO.copy(), "B": ZERO.copy()}).write(str(path))
    return path


def patched(path: Path, attribute: bytes, value: bytes) -> Path:
    """Overwrite the beginning of an attribute's value."""
    data = bytearray(path.read_bytes())
    position = data.index(attribute) + len(attribute) + 4
    data[position : position + len(value)] = value
    path.write_bytes(data)
    return path


def message(call: Callable[[], object]) -> str:
    with pytest.raises(PlateError) as error:
        call()
    assert "\n" not in str(error.value)
    return str(error.value)


WINDOW = b"dataWindow\0box2i\0"
TOO_LARGE = struct.pack("<4i", 0, 0, 99_999, 99_999)


def test_files_that_are_no_pictures(tmp_path: Path) -> None:
    (tmp_path / "empty.exr").touch()
    (tmp_path / "text.exr").write_text("not a picture")
    (tmp_path / "png.exr").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    picture(tmp_path / "in.exr").rename(tmp_path / "exr.dpx")
    picture(tmp_path / "in.exr").rename(tmp_path / "no extension")
    folder = tmp_path / "folder.exr"
    folder.mkdir()
    for name, text in {
        "empty.exr": "expected a picture, the file is empty",
        "text.exr": "expected EXR, the first bytes are 6e 6f 74 20: damaged or another format",
        "png.exr": "expected EXR by its extension, found PNG: rename it",
        "exr.dpx": "expected DPX by its extension, found EXR: rename it",
        "folder.exr": "expected a picture file, found a folder",
        "missing.exr": "no such file",
    }.items():
        for call in (inspect_plate, read_plate):
            assert message(lambda call=call, name=name: call(tmp_path / name)) == f"{tmp_path / name}: {text}"
    assert inspect_plate(tmp_path / "no extension").width == 6


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(tmp_path: Path) -> None:
    path = picture(tmp_path / "in.exr")
    path.chmod(0)
    assert message(lambda: inspect_plate(path)) == f"{path}: cannot be read: Permission denied"


@pytest.mark.parametrize(
    ("attribute", "value", "text"),
    [
        (WINDOW, TOO_LARGE, "claims 55.9 GiB of pixels (100000 x 100000), the limit is 8 GiB"),
        (
            WINDOW,
            struct.pack("<4i", 0, 0, 9_999, 9_999),
            "expected a chunk table of 80000 bytes (10000 x 10000), the file ",
        ),
        (WINDOW, struct.pack("<4i", 0, 0, 9_999_999, 3), "claims 240000000 bytes of pixels (10000000 x 4), which the "),
        (WINDOW, struct.pack("<4i", 5, 0, 4, 3), "part 0: the data window (5, 0) - (4, 3) is impossible: damaged"),
        (WINDOW, struct.pack("<4i", -(2**31), 0, 2**31 - 1, 3), "part 0: the data window (-2147483648, 0) - "),
        (b"channels\0chlist\0", b"B\0\7", "part 0: channel B is of the unknown pixel type 7: damaged"),
        (b"channels\0chlist\0", b"Z\0", "part 0: channels are repeated or not in alphabetical order"),
        (b"compression\0compression\0", b"\xee", "part 0, attribute 'compression': compression 238 is unknown"),
        (
            b"type\0string\0",
            b"deepscanline\0",
            "part 0 holds deep data, which cannot be rewritten whole: flatten it first",
        ),
        (
            b"type\0string\0",
            b"scanlineimagX",
            "part 0 is of the unknown type 'scanlineimagX': damaged or from the future",
        ),
    ],
)
def test_headers_that_are_refused_before_memory_is_taken(
    attribute: bytes, value: bytes, text: str, tmp_path: Path
) -> None:
    path = patched(picture(tmp_path / "in.exr"), attribute, value)
    if value.startswith(b"deep"):
        data = path.read_bytes().replace(
            b"type\0string\0\x0d\0\0\0deepscanline\0", b"type\0string\0\x0c\0\0\0deepscanline"
        )
        path.write_bytes(data)
    tracemalloc.start()
    told = message(lambda: read_plate(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert told.startswith(f"{path}: {text}")
    assert peak < 1 << 20


def test_levels_and_subsampling_are_refused_up_front(tmp_path: Path) -> None:
    tiles = OpenEXR.TileDescription()
    tiles.xSize = tiles.ySize = 4
    tiles.mode, tiles.roundingMode = OpenEXR.ONE_LEVEL, OpenEXR.ROUND_DOWN
    path = picture(tmp_path / "in.exr", type=OpenEXR.tiledimage, tiles=tiles)
    for mode, name in ((1, "mip-mapped"), (2, "rip-mapped")):
        patched(path, b"tiles\0tiledesc\0", struct.pack("<IIB", 4, 4, mode))
        text = f"{path}: part 0 is {name}, its smaller levels cannot be rewritten: keep the full size only"
        assert message(lambda: inspect_plate(path)) == text
    patched(path, b"tiles\0tiledesc\0", struct.pack("<IIB", 4, 100_000_000, 0))
    assert message(lambda: inspect_plate(path)) == f"{path}: part 0: tiles of 4 x 100000000 for 6 x 4 pixels: damaged"
    path = picture(tmp_path / "half.exr")
    patched(path, b"channels\0chlist\0", b"B\0" + struct.pack("<iB3x2i", 1, 0, 2, 2))
    text = (
        "part 0: channel B is subsampled 2 x 2 (luminance-chroma), which cannot be rewritten: convert it to RGB first"
    )
    assert message(lambda: inspect_plate(path)) == f"{path}: {text}"


def test_chunk_tables_and_leaders_that_contradict_the_header(tmp_path: Path) -> None:
    path = picture(tmp_path / "in.exr")
    data = path.read_bytes()
    (first,) = (at + 32 for at in range(len(data) - 8) if struct.unpack_from("<Q", data, at)[0] == at + 32)
    table = list(struct.unpack_from("<4Q", data, first - 32))
    cases = {
        "chunk 1 was never written: the file is incomplete": (first - 24, "<Q", 0),
        "chunk 2 lies where another chunk does: damaged": (first - 24, "<Q", table[2]),
        f"chunk 1 should begin at byte 7 of {len(data)}: truncated or damaged": (first - 24, "<Q", 7),
        "expected chunk 1 at (1,), its leader says (2,): damaged": (table[1], "<i", 2),
        "chunk 1 of 36 bytes claims to take 37 packed: damaged": (table[1] + 4, "<i", 37),
        "chunk 1 of 36 bytes claims to take -1 packed: damaged": (table[1] + 4, "<i", -1),
        "chunk 1 of 36 bytes claims to take 0 packed: damaged": (table[1] + 4, "<i", 0),
    }
    for text, (position, layout, value) in cases.items():
        damaged = bytearray(data)
        struct.pack_into(layout, damaged, position, value)
        path.write_bytes(damaged)
        assert message(lambda: read_plate(path)) == f"{path}: part 0: {text}"


def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    data = picture(tmp_path / "in.exr").read_bytes()
    cut = tmp_path / "cut.exr"
    for length in range(len(data)):
        cut.write_bytes(data[:length])
        assert message(lambda: inspect_plate(cut))
    cut.write_bytes(data)
    assert read_plate(cut).pixels("R").any()


def read_or_message(path: Path) -> tuple[Plate | None, str]:
    try:
        return read_plate(path), ""
    except PlateError as error:
        return None, str(error)


def test_damage_gives_one_line_or_the_pixels_that_openexr_gives(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    data = picture(tmp_path / "in.exr").read_bytes()
    refused = 0
    for _ in range(400):
        damaged = bytearray(data)
        damaged[random.integers(len(data))] = random.integers(256)
        (tmp_path / "damaged.exr").write_bytes(damaged)
        plate, told = read_or_message(tmp_path / "damaged.exr")
        if plate is None:
            assert "\n" not in told
            refused += 1
            continue
        judge = OpenEXR.File(str(tmp_path / "damaged.exr"), separate_channels=True).channels()
        assert sorted(judge) == sorted(plate.info.parts[0].channel_names)
        assert all(plate.pixels(name).tobytes() == channel.pixels.tobytes() for name, channel in judge.items())
    assert 200 < refused < 400


def test_damaged_pixels_print_nothing_to_standard_output(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "in.exr"
    data = bytearray(picture(path, compression=OpenEXR.ZIP_COMPRESSION).read_bytes())
    data[-20:] = bytes(20)
    path.write_bytes(data)
    printed = sys.stdout
    assert message(lambda: read_plate(path)) == f"{path}: part 0: OpenEXR cannot decode its pixels: damaged"
    assert sys.stdout is printed
    assert capfd.readouterr().out == ""


def test_other_threads_may_print_while_a_plate_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    from stpn.ocio.quiet import silent_output

    def print_from_elsewhere() -> None:
        print("result")

    with silent_output():
        print("noise")
        thread = threading.Thread(target=print_from_elsewhere)
        thread.start()
        thread.join()
        with silent_output():
            print("more noise")
        print("still noise")
    print("after")
    assert capsys.readouterr().out == "result\nafter\n"


def test_requests_that_cannot_be_met(tmp_path: Path) -> None:
    source = picture(tmp_path / "in.exr")
    plate = read_plate(source)
    out = tmp_path / "out.exr"

    def ask(**arguments: Any) -> str:
        return message(lambda: write_plate(arguments.pop("path", out), plate, **arguments))

    assert message(lambda: plate.pixels("A")) == f"{source}: expected channel A in part 0, found B, G, R"
    assert message(lambda: plate.pixels("R", 1)) == f"{source}: expected a part 0..0, got 1"
    text = f"{source}: expected channels left.R, left.G, left.B or left.Y alone in part 0, found B, G, R"
    assert message(lambda: plate.color(layer="left")) == text
    text = f"{out}, channel R: expected 4 x 6 (rows x columns), got 6 x 4"
    assert ask(replace={"R": ZERO.T}) == text
    text = f"{out}, channel R: expected values of type float16, float32, uint32, got float64"
    assert (
        ask(replace={"R": ZERO.astype(np.float64)}).replace("uint32, float16, float32", "float16, float32, uint32")
        == text
    )
    assert ask(drop=["Q"]) == f"{out}: expected channels to drop among B, G, R, got Q"
    assert ask(drop=["B", "G", "R"]) == f"{out}: expected one channel or more to be left, all of part 0 are dropped"
    assert ask(compression="lzma").startswith(f"{out}: expected a compression among none, rle, zips, zip, piz, ")
    assert ask(attributes={"dataWindow": (0, 0, 5, 3)}) == (
        f"{out}: attribute 'dataWindow' says how the file is laid out, it cannot be set"
    )
    assert ask(attributes={"who": object()}) == f"{out}: attribute 'who': no attribute type holds a object"
    text = f"{out}: cannot be written: part 0: expected attribute 'pixelAspectRatio' of type float, found 'string'"
    assert ask(attributes={"pixelAspectRatio": "wide"}).startswith(text)
    assert ask(path=tmp_path / "out.jxl").endswith("got '.jxl'")
    assert ask(path=tmp_path / "nowhere" / "out.exr") == (
        f"{tmp_path / 'nowhere' / 'out.exr'}: cannot be written: No such file or directory; the folder is not "
        "there, or was removed meanwhile; make it, then run again"
    )
    assert sorted(os.listdir(tmp_path)) == ["in.exr"]


@pytest.mark.parametrize("suffix", [".exr", ".png"])
@pytest.mark.parametrize(
    "failure", [KeyboardInterrupt(), OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), MemoryError()]
)
@pytest.mark.parametrize("place", ["fsync", "replace"])
def test_a_failed_write_leaves_the_former_file_and_nothing_else(
    suffix: str, failure: BaseException, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plate = new_plate(dict.fromkeys("RGB", ZERO))
    former = tmp_path / f"out{suffix}"
    former.write_bytes(b"former")
    seen: list[list[str]] = []

    def fail(*_: object) -> None:
        seen.append(sorted(os.listdir(tmp_path)))
        raise failure

    monkeypatch.setattr(atomic.os, place, fail)
    with pytest.raises(PlateError if isinstance(failure, OSError) else type(failure)) as error:
        write_plate(former, plate)
    if isinstance(failure, OSError):
        assert str(error.value) == (
            f"{former}: cannot be written: No space left on device; free some space, then run again"
        )
    assert former.read_bytes() == b"former"
    assert os.listdir(tmp_path) == [former.name]
    ((temporary, _),) = seen
    assert temporary.startswith(".out.")
    assert temporary.endswith(f".partial{suffix}")


def test_interrupted_between_two_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half_written(file: Any, *_: object) -> None:
        file.write(b"half a header")
        raise KeyboardInterrupt

    monkeypatch.setattr(plate_write, "write_packed", half_written)
    with pytest.raises(KeyboardInterrupt):
        write_plate(tmp_path / "out.exr", new_plate({"Y": ZERO}))
    assert os.listdir(tmp_path) == []


def test_a_file_that_would_not_be_read_again_is_not_put_in_place(tmp_path: Path) -> None:
    source = picture(tmp_path / "in.exr")
    before = source.read_bytes()
    with pytest.raises(PlateError, match=r"the display window \(5, 5\) - \(0, 0\) is impossible"):
        write_plate(source, read_plate(source), attributes={"displayWindow": (5, 5, 0, 0)})
    assert source.read_bytes() == before


def test_inspecting_takes_milliseconds_and_no_pixels(tmp_path: Path) -> None:
    path = tmp_path / "in.exr"
    write_plate(path, new_plate({"R": np.zeros((2160, 4096), np.float16)}))
    tracemalloc.start()
    assert inspect_plate(path).height == 2160
    assert tracemalloc.get_traced_memory()[1] < 1 << 18
    tracemalloc.stop()
    assert exr.is_lossy("dwaa", inspect_plate(path).parts[0].channels)
