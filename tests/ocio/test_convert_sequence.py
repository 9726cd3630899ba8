"""Sequences: which files, side by side, cancelled, taken up again, checked; and files that fail."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import OpenEXR
import pytest

from stpn.ocio import exr
from stpn.ocio.convert import ConvertCancelled, ConvertError, ConvertRequest, ConvertRequestError, convert, prepare, run
from stpn.ocio.convert_pipeline import file_bytes, under_way
from stpn.ocio.plate import new_plate, write_plate

Array = np.ndarray[Any, Any]
SHAPE = (32, 40)


@pytest.fixture
def shot(tmp_path: Path) -> Path:
    """Frames 1001 to 1008."""
    random = np.random.default_rng(5)
    for frame in range(1001, 1009):
        channels = {name: random.uniform(0, 1, SHAPE).astype(np.float16) for name in "RGBA"}
        write_plate(tmp_path / f"in.{frame}.exr", new_plate(channels))
    return tmp_path


def made(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("in."))


def damage(path: Path) -> None:
    """Breaks compressed pixels, which only decoding can find."""
    data = bytearray(path.read_bytes())
    data[-60:] = bytes(60)
    path.write_bytes(data)


def ask(shot: Path, **options: Any) -> ConvertRequest:
    options = {"from_space": "ACEScg", "to_space": "ACES2065-1", **options}
    return ConvertRequest(str(shot / "in.####.exr"), str(shot / "out.####.exr"), **options)


def test_frames_keep_their_numbers_and_come_in_order(shot: Path) -> None:
    done = list(run(prepare(ask(shot, frames="1002-1008x3"))))
    assert [file.frame for file in done] == [1002, 1005, 1008]
    assert made(shot) == ["out.1002.exr", "out.1005.exr", "out.1008.exr"]
    assert [file.status for file in done] == ["converted"] * 3


def test_any_number_of_threads_gives_the_same_files(shot: Path) -> None:
    list(run(prepare(ask(shot, threads=1, memory=0.01))))
    one = {name: (shot / name).read_bytes() for name in made(shot)}
    list(run(prepare(ask(shot, threads=4))))
    assert {name: (shot / name).read_bytes() for name in made(shot)} == one
    convert(shot / "in.1003.exr", shot / "out.1003.exr", from_space="ACEScg", to_space="ACES2065-1", threads=2)
    assert (shot / "out.1003.exr").read_bytes() == one["out.1003.exr"]


def test_no_more_files_are_in_memory_than_was_allowed(shot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside, most, lock = [0], [0], threading.Lock()
    real = exr.read_exr

    def counted(*args: Any, **options: Any) -> Any:
        with lock:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
        try:
            return real(*args, **options)
        finally:
            with lock:
                inside[0] -= 1

    monkeypatch.setattr("stpn.ocio.exr.read_exr", counted)
    conversion = prepare(ask(shot, threads=2))
    assert conversion.ahead == 3
    list(run(conversion))
    assert 1 <= most[0] <= 3
    assert under_way(conversion.files, 16, memory=0.13) == 2
    assert under_way(conversion.files, 16, memory=0.001) == 1
    assert file_bytes(conversion.files[0]) == 64 << 20


@pytest.mark.parametrize(
    ("source", "target", "options", "words"),
    [
        ("in.####.exr", "out.####.exr", {"frames": "1001-1011"}, "expected frames 1009, 1010, 1011, not found"),
        ("in.###.exr", "out.exr", {}, "expected a frame token like ####, found none"),
        ("im.####.exr", "out.####.exr", {}, "expected frames, found none"),
        ("in.1001.exr", "out.####.exr", {}, "expected one file as"),
        ("in.1001.exr", "out.exr", {"frames": "1-2"}, "--frames: expected a numbered sequence"),
        ("in.exr", "out.exr", {}, "in.exr: no such file"),
        ("in.####.exr", "out.####.gif", {}, "expected one of the extensions"),
        ("in.####.exr", "out.####.exr", {"to_space": "ACESgc"}, "did you mean .*'ACEScg'"),
        ("in.####.exr", "out.####.exr", {"from_space": "ACEScg"}, "--from: expected --to"),
        ("in.####.exr", "out.####.exr", {"display": "sRGB - Display"}, "--display: expected --view beside it"),
        ("in.####.exr", "out.####.exr", {"display": "x", "view": "y"}, "expected a display of .*, got 'x'"),
        ("in.####.exr", "out.####.exr", {"look": "none such"}, "expected a look of .*, got 'none such'"),
        ("in.####.exr", "out.####.exr", {"compression": "gzip"}, "--compression: expected keep or one of"),
        ("in.####.exr", "out.####.exr", {"compression": "zip:5"}, "expected a level with dwaa or dwab only"),
        ("in.####.exr", "out.####.exr", {"compression": "dwaa:high"}, "expected a level such as dwaa:45"),
        ("in.####.exr", "out.####.exr", {"resize": "half"}, "--resize: expected a size such as 1920x1080"),
        ("in.####.exr", "out.####.exr", {"resize": "0x10"}, "--resize: expected a size such as 1920x1080"),
        ("in.####.exr", "out.####.exr", {"crop": "middle"}, "--crop: expected one of display, window"),
        ("in.####.exr", "out.####.exr", {"pixel_type": "double"}, "--type: expected one of keep, half"),
        ("in.####.exr", "out.####.exr", {"parts": "beauty"}, "--parts beauty: expected a part of"),
        ("in.####.exr", "out.####.exr", {"channels": "Z"}, "--channels Z: expected a channel of"),
        ("in.####.exr", "out.####.exr", {"threads": -1}, "--threads: expected 1 or more"),
        ("in.####.exr", "out.####.exr", {"memory": 0.0}, "--memory: expected GiB above 0"),
        ("in.####.exr", "out.####.exr", {"ocio": "/none.ocio", "to_space": "x"}, "expected an OCIO config file"),
        ("in.####.exr", "out.####.exr", {"device": "cuda", "to_space": "x"}, "--device cuda: expected an NVIDIA GPU"),
    ],
)  # fmt: skip
def test_a_wrong_request_writes_nothing(
    shot: Path, source: str, target: str, options: dict[str, Any], words: str
) -> None:
    if options.get("device") == "cuda" and __import__("torch").cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(ConvertRequestError, match=words) as refused:
        convert(shot / source, shot / target, **options)
    assert all("\n" not in problem for problem in refused.value.problems)
    assert made(shot) == []


def test_every_file_is_inspected_before_the_first_is_written(shot: Path) -> None:
    data = (shot / "in.1007.exr").read_bytes()
    (shot / "in.1007.exr").write_bytes(data[: len(data) // 2])
    with pytest.raises(ConvertRequestError, match=r"in\.1007\.exr: .*damaged"):
        convert(shot / "in.####.exr", shot / "out.####.exr")
    assert made(shot) == []


def test_a_file_that_fails_ends_it_and_leaves_whole_files(shot: Path) -> None:
    damage(shot / "in.1003.exr")
    with pytest.raises(ConvertError, match=r"^frame 1003: .*in\.1003\.exr: ") as failed:
        list(run(prepare(ask(shot, threads=1, memory=0.01))))
    assert "\n" not in str(failed.value)
    assert made(shot) == ["out.1001.exr", "out.1002.exr"]


def test_keep_going_makes_the_others(shot: Path) -> None:
    damage(shot / "in.1003.exr")
    done = list(run(prepare(ask(shot, keep_going=True))))
    assert [file.frame for file in done if file.status == "failed"] == [1003]
    assert len(made(shot)) == 7


def test_it_stops_when_told_and_leaves_whole_files(shot: Path) -> None:
    stop = threading.Event()
    files = run(prepare(ask(shot, threads=1, memory=0.01)), stop)
    assert next(files).frame == 1001
    stop.set()
    with pytest.raises(ConvertCancelled):
        next(files)
    assert made(shot) == ["out.1001.exr"]


def test_skip_existing_leaves_what_is_whole_and_the_same_and_makes_the_rest(shot: Path) -> None:
    list(run(prepare(ask(shot))))
    first = {name: (shot / name).read_bytes() for name in made(shot)}
    times = {name: (shot / name).stat().st_mtime_ns for name in first}
    (shot / "out.1001.exr").write_bytes(first["out.1001.exr"][:200])
    (shot / "out.1002.exr").unlink()
    (shot / "out.1003.exr").write_bytes((shot / "in.1003.exr").read_bytes())
    changed = OpenEXR.File(str(shot / "in.1004.exr"), separate_channels=True)
    changed.channels()["R"].pixels[0, 0] = 9.0
    changed.write(str(shot / "in.1004.exr"))
    done = {file.frame: file.status for file in run(prepare(ask(shot, skip_existing=True)))}
    assert [frame for frame, status in done.items() if status == "converted"] == [1001, 1002, 1003, 1004]
    for name, content in first.items():
        if name != "out.1004.exr":
            assert (shot / name).read_bytes() == content
    assert all((shot / f"out.{n}.exr").stat().st_mtime_ns == times[f"out.{n}.exr"] for n in range(1005, 1009))
    assert (shot / "out.1004.exr").read_bytes() != first["out.1004.exr"]
    other = list(run(prepare(ask(shot, skip_existing=True, to_space="ACEScct"))))
    assert {file.status for file in other} == {"converted"}


def test_what_a_file_is_made_of_is_the_same_in_every_process(shot: Path) -> None:
    code = "import sys; from stpn.ocio.convert import convert; "
    code += "convert(sys.argv[1], sys.argv[2], from_space='ACEScg', to_space='ACEScct', look=None)"
    for seed in "12":
        arguments = [sys.executable, "-c", code, str(shot / "in.1001.exr"), str(shot / f"seed{seed}.exr")]
        subprocess.run(arguments, check=True, env={**os.environ, "PYTHONHASHSEED": seed})
    assert (shot / "seed1.exr").read_bytes() == (shot / "seed2.exr").read_bytes()


@pytest.mark.parametrize("suffix", ["exr", "png", "tif", "dpx"])
def test_skip_existing_knows_every_format_and_copies(shot: Path, suffix: str) -> None:
    ways: list[dict[str, Any]] = [{"to_space": "ACEScct", "from_space": "ACEScg"}, {}]
    for options in ways:
        for expected in ("made", "skipped"):
            (file,) = convert(shot / "in.1001.exr", shot / f"out.{suffix}", skip_existing=True, **options)
            assert (file.status == "skipped") == (expected == "skipped"), (options, expected)


def test_check_finds_what_was_written_wrong(shot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = exr.encoded_part

    def wrong(pixels: dict[str, Array], *args: Any, **options: Any) -> Any:
        spoiled = {name: array.copy() for name, array in pixels.items()}
        spoiled["A"][3, 4] += 1
        return real(spoiled, *args, **options)

    monkeypatch.setattr("stpn.ocio.exr.encoded_part", wrong)
    with pytest.raises(ConvertError, match="channel A: --check decoded other pixels"):
        list(run(prepare(ask(shot, check=True))))
    assert made(shot) == []
    list(run(prepare(ask(shot, frames="1001"))))


def test_check_finds_a_channel_that_was_changed_though_not_chosen(shot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from stpn.ocio import convert_frame

    real = convert_frame.pixels_of

    def wrong(*args: Any) -> dict[str, Array]:
        done = real(*args)
        return {**done, "A": done["A"] + np.float16(1)}

    monkeypatch.setattr("stpn.ocio.convert_frame.pixels_of", wrong)
    with pytest.raises(ConvertError, match="channel A: --check decoded other pixels"):
        list(run(prepare(ask(shot, check=True))))


def test_folders_are_made_and_a_place_that_cannot_be_written_is_one_line(shot: Path) -> None:
    convert(shot / "in.1001.exr", shot / "new" / "deep" / "out.exr")
    (shot / "file").write_bytes(b"")
    with pytest.raises(ConvertError, match="cannot be written") as failed:
        convert(shot / "in.1001.exr", shot / "file" / "out.exr")
    assert "\n" not in str(failed.value)


def test_a_source_that_vanishes_is_told_by_its_name(shot: Path) -> None:
    conversion = prepare(ask(shot, frames="1001-1002"))
    (shot / "in.1002.exr").unlink()
    with pytest.raises(ConvertError, match=r"^frame 1002: .*in\.1002\.exr: cannot be read: No such file"):
        list(run(conversion))
    assert made(shot) == ["out.1001.exr"]


def test_names_out_of_a_file_cannot_break_a_line(tmp_path: Path) -> None:
    channels = {f"bad\n\x1b[2J.{name}": np.zeros(SHAPE, np.float16) for name in "RGB"}
    write_plate(tmp_path / "in.exr", new_plate(channels | {"Z": np.zeros(SHAPE, np.float32)}))
    (done,) = convert(tmp_path / "in.exr", tmp_path / "out.exr", compression="b44", channels="bad*", parts="0")
    assert done.notes
    assert all(note.isprintable() for note in done.notes)
    with pytest.raises(ConvertRequestError) as refused:
        convert(tmp_path / "in.exr", tmp_path / "out.exr", channels="Z", to_space="ACEScg")
    assert all(problem.isprintable() for problem in refused.value.problems)


def test_a_source_that_changes_behind_its_inspection_is_refused(shot: Path) -> None:
    conversion = prepare(ask(shot, frames="1001"))
    write_plate(shot / "in.1001.exr", new_plate(dict.fromkeys("RGB", np.zeros((5, 5), np.float16))))
    with pytest.raises(ConvertError, match="changed since it was inspected"):
        list(run(conversion))
    assert made(shot) == []


def test_a_color_of_mixed_types_keeps_each(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    channels = {name: random.uniform(0, 1, SHAPE) for name in "RGB"}
    types = {"R": np.float16, "G": np.float32, "B": np.float32}
    write_plate(tmp_path / "in.exr", new_plate({name: channels[name].astype(types[name]) for name in "RGB"}))
    convert(tmp_path / "in.exr", tmp_path / "out.exr", from_space="ACEScg", to_space="ACES2065-1", check=True)
    found = OpenEXR.File(str(tmp_path / "out.exr"), separate_channels=True).channels()
    assert {name: found[name].pixels.dtype for name in found} == types
    green = found["G"].pixels
    assert (green != green.astype(np.float16)).any()
