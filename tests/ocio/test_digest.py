"""Digests in files: what made them, and whether they are whole; and what happens to those that a plate brings along."""

from __future__ import annotations

import errno
import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import OpenEXR
import OpenImageIO as oiio
import pytest

from stpn.ocio.digest import ATTRIBUTE, PREFIX, Contents, content_digest, digest_of, recorded
from stpn.ocio.plate import inspect_plate, new_plate, read_plate, write_plate
from stpn.ocio.wholeness import is_whole_and_of

MADE_OF = digest_of([b"one"])
OTHER = digest_of([b"other"])
HOLDING = [".exr", ".png", ".tif", ".dpx", ".jpg"]
RAMP = np.random.default_rng(0).random((40, 56)).astype(np.float32)


def written(path: Path, **options: Any) -> Path:
    write_plate(path, new_plate(dict.fromkeys("RGB", RAMP)), **options)
    return path


@pytest.mark.parametrize("suffix", HOLDING)
def test_a_file_says_what_made_it(tmp_path: Path, suffix: str) -> None:
    path = written(tmp_path / f"a{suffix}", made_of=MADE_OF)
    assert is_whole_and_of(path, MADE_OF)
    assert not is_whole_and_of(path, OTHER)
    assert not is_whole_and_of(written(tmp_path / f"b{suffix}"), MADE_OF)
    assert not is_whole_and_of(tmp_path / f"nowhere{suffix}", MADE_OF)


@pytest.mark.parametrize("suffix", [*HOLDING, ".hdr"])
def test_the_same_is_written_at_another_time_under_another_name(tmp_path: Path, suffix: str) -> None:
    before = written(tmp_path / f"one{suffix}", made_of=MADE_OF).read_bytes()
    with open(os.devnull):  # which changes the number of the next file to be opened
        time.sleep(1.01)
        assert written(tmp_path / f"other{suffix}", made_of=MADE_OF).read_bytes() == before


def test_a_format_that_cannot_hold_it_says_so(tmp_path: Path) -> None:
    notes = write_plate(tmp_path / "a.hdr", new_plate(dict.fromkeys("RGB", RAMP)), made_of=MADE_OF)
    assert "HDR: does not say what made it, since the format cannot hold it: --skip-existing makes it again" in notes
    assert not is_whole_and_of(tmp_path / "a.hdr", MADE_OF)


def test_user_data_of_a_dpx_is_not_overwritten(tmp_path: Path) -> None:
    spec = oiio.ImageSpec(56, 40, 3, "uint16")
    spec.attribute("dpx:UserData", oiio.TypeDesc("uint8[5]"), np.frombuffer(b"mine!", np.uint8))
    output = oiio.ImageOutput.create("dpx")
    assert output.open(str(tmp_path / "in.dpx"), spec)
    assert output.write_image(np.zeros((40, 56, 3), np.uint16))
    output.close()
    notes = write_plate(tmp_path / "out.dpx", read_plate(tmp_path / "in.dpx"), made_of=MADE_OF)
    assert any("the plate's user data is where it would go" in note for note in notes)
    held = inspect_plate(tmp_path / "out.dpx").parts[0].attributes["dpx:UserData"]
    assert bytes(held)[:5] == b"mine!"  # type: ignore[call-overload]


@pytest.mark.parametrize("after", HOLDING)
@pytest.mark.parametrize("before", HOLDING)
def test_what_a_plate_says_is_replaced_or_left_out(tmp_path: Path, before: str, after: str) -> None:
    plate = read_plate(written(tmp_path / f"in{before}", made_of=OTHER))
    anew, bare = tmp_path / f"anew{after}", tmp_path / f"bare{after}"
    write_plate(anew, plate, made_of=MADE_OF)
    write_plate(bare, plate)
    assert is_whole_and_of(anew, MADE_OF)
    assert recorded(inspect_plate(bare)) is None
    assert PREFIX.encode() not in bare.read_bytes()
    assert ATTRIBUTE.encode() not in bare.read_bytes()
    assert OTHER.encode() not in anew.read_bytes()


def test_no_part_of_a_plate_keeps_an_old_one(tmp_path: Path) -> None:
    parts = [
        OpenEXR.Part({"name": name, "compression": OpenEXR.ZIP_COMPRESSION, ATTRIBUTE: f"{OTHER}:{OTHER}"},
                     {"Y": OpenEXR.Channel("Y", RAMP)})
        for name in ("a", "b", "c")
    ]  # fmt: skip
    OpenEXR.File(parts).write(str(tmp_path / "in.exr"))
    plate = read_plate(tmp_path / "in.exr")
    write_plate(tmp_path / "out.exr", plate, replace={"Y": RAMP * 2}, part=1, made_of=MADE_OF)
    said = [part.attributes.get(ATTRIBUTE) for part in inspect_plate(tmp_path / "out.exr").parts]
    assert (said[0], said[2]) == (None, None)
    assert str(said[1]).startswith(MADE_OF)
    assert is_whole_and_of(tmp_path / "out.exr", MADE_OF)


@pytest.mark.parametrize("suffix", HOLDING)
def test_every_file_that_is_cut_off_is_known(tmp_path: Path, suffix: str) -> None:
    path = written(tmp_path / f"a{suffix}", made_of=MADE_OF)
    data = path.read_bytes()
    for length in {0, 1, 100, *range(len(data) // 2, len(data), len(data) // 19), len(data) - 1}:
        path.write_bytes(data[:length])
        assert not is_whole_and_of(path, MADE_OF), length
    path.write_bytes(data)
    assert is_whole_and_of(path, MADE_OF)


@pytest.mark.parametrize("suffix", HOLDING)
def test_every_byte_counts(tmp_path: Path, suffix: str) -> None:
    path = written(tmp_path / f"a{suffix}", made_of=MADE_OF)
    data = path.read_bytes()
    for place in range(0, len(data), len(data) // 150):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        assert not is_whole_and_of(path, MADE_OF), f"byte {place} of {len(data)}"


def test_pages_of_zeros_in_the_middle_are_found(tmp_path: Path) -> None:
    path = written(tmp_path / "a.exr", made_of=MADE_OF, compression="none")
    data = bytearray(path.read_bytes())
    data[8192:12288] = bytes(4096)
    path.write_bytes(data)
    assert not is_whole_and_of(path, MADE_OF)


def test_a_file_that_another_program_changed_is_none_of_ours(tmp_path: Path) -> None:
    path = written(tmp_path / "a.exr", made_of=MADE_OF)
    file = OpenEXR.File(str(path), separate_channels=True)
    channels = {name: OpenEXR.Channel(name, 2 * found.pixels) for name, found in file.channels().items()}
    OpenEXR.File(file.header(), channels).write(str(path))
    assert recorded(inspect_plate(path)) is not None
    assert not is_whole_and_of(path, MADE_OF)


@pytest.mark.parametrize("value", ["", "x", f"{MADE_OF}", f"{MADE_OF}:", f"{MADE_OF}:zz", 5, (1.0, 2.0)])
def test_an_attribute_that_is_none_of_ours_says_nothing(tmp_path: Path, value: object) -> None:
    path = tmp_path / "a.exr"
    OpenEXR.File({ATTRIBUTE: value}, {"Y": OpenEXR.Channel("Y", RAMP)}).write(str(path))
    assert recorded(inspect_plate(path)) is None
    assert not is_whole_and_of(path, MADE_OF)


def test_where_one_part_ends_counts() -> None:
    assert digest_of([b"ab", b"c"]) != digest_of([b"a", b"bc"])
    assert digest_of([b"", b"a"]) != digest_of([b"a"])


def test_content_is_digested_once_whatever_its_time_stamps_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []

    def spied(path: Path) -> str:
        asked.append(path)
        return content_digest(path)

    monkeypatch.setattr("stpn.ocio.digest.content_digest", spied)
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"same")
    shutil.copy2(one, two)
    contents = Contents()
    assert contents(one) == contents(two) == contents(one)
    assert asked == [one, two]
    two.write_bytes(b"diff")  # of the same size
    shutil.copystat(one, two)
    assert Contents()(two) != contents(one)


def test_a_file_that_cannot_be_read_is_asked_for_again(tmp_path: Path) -> None:
    contents = Contents()
    with pytest.raises(OSError, match="No such file") as error:
        contents(tmp_path / "later")
    assert error.value.errno == errno.ENOENT
    (tmp_path / "later").write_bytes(b"here")
    assert contents(tmp_path / "later") == content_digest(tmp_path / "later")
