"""What a plate keeps when some of its channels are replaced, on files made here with the OpenEXR library itself.

The judges are that library, asked directly, and a reader of raw header bytes; neither is code under test.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import OpenEXR
import pytest

from stpn.ocio.plate import PlateError, RawAttribute, inspect_plate, new_plate, read_plate, write_plate

Array = np.ndarray[Any, Any]
RawReader = Callable[[Path], list[dict[str, tuple[str, bytes]]]]
COMPRESSIONS = {
    member.name.removesuffix("_COMPRESSION").lower(): member for member in map(OpenEXR.Compression, range(14))
}
LOSSY = {"pxr24", "b44", "b44a", "dwaa", "dwab"}


def random_bits(dtype: type, shape: tuple[int, int], seed: int = 0) -> Array:
    """Any bit pattern there is: NaN with payloads, infinities, denormal numbers, -0."""
    size = np.dtype(dtype).itemsize
    return np.random.default_rng(seed).integers(0, 256, (shape[0], shape[1] * size), np.uint8).view(dtype)


def mixed_channels(shape: tuple[int, int]) -> dict[str, Array]:
    return {
        "A": random_bits(np.float16, shape, 1),
        "Z": random_bits(np.float32, shape, 2),
        "diffuse.R": np.linspace(-1, 70, shape[0] * shape[1], dtype=np.float32).reshape(shape).astype(np.float16),
        "id": random_bits(np.uint32, shape, 3),
    }


def make(path: Path, channels: Mapping[str, Array], **header: object) -> Path:
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage, **header}
    OpenEXR.File(header, {name: OpenEXR.Channel(name, array) for name, array in channels.items()}).write(str(path))
    return path


def decoded(path: Path, part: int = 0) -> dict[str, Array]:
    file = OpenEXR.File(str(path), separate_channels=True)
    return {name: channel.pixels for name, channel in file.channels(part).items()}


def same_bits(first: Array, second: Array) -> bool:
    return first.dtype == second.dtype and first.shape == second.shape and first.tobytes() == second.tobytes()


def tiles(columns: int, rows: int) -> Any:
    description = OpenEXR.TileDescription()
    description.xSize, description.ySize = columns, rows
    description.mode, description.roundingMode = OpenEXR.ONE_LEVEL, OpenEXR.ROUND_UP
    return description


def assert_only_changed(
    source: Path, result: Path, raw: RawReader, replaced: Mapping[str, Array], changed_attributes: set[str]
) -> None:
    """Everything but `replaced` and `changed_attributes` is bit for bit what it was, also in other parts."""
    before, after = raw(source), raw(result)
    assert len(before) == len(after)
    for part, (old, new) in enumerate(zip(before, after, strict=True)):
        assert list(old) == list(new)
        different = {name for name in old if old[name] != new[name]}
        assert different == (changed_attributes if part == 0 else set())
        old_pixels, new_pixels = decoded(source, part), decoded(result, part)
        assert list(old_pixels) == list(new_pixels)
        for name, pixels in old_pixels.items():
            wanted = replaced[name] if part == 0 and name in replaced else pixels
            assert same_bits(new_pixels[name], wanted), (part, name)


@pytest.mark.parametrize("kind", ["scanline", "tiled"])
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_one_channel_replaced_under_every_compression(
    compression: str, kind: str, tmp_path: Path, exr_attributes: RawReader
) -> None:
    tiled = {"type": OpenEXR.tiledimage, "tiles": tiles(16, 8)} if kind == "tiled" else {}
    channels = mixed_channels((43, 37))
    source = make(tmp_path / "in.exr", channels, compression=COMPRESSIONS[compression], owner="someone", **tiled)
    replacement = random_bits(np.float16, (43, 37), 9)
    notes = write_plate(tmp_path / "out.exr", read_plate(source), replace={"A": replacement})
    assert_only_changed(
        source,
        tmp_path / "out.exr",
        exr_attributes,
        {"A": replacement},
        {"compression"} if compression in LOSSY else set(),
    )
    kept = "zip" if compression in LOSSY else compression
    assert OpenEXR.File(str(tmp_path / "out.exr")).header()["compression"] == COMPRESSIONS[kept]
    expected = f"part 0: {compression.upper()} would be lossy twice, written as ZIP"
    assert notes == ((expected,) if compression in LOSSY else ())
    assert inspect_plate(source).parts[0].kind == kind


@pytest.mark.parametrize(
    ("compression", "dtype"), [("pxr24", np.float16), ("pxr24", np.uint32), ("b44", np.float32), ("dwaa", np.uint32)]
)
def test_a_lossy_compression_stays_where_it_loses_nothing(compression: str, dtype: type, tmp_path: Path) -> None:
    pixels = random_bits(dtype, (40, 30))
    source = make(tmp_path / "in.exr", {"C": pixels, "D": pixels}, compression=COMPRESSIONS[compression])
    assert write_plate(tmp_path / "out.exr", read_plate(source), replace={"C": pixels[::-1]}) == ()
    assert inspect_plate(tmp_path / "out.exr").parts[0].compression == compression
    assert same_bits(decoded(tmp_path / "out.exr")["D"], pixels)
    assert same_bits(decoded(tmp_path / "out.exr")["C"], pixels[::-1])


def test_a_compression_that_is_asked_for_is_used_and_said(tmp_path: Path) -> None:
    source = make(tmp_path / "in.exr", mixed_channels((20, 20)))
    notes = write_plate(tmp_path / "out.exr", read_plate(source), compression="dwab")
    assert notes == ("part 0: DWAB as asked, lossy for all its channels",)
    assert OpenEXR.File(str(tmp_path / "out.exr")).header()["compression"] == OpenEXR.DWAB_COMPRESSION
    assert write_plate(tmp_path / "out.exr", read_plate(source), compression="piz") == ()
    assert all(
        same_bits(array, decoded(tmp_path / "out.exr")[name]) for name, array in mixed_channels((20, 20)).items()
    )


def two_parts(path: Path) -> Path:
    """A beauty part in PIZ, and a smooth DWAA part, which no second encoding would leave as it is."""
    smooth = (np.linspace(0, 1, 96 * 128).reshape(96, 128) ** 2 * 3).astype(np.float16)
    noise = np.random.default_rng(4).normal(1, 0.2, (96, 128)).astype(np.float16)
    header = {"type": OpenEXR.scanlineimage}
    beauty = {"R": random_bits(np.float16, (96, 128), 5), "G": smooth, "B": noise}
    parts = [
        OpenEXR.Part({**header, "compression": OpenEXR.PIZ_COMPRESSION}, beauty, "beauty"),
        OpenEXR.Part(
            {**header, "compression": OpenEXR.DWAA_COMPRESSION, "dwaCompressionLevel": 200.0, "who": ""},
            {"R": noise * smooth, "Z": smooth},
            "lossy",
        ),
    ]
    OpenEXR.File(parts).write(str(path))
    return path


def test_an_untouched_lossy_part_is_copied_not_encoded_again(tmp_path: Path, exr_attributes: RawReader) -> None:
    source = two_parts(tmp_path / "in.exr")
    green = random_bits(np.float16, (96, 128), 8)
    assert write_plate(tmp_path / "out.exr", read_plate(source), replace={"G": green}) == ()
    assert_only_changed(source, tmp_path / "out.exr", exr_attributes, {"G": green}, set())
    assert OpenEXR.File(str(tmp_path / "out.exr")).header(1)["compression"] == OpenEXR.DWAA_COMPRESSION


def test_a_changed_lossy_part_beside_an_untouched_one(tmp_path: Path, exr_attributes: RawReader) -> None:
    source = two_parts(tmp_path / "in.exr")
    depth = random_bits(np.uint32, (96, 128), 8)
    notes = write_plate(tmp_path / "out.exr", read_plate(source), replace={"Z": depth}, part=1)
    assert notes == ("part 1 (lossy): DWAA would be lossy twice, written as ZIP",)
    assert same_bits(decoded(tmp_path / "out.exr", 1)["R"], decoded(source, 1)["R"])
    assert same_bits(decoded(tmp_path / "out.exr", 1)["Z"], depth)
    assert decoded(source, 0).keys() == decoded(tmp_path / "out.exr", 0).keys()
    assert all(same_bits(decoded(tmp_path / "out.exr", 0)[name], array) for name, array in decoded(source, 0).items())
    before, after = exr_attributes(source)[1], exr_attributes(tmp_path / "out.exr")[1]
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"channels", "compression", "chunkCount"}
    assert after["dwaCompressionLevel"] == ("float", struct.pack("<f", 200.0))


def test_a_plate_written_over_itself(tmp_path: Path) -> None:
    source = two_parts(tmp_path / "in.exr")
    lossy = decoded(source, 1)
    write_plate(source, read_plate(source), replace={"R": np.zeros((96, 128), np.float32)})
    assert same_bits(decoded(source, 1)["Z"], lossy["Z"])
    assert not decoded(source)["R"].any()


@pytest.mark.parametrize(
    "header",
    [
        {"dataWindow": ((-7, -300), (29, -258)), "displayWindow": ((0, 0), (99, 49))},
        {"dataWindow": ((1000, 2000), (1036, 2042)), "displayWindow": ((-5, -5), (5, 5))},
        {"lineOrder": OpenEXR.DECREASING_Y},
        {"lineOrder": OpenEXR.DECREASING_Y, "compression": OpenEXR.NO_COMPRESSION},
        {"lineOrder": OpenEXR.DECREASING_Y, "type": OpenEXR.tiledimage, "tiles": tiles(32, 16)},
        {"lineOrder": OpenEXR.RANDOM_Y, "type": OpenEXR.tiledimage, "tiles": tiles(7, 100)},
        {"type": OpenEXR.tiledimage, "tiles": tiles(1024, 1024), "dataWindow": ((-50, -60), (-14, -18))},
        {"pixelAspectRatio": 2.0, "screenWindowWidth": 0.5},
        {"a name that is longer than thirty-one letters": 1},
    ],
    ids=str,
)
def test_windows_line_orders_and_tiles_stay(
    header: dict[str, object], tmp_path: Path, exr_attributes: RawReader
) -> None:
    source = make(tmp_path / "in.exr", mixed_channels((43, 37)), **header)
    replacement = random_bits(np.uint32, (43, 37), 9)
    assert write_plate(tmp_path / "out.exr", read_plate(source), replace={"id": replacement}) == ()
    assert_only_changed(source, tmp_path / "out.exr", exr_attributes, {"id": replacement}, set())
    stated = header.get("dataWindow", ((0, 0), (36, 42)))
    assert inspect_plate(source).parts[0].data_window == (*stated[0], *stated[1])  # type: ignore[index]


@pytest.mark.parametrize("order", [OpenEXR.INCREASING_Y, OpenEXR.DECREASING_Y])
def test_chunks_lie_in_the_order_the_header_states(order: Any, tmp_path: Path) -> None:
    source = make(tmp_path / "in.exr", {"R": random_bits(np.float16, (50, 5))}, lineOrder=order)
    write_plate(tmp_path / "out.exr", read_plate(source), replace={"R": random_bits(np.float16, (50, 5), 2)})
    data = (tmp_path / "out.exr").read_bytes()
    offsets = next(
        struct.unpack_from("<4Q", data, at)
        for at in range(len(data) - 32)
        if min(struct.unpack_from("<4Q", data, at)) == at + 32
    )
    assert list(offsets) == sorted(offsets, reverse=order == OpenEXR.DECREASING_Y)


def test_dwa_asked_for_uses_the_level_of_the_file(tmp_path: Path) -> None:
    noise = np.random.default_rng(4).normal(1, 0.2, (64, 64)).astype(np.float16)
    results = []
    for level in (1.0, 400.0):
        source = make(tmp_path / "in.exr", {"R": noise}, dwaCompressionLevel=level)
        write_plate(tmp_path / "out.exr", read_plate(source), compression="dwaa")
        judge = make(
            tmp_path / "judge.exr", {"R": noise}, dwaCompressionLevel=level, compression=OpenEXR.DWAA_COMPRESSION
        )
        results.append(decoded(tmp_path / "out.exr")["R"])
        assert same_bits(results[-1], decoded(judge)["R"])
    assert not same_bits(*results)


def test_one_pixel(tmp_path: Path, exr_attributes: RawReader) -> None:
    source = make(tmp_path / "in.exr", mixed_channels((1, 1)))
    write_plate(tmp_path / "out.exr", read_plate(source), replace={"Z": np.full((1, 1), np.nan, np.float32)})
    assert_only_changed(source, tmp_path / "out.exr", exr_attributes, {"Z": np.full((1, 1), np.nan, np.float32)}, set())


LAYOUT_TYPES = ["box2f 4f", "box2i 4i", "chromaticities 8f", "double d", "envmap B", "float f", "int i", "keycode 7i"]
LAYOUT_TYPES += [
    "m33d 9d",
    "m33f 9f",
    "m44d 16d",
    "m44f 16f",
    "rational iI",
    "timecode 2I",
    "v2d 2d",
    "v2f 2f",
    "v2i 2i",
]
LAYOUT_TYPES += ["v3d 3d", "v3f 3f", "v3i 3i", "floatvector 5f", "floatvector 0f"]


def with_attributes(path: Path, attributes: Mapping[str, tuple[str, bytes]]) -> Path:
    """Put attributes into an uncompressed single-part file by editing its bytes: offsets grow, nothing else changes."""
    data = path.read_bytes()
    rows = OpenEXR.File(str(path)).parts[0].height()
    table = min(
        struct.unpack_from("<Q", data, position)[0]
        for position in range(8, len(data) - 8)
        if struct.unpack_from("<Q", data, position)[0] == position + 8 * rows
    )
    begin = table - 8 * rows
    extra = b"".join(
        name.encode() + b"\0" + type_name.encode() + b"\0" + struct.pack("<i", len(value)) + value
        for name, (type_name, value) in attributes.items()
    )
    offsets = [offset + len(extra) for offset in struct.unpack_from(f"<{rows}Q", data, begin)]
    path.write_bytes(data[: begin - 1] + extra + b"\0" + struct.pack(f"<{rows}Q", *offsets) + data[table:])
    return path


def every_attribute() -> dict[str, tuple[str, bytes]]:
    random = np.random.default_rng(6)
    attributes = {}
    for number, line in enumerate(LAYOUT_TYPES):
        type_name, layout = line.split()
        size = struct.calcsize("<" + layout)
        value = b"\1" if layout == "B" else bytes(random.integers(0, 64, size, np.uint8))
        attributes[f"{type_name}-{number}"] = (type_name, value)
    text = "Zoë — 東京".encode()
    vector = b"".join(struct.pack("<i", len(item)) + item for item in (b"left", b"", text))
    attributes |= {
        "empty": ("string", b""),
        "text": ("string", text),
        "latin": ("string", b"Zo\xeb"),
        "with zero": ("string", b"a\0b"),
        "views": ("stringvector", vector),
        "no views": ("stringvector", b""),
        "preview": ("preview", struct.pack("<2I", 3, 2) + bytes(range(24))),
        "bytes": ("bytes", struct.pack("<I", 3) + b"txt" + bytes(range(7))),
        "opaque": ("studioPrivate", bytes(random.integers(0, 256, 99, np.uint8))),
        "opaque empty": ("studioPrivate", b""),
        "timeCode": ("timecode", struct.pack("<2I", 0x01020304, 5)),
        "acesImageContainerFlag": ("int", struct.pack("<i", 1)),
    }
    return attributes


def test_attributes_of_every_type_come_out_byte_for_byte(tmp_path: Path, exr_attributes: RawReader) -> None:
    channels = {"R": random_bits(np.float16, (9, 5)), "Z": random_bits(np.float32, (9, 5))}
    source = make(tmp_path / "in.exr", channels, compression=OpenEXR.NO_COMPRESSION)
    added = every_attribute()
    with_attributes(source, added)
    (before,) = exr_attributes(source)
    assert {name: before[name] for name in added} == added
    write_plate(
        tmp_path / "out.exr", read_plate(source), replace={"R": channels["R"][::-1]}, attributes={"mine": "new"}
    )
    (after,) = exr_attributes(tmp_path / "out.exr")
    assert after.pop("mine") == ("string", b"new")
    assert after == before
    assert list(after) == list(before)
    written = read_plate(tmp_path / "out.exr")
    assert same_bits(written.pixels("Z"), channels["Z"])
    assert written.info.parts[0].attributes["latin"] == "Zoë"
    assert written.info.parts[0].attributes["views"] == ("left", "", "Zoë — 東京")
    assert written.info.parts[0].attributes["opaque empty"] == RawAttribute("studioPrivate", b"")


def test_attributes_alone_leave_the_compressed_pixels_alone(tmp_path: Path, exr_attributes: RawReader) -> None:
    source = make(tmp_path / "in.exr", mixed_channels((40, 40)), compression=OpenEXR.DWAA_COMPRESSION, isoSpeed=100.0)
    red = (0.7, 0.3, 0.2, 0.7, 0.1, 0.1, 0.3, 0.3)
    attributes = {
        "isoSpeed": 200,
        "chromaticities": red,
        "take": 3,
        "gain": 0.5,
        "crop": (1, 2, 3, 4),
        "tags": ["a", "b"],
    }
    assert write_plate(tmp_path / "out.exr", read_plate(source), attributes=attributes) == ()
    (after,) = exr_attributes(tmp_path / "out.exr")
    assert after["isoSpeed"] == ("float", struct.pack("<f", 200))
    assert after["chromaticities"] == ("chromaticities", struct.pack("<8f", *red))
    assert (after["take"], after["gain"]) == (("int", struct.pack("<i", 3)), ("float", struct.pack("<f", 0.5)))
    assert after["crop"] == ("box2i", struct.pack("<4i", 1, 2, 3, 4))
    assert after["compression"] == exr_attributes(source)[0]["compression"]
    size = len((tmp_path / "out.exr").read_bytes()) - len(source.read_bytes())
    assert all(same_bits(array, decoded(tmp_path / "out.exr")[name]) for name, array in decoded(source).items())
    assert 0 < size < 300


def test_channels_added_dropped_and_retyped(tmp_path: Path) -> None:
    luminance = np.linspace(0, 5, 60, dtype=np.float32).reshape(6, 10).astype(np.float16)
    source = make(tmp_path / "in.exr", {"Y": luminance, "matte.A": random_bits(np.float16, (6, 10))})
    plate = read_plate(source)
    assert plate.color_channels() == ("Y",)
    assert same_bits(plate.color(), np.repeat(luminance[:, :, None].astype(np.float32), 3, axis=2))
    # Strided, byte-swapped and transposed arrays are what callers have; the OpenEXR module alone would scramble them.
    red = np.arange(120, dtype=np.float32).reshape(6, 20)[:, ::2]
    green = np.arange(60, dtype=">f2").reshape(6, 10)
    blue = np.arange(60, dtype=np.uint32).reshape(10, 6).T
    write_plate(tmp_path / "out.exr", plate, replace={"R": red, "G": green, "B": blue}, drop=("Y",))
    pixels = decoded(tmp_path / "out.exr")
    assert list(pixels) == ["B", "G", "R", "matte.A"]
    assert same_bits(pixels["R"], np.ascontiguousarray(red))
    assert same_bits(pixels["G"], green.astype(np.float16))
    assert same_bits(pixels["B"], np.ascontiguousarray(blue))
    assert read_plate(tmp_path / "out.exr").color_channels() == ("R", "G", "B")


def test_color_of_a_layer_keeps_every_value(tmp_path: Path) -> None:
    values = np.array([[-0.5, 1000.0, np.inf, np.nan, 65504.0]], np.float32)
    channels = {f"left.{name}": values.astype(np.float16) for name in "RGB"}
    plate = read_plate(make(tmp_path / "in.exr", channels))
    assert plate.color_channels(layer="left") == ("left.R", "left.G", "left.B")
    color = plate.color(layer="left")
    assert same_bits(color, np.repeat(values[:, :, None], 3, axis=2))
    color[:] = 0
    assert plate.pixels("left.R").any()


def test_a_new_plate(tmp_path: Path) -> None:
    confidence = np.random.default_rng(0).random((7, 11)).astype(np.float32)
    plate = new_plate(
        {"confidence": confidence},
        attributes={"comments": "how sure"},
        data_window=(-2, 3, 8, 9),
        display_window=(0, 0, 99, 99),
        compression="piz",
    )
    assert write_plate(tmp_path / "c.exr", plate) == ()
    header = OpenEXR.File(str(tmp_path / "c.exr")).header()
    assert header["compression"] == OpenEXR.PIZ_COMPRESSION
    assert header["comments"] == "how sure"
    assert [tuple(map(int, corner)) for corner in header["dataWindow"]] == [(-2, 3), (8, 9)]
    assert [tuple(map(int, corner)) for corner in header["displayWindow"]] == [(0, 0), (99, 99)]
    assert same_bits(decoded(tmp_path / "c.exr")["confidence"], confidence)
    with pytest.raises(PlateError, match=r"^new plate: expected one channel or more, got none$"):
        new_plate({})
