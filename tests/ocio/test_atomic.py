"""Files are whole or not there whatever the file system does; nobody's temporary file is mistaken for a leftover."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from stpn.ocio import atomic, this_process
from stpn.ocio.atomic import drop_unfinished, remove_leftovers, written_whole

ERRORS = ["ENOSPC", "EDQUOT", "EROFS", "ESTALE", "EIO", "EACCES"]
DIES = """
import os, signal, sys
from pathlib import Path
from stpn.ocio.atomic import written_whole
with written_whole(Path(sys.argv[1])) as temporary:
    temporary.write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
LIVES = """
import sys
from pathlib import Path
from stpn.ocio.atomic import written_whole
with written_whole(Path(sys.argv[1])) as temporary:
    temporary.write_bytes(b"half")
    print("ready", flush=True)
    sys.stdin.read()
"""


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


@pytest.mark.parametrize("place", ["open", "fsync", "replace"])
@pytest.mark.parametrize("error", ERRORS)
def test_an_error_leaves_the_former_file_and_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: str, place: str
) -> None:
    path = tmp_path / "a.exr"
    path.write_bytes(b"former")

    def fails(*_: Any) -> Any:
        raise OSError(getattr(errno, error), os.strerror(getattr(errno, error)))

    try:
        with monkeypatch.context() as patched, written_whole(path) as temporary:
            temporary.write_bytes(b"new")
            patched.setattr(atomic.os, place, fails)
    except OSError as raised:
        found = raised
    assert found.errno == getattr(errno, error)
    assert atomic.what_to_do(found).startswith("; ")
    assert path.read_bytes() == b"former"
    assert names(tmp_path) == ["a.exr"]


def test_an_unknown_error_has_no_advice() -> None:
    assert atomic.what_to_do(OSError("something")) == ""


def test_who_has_the_former_file_open_reads_on_in_it(tmp_path: Path) -> None:
    path = tmp_path / "a.exr"
    path.write_bytes(b"former" * 1000)
    with path.open("rb") as reader:
        begin = reader.read(6)
        with written_whole(path) as temporary:
            temporary.write_bytes(b"new")
        assert begin + reader.read() == b"former" * 1000
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("stem", ["a", "é" * 120, "x" * 250, "a.b.partial"])
def test_names_fit_and_leftovers_are_recognized(tmp_path: Path, stem: str) -> None:
    path = tmp_path / f"{stem}.exr"
    killed = subprocess.run([sys.executable, "-c", DIES, str(path)], timeout=60)
    assert killed.returncode == -9
    (left,) = names(tmp_path)
    assert left.startswith(".")
    assert left.endswith(".partial.exr")
    assert len(os.fsencode(left)) <= 255
    assert remove_leftovers([tmp_path / "other.exr", path.with_suffix(".png")]) == []
    assert remove_leftovers([path]) == [tmp_path / left]
    assert names(tmp_path) == []


def test_what_somebody_still_writes_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.exr"
    with subprocess.Popen(
        [sys.executable, "-c", LIVES, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"ready\n"
        with written_whole(path) as mine:
            mine.write_bytes(b"mine")
            assert len(names(tmp_path)) == 2
            assert remove_leftovers([path]) == []
            assert len(names(tmp_path)) == 2
        other.kill()
        other.wait()
        assert len(remove_leftovers([path])) == 1
    assert names(tmp_path) == ["a.exr"]
    assert path.read_bytes() == b"mine"


def test_another_process_of_the_same_number_is_told_apart() -> None:
    machine, process, began = this_process.this_process().split("-")
    assert this_process.alive(f"{machine}-{process}-{began}") is True
    if Path("/proc/self/stat").exists():
        assert this_process.alive(f"{machine}-{process}-{int(began) - 1}") is False


def leftover(folder: Path, machine: str, age: float) -> Path:
    path = folder / f".a.{machine}-1-2-3.partial.exr"
    path.write_bytes(b"half")
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_of_another_machine_only_what_is_a_week_old_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    young, old = leftover(tmp_path, "000000000001", 3600), leftover(tmp_path, "000000000002", 8 * 24 * 3600)
    # the clock of this machine jumps; the file server's does not
    monkeypatch.setattr(time, "time", lambda: 4e9)
    assert remove_leftovers([tmp_path / "a.exr"]) == [old]
    assert names(tmp_path) == [young.name]


@pytest.mark.parametrize(
    "name",
    [".nfs000000000001", ".a.exr.swp", ".a.partial.exr", "a.000000000001-1-2-3.partial.exr", ".a.123-4-0.partial.exr"],
)
def test_files_of_others_stay(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"not ours")
    os.utime(tmp_path / name, (0, 0))
    assert remove_leftovers([tmp_path / "a.exr"]) == []
    assert names(tmp_path) == [name]


def test_a_folder_that_is_not_there_has_no_leftovers(tmp_path: Path) -> None:
    assert remove_leftovers([tmp_path / "nowhere" / "a.exr"]) == []


def test_what_is_being_written_can_be_dropped_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), written_whole(tmp_path / "a.exr") as temporary:  # noqa: PT012
        temporary.write_bytes(b"half")
        drop_unfinished()
        assert names(tmp_path) == []
    assert names(tmp_path) == []
