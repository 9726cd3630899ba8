"""`stpn convert` as a person types it: exit codes, what is printed where, Ctrl-C and SIGTERM."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from stpn.ocio.plate import inspect_plate, new_plate, write_plate
from stpn.plugin.cli import main

STPN = [sys.executable, "-c", "import sys; from stpn.plugin.cli import main; sys.exit(main())", "convert"]
AP1 = (0.713, 0.293, 0.165, 0.830, 0.128, 0.044, 0.32168, 0.33767)


@pytest.fixture
def shot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Frames 1001 to 1004 in ACEScg, and the command."""
    random = np.random.default_rng(5)
    for frame in range(1001, 1005):
        channels = {name: random.uniform(0, 1, (16, 24)).astype(np.float16) for name in "RGBA"}
        write_plate(tmp_path / f"in.{frame}.exr", new_plate(channels, attributes={"chromaticities": AP1}))

    def run(*options: str, source: str = "in.####.exr", target: str = "out.####.exr") -> SimpleNamespace:
        code = main(["convert", str(tmp_path / source), str(tmp_path / target), *options])
        said = capsys.readouterr()
        return SimpleNamespace(code=code, out=said.out, err=said.err)

    def made() -> list[str]:
        return sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith("in."))

    return SimpleNamespace(folder=tmp_path, run=run, made=made)


def test_a_sequence_in_plain_words(shot: Any) -> None:
    done = shot.run("--to", "ACES2065-1", "--check")
    assert done.code == 0
    assert done.out == f"4 frames: {shot.folder}/out.####.exr\n"
    *decisions, progress = done.err.splitlines()
    assert decisions == [
        "config: built-in studio-config-v5.0.0_aces-v2.1_ocio-v2.6",
        "from: ACEScg, chromaticities are those of ACES AP1",
        "color: ACEScg to ACES2065-1",
        "checked: 4 channels bit for bit",
    ]
    assert progress.startswith("frame 1004  4/4  ")
    assert shot.made() == [f"out.{frame}.exr" for frame in range(1001, 1005)]


def test_one_picture(shot: Any) -> None:
    done = shot.run("--compression", "dwaa:90", "--type", "float", source="in.1001.exr", target="one.exr")
    assert (done.code, done.out) == (0, f"{shot.folder}/one.exr\n")
    part = inspect_plate(shot.folder / "one.exr").parts[0]
    assert (part.compression, part.attributes["dwaCompressionLevel"]) == ("dwaa", 90.0)
    assert {channel.pixel_type for channel in part.channels} == {"float"}


def test_json_is_one_object_a_frame(shot: Any) -> None:
    assert shot.run("--frames", "1002", "--to", "ACEScct").code == 0
    done = shot.run("--json", "--skip-existing", "--to", "ACEScct", "--check")
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [(line["frame"], line["status"]) for line in lines] == [
        (1001, "converted"), (1002, "skipped"), (1003, "converted"), (1004, "converted"),
    ]  # fmt: skip
    assert all(set(line) == {"frame", "source", "path", "status", "seconds", "notes"} for line in lines)
    assert lines[0]["notes"] == ["checked: 4 channels bit for bit"]
    assert lines[0]["path"] == f"{shot.folder}/out.1001.exr"


def test_a_wrong_request_is_2_with_a_line_for_each_problem(shot: Any) -> None:
    done = shot.run("--type", "double", "--crop", "middle", "--compression", "gzip")
    assert (done.code, done.out) == (2, "")
    assert len(done.err.splitlines()) == 3
    assert all(line.startswith("stpn convert: --") for line in done.err.splitlines())
    done = shot.run("--to", "ACEScct", "--frames", "1001-1009")
    assert done.code == 2
    assert "expected frames 1005, 1006, 1007, 1008, 1009, not found; there are 1001-1004 (4)" in done.err
    assert shot.made() == []


def test_a_gpu_that_is_not_there_is_2_with_the_reason(shot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stpn.plugin.device.why_no_cuda", lambda: "there is no driver library libcuda.so.1")
    done = shot.run("--device", "cuda", "--to", "ACEScct")
    assert done.code == 2
    assert done.err == (
        "stpn convert: --device cuda: expected an NVIDIA GPU for torch, there is no driver library libcuda.so.1; "
        "use --device cpu\n"
    )
    assert shot.made() == []


def test_a_failure_is_1_and_whole_files_stay(shot: Any) -> None:
    data = bytearray((shot.folder / "in.1003.exr").read_bytes())
    data[-60:] = bytes(60)
    (shot.folder / "in.1003.exr").write_bytes(data)
    done = shot.run("--to", "ACES2065-1", "--threads", "1", "--memory", "0.01")
    assert done.code == 1
    assert done.err.splitlines()[-1].startswith(f"stpn convert: frame 1003: {shot.folder}/in.1003.exr: ")
    assert "Traceback" not in done.err
    assert shot.made() == ["out.1001.exr", "out.1002.exr"]
    done = shot.run("--to", "ACES2065-1", "--keep-going", "--skip-existing")
    assert done.code == 1
    assert done.err.splitlines()[-1] == "stpn convert: 1 of 4 frames failed"
    assert shot.made() == ["out.1001.exr", "out.1002.exr", "out.1004.exr"]


def test_help_shows_percent_signs_and_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["convert", "--help"])
    assert stopped.value.code == 0
    said = capsys.readouterr().out
    assert "--resize 50% " in said
    assert "%04d" in said
    assert "exit codes: 0 done" in said


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_with_whole_files_and_nothing_beside_them(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    random = np.random.default_rng(1)
    noise = {name: random.uniform(0, 1, (600, 800)).astype(np.float16) for name in "RGB"}
    write_plate(tmp_path / "in.1.exr", new_plate(noise))
    for frame in range(2, 121):
        os.link(tmp_path / "in.1.exr", tmp_path / f"in.{frame}.exr")
    arguments = [*STPN, str(tmp_path / "in.#.exr"), str(tmp_path / "out.#.exr"), "--from", "ACEScg", "--to", "ACEScct"]
    child = subprocess.Popen([*arguments, "--threads", "1"], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    until = time.monotonic() + 60
    while not list(tmp_path.glob("out.*.exr")) and time.monotonic() < until:
        time.sleep(0.02)
    child.send_signal(number)
    _, errors = child.communicate(timeout=60)
    assert child.returncode == code
    assert errors.splitlines()[-1] == "stpn convert: cancelled; the files that are there are whole"
    there = list(tmp_path.glob("out.*.exr"))
    assert 0 < len(there) < 120
    assert len({path.read_bytes() for path in there}) == 1
    assert not list(tmp_path.glob(".*"))


def test_handlers_of_signals_are_as_before(shot: Any) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    assert shot.run("--to", "ACES2065-1").code == 0
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert threading.current_thread() is threading.main_thread()
