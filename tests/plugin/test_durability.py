"""Runs that are killed, told to stop, run out of disk or lose their inputs: what is there is whole, and goes on."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stpn.ocio import atomic
from stpn.ocio.plate import PlateError
from stpn.plugin import frame_source

RUNS = Path(__file__).with_name("killed_runs.py")
STPN = [sys.executable, "-c", "import sys; from stpn.plugin.cli import main; sys.exit(main())"]
# a run whose second file stands half-written until somebody ends it
STUCK = """
import sys, threading
from stpn.ocio import plate_write
from stpn.plugin.cli import main
honest, count = plate_write.write_packed, iter(range(9))
def slow(file, *rest):
    if next(count) == 0:
        return honest(file, *rest)
    file.write(b"half")
    file.flush()
    print("stuck", flush=True)
    threading.Event().wait()
plate_write.write_packed = slow
sys.exit(main())
"""


@pytest.fixture
def shot(studio: Any) -> Any:
    """Frames 1-11, keys 3, 6 and 8."""
    studio.plate(range(1, 12))
    studio.keys((3, 6, 8))
    return studio


def runs(*arguments: object) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(RUNS), *map(str, arguments)], capture_output=True, text=True, timeout=3000
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("count", [8, pytest.param(100, marks=pytest.mark.slow)])
def test_killed_runs_go_on_to_the_same_files(studio: Any, count: int) -> None:
    studio.plate(range(1, 17))
    studio.keys(range(1, 17, 3))
    found = runs("kill", studio.folder, count, 20261123)
    assert found["wrong"] == []
    assert found["strays"] == []
    # or nothing was tested
    assert found["killed"] >= count / 2
    assert found["complete"] > count


@pytest.mark.parametrize("count", [8, pytest.param(50, marks=pytest.mark.slow)])
def test_runs_on_one_shot_at_once_make_the_same_files(shot: Any, count: int) -> None:
    assert runs("together", shot.folder, count) == {"codes": [0], "same": True, "strays": []}


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_the_second_signal_ends_it_at_once_and_leaves_no_temporary_file(shot: Any, sent: int, code: int) -> None:
    (shot.folder / "out.0003.exr").write_bytes(b"former")
    command = [sys.executable, "-c", STUCK, *shot.arguments("--method", "flow", "--threads", "1", "--cuts", "none")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"stuck\n"
        assert len([name for name in shot.files() if ".partial" in name]) == 1
        process.send_signal(sent)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)  # it would finish its frame
        process.send_signal(sent)
        assert process.wait(10) == code
    assert sorted(name for name in shot.files() if not name.startswith(("plate", "key"))) == [
        "out.0001.exr", "out.0003.exr",
    ]  # fmt: skip
    assert shot.contents("out.")["0003.exr"] == b"former"


def test_sigterm_ends_it_after_the_frame_with_143(studio: Any) -> None:
    shot = studio
    shot.shape = (96, 128)
    shot.plate(range(1, 61))
    shot.keys(range(1, 61, 8))
    command = [*STPN, *shot.arguments("--method", "flow", "--json", f"--report={shot.folder}/report.json")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = [json.loads(process.stdout.readline()) for _ in range(3)]
        process.send_signal(signal.SIGTERM)
        rest, said = process.communicate(timeout=60)
    assert process.returncode == 143
    assert said.splitlines()[-1] == "stpn propagate: cancelled; the frames that are there are whole"
    told += [json.loads(line) for line in rest.splitlines()]
    made = shot.contents("out.")
    assert len(told) <= len(made) < 60
    report = json.loads((shot.folder / "report.json").read_text())
    assert (report["status"], report["exit_code"]) == ("cancelled", 143)
    assert [frame["frame"] for frame in report["frames"] if frame["status"] != "not tried"] == [
        frame["frame"] for frame in told
    ]
    assert all(shot.image(f"out.{name}").shape == (96, 128, 3) for name in made)
    assert not [name for name in shot.files() if ".partial" in name]


def test_sigterm_while_the_request_is_checked(shot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stpn.plugin.shot.check", lambda _: os.kill(os.getpid(), signal.SIGTERM))
    before, handler = shot.files(), signal.getsignal(signal.SIGTERM)
    done = shot.run()
    assert (done.code, done.err) == (143, "stpn propagate: cancelled\n")
    assert shot.files() == before
    assert signal.getsignal(signal.SIGTERM) == handler


def damage(path: Path) -> None:
    """The chunk table stays right, so nothing but decoding the pixels can find it."""
    broken = bytearray(path.read_bytes())
    broken[-60:] = bytes(60)
    path.write_bytes(broken)


def test_the_first_failure_stops_a_run_that_is_not_told_to_go_on(shot: Any) -> None:
    damage(shot.folder / "plate.0004.exr")
    done = shot.run("--method", "flow", "--cuts", "none", "--threads", "1")
    assert done.code == 1
    assert sorted(shot.contents("out.")) == ["0001.exr", "0002.exr", "0003.exr"]


@pytest.mark.parametrize(
    ("broken", "lost"),
    [(2, [1, 2]), (4, [4, 5]), (7, [7]), (9, [9, 10, 11]), (10, [10, 11]), (11, [11])],
)
def test_keep_going_makes_every_frame_that_does_without_a_damaged_one(shot: Any, broken: int, lost: list[int]) -> None:
    shot.render(method="flow", cuts="none", output="whole.####.exr")
    damage(shot.folder / f"plate.{broken:04d}.exr")
    done = shot.run("--method", "flow", "--cuts", "none", "--keep-going", "--json")
    assert done.code == 1
    told = {line["frame"]: line for line in map(json.loads, done.out.splitlines())}
    assert sorted(told) == list(range(1, 12))
    assert [frame for frame, line in told.items() if line["status"] == "failed"] == lost
    for frame in lost:
        assert f"plate.{broken:04d}.exr" in told[frame]["error"]
        assert told[frame]["error"].startswith(f"frame {frame}: ")
    whole = shot.contents("whole.")
    assert shot.contents("out.") == {name: data for name, data in whole.items() if int(name[:4]) not in lost}
    listed = f"{lost[0]}-{lost[-1]}" if len(lost) > 1 else str(lost[0])
    assert f"stpn propagate: failed: frames {listed}; the others are there; run again with --skip-existing" in done.err


def test_keep_going_says_which_frames_a_damaged_one_concerns(shot: Any) -> None:
    damage(shot.folder / "plate.0010.exr")
    done = shot.render(method="flow", cuts="none", keep_going=True, frames="9-11")
    assert [frame.status for frame in done] == ["carried", "failed", "failed"]
    assert str(done[1].error).endswith("; needed for 10-11, not for 9")
    assert str(done[2].error).startswith("frame 11: not made: frame 10: ")


@pytest.mark.parametrize("keep_going", [True, False])
def test_an_input_that_vanishes_midway(shot: Any, monkeypatch: pytest.MonkeyPatch, keep_going: bool) -> None:
    honest = frame_source.read_plate

    def vanishing(path: Path) -> Any:
        if path.name == "plate.0006.exr":
            (shot.folder / "plate.0009.exr").unlink(missing_ok=True)
        return honest(path)

    monkeypatch.setattr(frame_source, "read_plate", vanishing)
    done = shot.run("--method", "flow", "--cuts", "none", "--threads", "1", *["--keep-going"] * keep_going)
    assert done.code == 1
    assert f"frame 9: {shot.folder}/plate.0009.exr: no such file" in done.err
    assert max(int(name[:4]) for name in shot.contents("out.")) == 8
    assert not [name for name in shot.files() if ".partial" in name]


@pytest.mark.parametrize("error", ["ENOSPC", "EDQUOT", "EROFS", "ESTALE"])
def test_later_frames_are_tried_where_one_cannot_be_written(
    shot: Any, monkeypatch: pytest.MonkeyPatch, error: str
) -> None:
    shot.render(method="flow", cuts="none", confidence="sure.####.exr")
    before = shot.contents("out.")
    (shot.folder / "out.0005.exr").write_bytes(b"former")
    honest = os.replace

    def replace(source: Path, target: Path) -> None:
        if Path(target).name in ("out.0003.exr", "out.0005.exr", "sure.0009.exr"):
            raise OSError(getattr(errno, error), os.strerror(getattr(errno, error)))
        honest(source, target)

    monkeypatch.setattr(atomic.os, "replace", replace)
    done = shot.render(method="flow", cuts="none", confidence="sure.####.exr", keep_going=True)
    assert [frame.frame for frame in done if frame.status == "failed"] == [3, 5, 9]
    advice = atomic._ADVICE[getattr(errno, error)]
    assert done[4].error == (
        f"frame 5: {shot.folder}/out.0005.exr: cannot be written: {os.strerror(getattr(errno, error))}; {advice}"
    )
    assert shot.contents("out.") == before | {"0005.exr": b"former"}
    assert not [name for name in shot.files() if ".partial" in name]
    monkeypatch.undo()
    again = shot.render(method="flow", cuts="none", confidence="sure.####.exr", skip_existing=True)
    assert [frame.frame for frame in again if frame.status != "skipped"] == [5]
    assert shot.contents("out.") == before


def test_a_disk_that_is_really_full(shot: Any, tmp_path: Path) -> None:
    mount = "mkdir -p {0}/small && mount -t tmpfs -o size={1} none {0}/small && "
    tried = ["unshare", "-rm", "sh", "-c", mount.format(tmp_path, "64k") + "true"]
    if shutil.which("unshare") is None or subprocess.run(tried, capture_output=True).returncode:
        pytest.skip("needs a user namespace with a file system of its own (unshare -rm)")
    size = (shot.folder / "plate.0001.exr").stat().st_size
    shot.render(method="flow", cuts="none")
    whole = shot.contents("out.")
    pages = -(-max(map(len, whole.values())) // 4096)
    # three results fit
    small = mount.format(tmp_path, f"{4 * (3 * pages + 1)}k")
    output = f"--output={tmp_path}/small/out.####.exr"
    shot_arguments = shot.arguments("--method=flow", "--cuts=none", "--threads=1", "--keep-going", output)
    kept = f'"$@"; code=$?; mkdir {tmp_path}/kept; cp -a {tmp_path}/small/. {tmp_path}/kept; exit $code'
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", small + kept, "sh", *STPN, *shot_arguments],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert size > 0
    assert done.returncode == 1, done.stderr
    assert "cannot be written: No space left on device; free some space, then run again" in done.stderr
    found = {path.name.removeprefix("out."): path.read_bytes() for path in (tmp_path / "kept").iterdir()}
    assert 1 <= len(found) <= 4
    assert found.items() <= whole.items()


def test_clocks_that_jump_change_nothing(shot: Any) -> None:
    shot.render(method="flow")
    for number, name in enumerate(shot.files()):
        os.utime(shot.folder / name, (0, 0) if number % 2 else (4e9, 4e9))
    before = shot.files()
    assert {frame.status for frame in shot.render(method="flow", skip_existing=True)} == {"skipped"}
    assert shot.files() == before


def test_a_result_that_somebody_reads_is_replaced_under_another_name(shot: Any) -> None:
    shot.render(method="flow", frames="5")
    with (shot.folder / "out.0005.exr").open("rb") as reader:
        before = (shot.folder / "out.0005.exr").read_bytes()
        shot.write("key.0006.exr", shot.channels(np.zeros((*shot.shape, 3))))
        shot.render(method="flow", frames="5", skip_existing=True)
        assert reader.read() == before
    assert (shot.folder / "out.0005.exr").read_bytes() != before


def test_a_stale_handle_is_read_once_more(shot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # what a client of NFS sees of a file that another one renames onto
    honest, left = frame_source.read_plate, ["plate.0004.exr", "key.0006.exr"]

    def stale(path: Path) -> Any:
        if path.name in left:
            left.remove(path.name)
            try:
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
            except OSError as error:
                raise PlateError(f"{path}: cannot be read: {error.strerror}") from None
        return honest(path)

    monkeypatch.setattr(frame_source, "read_plate", stale)
    assert {frame.status for frame in shot.render(method="flow", cuts="none")} == {"key", "carried"}
    assert left == []
