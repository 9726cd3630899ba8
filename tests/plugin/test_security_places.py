"""Odd places and names: links, pipes, devices, folders where files belong, names that steer a terminal or a farm."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import OpenEXR
import pytest

from stpn.ocio.plate import PlateError, inspect_plate, read_plate
from stpn.ocio.sequence import Sequence, SequenceError
from stpn.plugin.live_pictures import described
from stpn.plugin.request import RequestError, one_line

pytestmark = pytest.mark.skipif(os.name == "nt", reason="links and pipes of Unix")

EVIL = "a\x1b[31m\nopenjd_env: LD_PRELOAD=/tmp/x\r\x9b2J\u202e\x00b"


@pytest.fixture
def shot(studio: Any) -> Any:
    """A small shot, carried without learning."""
    studio.plate()
    studio.keys()
    return studio


def stpn(*arguments: str, seconds: float = 60) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, which a pipe cannot hold up for ever."""
    environment = {name: value for name, value in os.environ.items() if name != "OCIO"}
    return subprocess.run(
        [sys.executable, "-m", "stpn.plugin.cli", *arguments],
        capture_output=True, text=True, timeout=seconds, check=False, env=environment,
    )  # fmt: skip


def in_the_way(path: Path, kind: str) -> None:
    """Something that is no file."""
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        with socket.socket(socket.AF_UNIX) as sock:
            where = os.getcwd()
            os.chdir(path.parent)  # the name of a socket may be no longer than 108 bytes
            try:
                sock.bind(path.name)
            finally:
                os.chdir(where)


@pytest.mark.parametrize(
    ("kind", "said"), [("pipe", "a named pipe"), ("socket", "a socket"), ("device", "a device"), ("folder", "a folder")]
)
def test_a_frame_that_is_no_file_is_refused_at_once(kind: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "plate.1002.exr"
    in_the_way(path, kind)
    for call in (inspect_plate, read_plate):
        with pytest.raises(PlateError, match=f"expected a picture file, found {said}"):
            call(path)


def test_pipes_among_the_frames_do_not_hold_the_command_up(shot: Any) -> None:
    (shot.folder / "plate.1002.exr").unlink()
    in_the_way(shot.folder / "plate.1002.exr", "pipe")
    found = shot.refused(method="flow")
    assert found == ("plate.1002.exr: expected a picture file, found a named pipe",)


@pytest.fixture
def patience() -> Iterator[None]:
    """Fails a test that waits for somebody to write into a pipe."""

    def give_up(*_: object) -> None:
        raise TimeoutError("waits for a pipe")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, 10)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize(
    "options",
    [
        {"method": "stpn", "weights": "pipe"},
        {"method": "aligned", "weights": "pipe", "adapt": "1step"},
        {"ocio": "pipe"},
        {"analysis": "pipe"},
        {"adapt": "1step"},
    ],
    ids=str,
)
@pytest.mark.usefixtures("patience")
def test_options_that_name_a_pipe_do_not_hold_the_command_up(shot: Any, options: dict[str, str]) -> None:
    for name in ("pipe", "out.adapted.safetensors"):
        os.mkfifo(shot.folder / name)
    if "ocio" in options or "analysis" in options:
        options = {**options, "method": "flow"}
    named = {name: str(shot.folder / value) if value == "pipe" else value for name, value in options.items()}
    problems = shot.refused(**named)
    assert all("TimeoutError" not in problem and "waits for" not in problem for problem in problems)


def test_a_folder_named_like_a_frame_is_none(shot: Any) -> None:
    (shot.folder / "plate.1006.exr").mkdir()
    (shot.folder / "key.1003.exr").mkdir()
    assert [frame.frame for frame in shot.render(method="flow")] == [1001, 1002, 1003, 1004, 1005]


@pytest.mark.parametrize("link", ["folder", "file", "hard"])
def test_an_output_that_is_the_plate_by_another_name_is_refused(shot: Any, link: str) -> None:
    output = "out.####.exr"
    if link == "folder":
        (shot.folder / "link").symlink_to(".", target_is_directory=True)
        output = "link/plate.####.exr"
    elif link == "file":
        (shot.folder / "out.1003.exr").symlink_to("plate.1003.exr")
    else:
        os.link(shot.folder / "plate.1003.exr", shot.folder / "out.1003.exr")
    before = shot.files()
    (problem,) = shot.refused(method="flow", output=output)
    assert "expected a place of its own" in problem
    assert shot.files() == before


def test_a_plate_in_a_linked_folder_is_known_again(shot: Any) -> None:
    (shot.folder / "link").symlink_to(".", target_is_directory=True)
    request = {"method": "flow", "plate": "link/plate.####.exr", "output": "plate.####.exr"}
    assert "expected a place of its own" in shot.refused(**request)[0]
    assert "expected a place of its own" in shot.refused(method="flow", output="out/../plate.####.exr")[0]


def test_results_may_go_beside_the_plate_through_a_linked_folder(shot: Any) -> None:
    (shot.folder / "link").symlink_to(".", target_is_directory=True)
    plates = shot.contents("plate.")
    assert len(shot.render(method="flow", output="link/out.####.exr")) == 5
    assert shot.contents("plate.") == plates


def test_a_result_takes_the_place_of_a_link_and_not_of_what_it_points_to(shot: Any, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("stays")
    (shot.folder / "out.1003.exr").symlink_to(precious)
    (shot.folder / "out.1004.exr").symlink_to("nowhere")
    shot.render(method="flow")
    assert precious.read_text() == "stays"
    assert not (shot.folder / "out.1003.exr").is_symlink()
    assert not (shot.folder / "nowhere").exists()
    assert inspect_plate(shot.folder / "out.1004.exr").width == 56


@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "socket"])
def test_what_is_no_file_where_a_result_goes_is_refused(shot: Any, kind: str) -> None:
    in_the_way(shot.folder / "out.1003.exr", kind)
    (problem,) = shot.refused(method="flow")
    assert "expected a file or nothing at out.1003.exr, found" in problem


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("dangling/out.####.exr", "expected a folder that can be written, dangling cannot"),
        ("round/out.####.exr", "expected a folder that can be written, round cannot"),
        ("plate.1001.exr/out.####.exr", "expected a folder that can be written, plate.1001.exr cannot"),
        ("a" * 252 + "####.exr", "expected a name of up to 255 bytes"),
        ("é" * 126 + "####.exr", "expected a name of up to 255 bytes"),
        ("x\0y.####.exr", "expected a name without"),
        ("out.%0999999999d.exr", "expected a frame number of up to 64 digits"),
        ("out." + "#" * 65 + ".exr", "expected a frame number of up to 64 digits"),
    ],
)
def test_places_that_nothing_can_be_written_to_are_refused(shot: Any, output: str, said: str) -> None:
    (shot.folder / "dangling").symlink_to("nowhere")
    (shot.folder / "round").symlink_to("round")
    problems = shot.refused(method="flow", output=output)
    assert any(said in problem for problem in problems), problems
    assert all(problem.isprintable() for problem in problems)


@pytest.mark.parametrize("plate", ["round/plate.####.exr", "a" * 300 + "/plate.####.exr", "/dev/null/p.####.exr"])
def test_folders_that_cannot_be_read_are_told(shot: Any, plate: str) -> None:
    (shot.folder / "round").symlink_to("round")
    (problem,) = shot.refused(method="flow", plate=plate)
    assert problem.isprintable()
    with pytest.raises(SequenceError):
        Sequence("a\0b.####.exr")


def test_devices_are_no_frames(shot: Any) -> None:
    (problem, *_) = shot.refused(method="flow", plate="/dev/fd/#")
    assert problem.isprintable()


# ---------------------------------------------------------------- names in files


def evil(path: Path, text: str = EVIL) -> None:
    """An EXR whose part, layer and attributes are named so as to do harm."""
    name = text.replace("\0", "")
    pixels = np.zeros((40, 56), np.float16)
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage, "colorInteropID": name}
    channels = {one: pixels.copy() for one in (*"RGB", f"../../{name}/x.R", name)}
    # two parts, so that their names stay
    OpenEXR.File([
        OpenEXR.Part({**header, "name": name}, channels),
        OpenEXR.Part({**header, "name": f"../{name}"}, {"Y": pixels.copy()}),
    ]).write(str(path))  # fmt: skip


def test_names_out_of_files_reach_no_terminal(shot: Any) -> None:
    for frame in range(1001, 1006):
        evil(shot.folder / f"plate.{frame}.exr")
    for option in ([], ["--colorspace=ACEScg"], ["--colorspace=ACEScg", "--property=channels", "--channels=*"]):
        done = shot.run("--method=flow", *option)
        lines = (done.out + done.err).replace("\r", "\n").split("\n")
        assert all(line.isprintable() for line in lines), lines
        assert not any(line.startswith("openjd_env") for line in lines)
        assert not option or done.code == 0, lines
    written = [path for path in shot.folder.rglob("*") if path.is_file() or path.is_dir()]
    assert {path.name.partition(".")[0] for path in written} <= {"plate", "key", "out"}


def test_keys_with_such_names_are_told_of_in_one_line(shot: Any) -> None:
    for frame in (1001, 1005):
        evil(shot.folder / f"key.{frame}.exr")
    for channels, code in (("nothing", 2), ("*", 0)):
        done = shot.run("--method=flow", "--colorspace=ACEScg", "--property=channels", f"--channels={channels}")
        lines = done.err.removesuffix("\n").split("\n")
        assert done.code == code, lines
        assert all(line.isprintable() for line in lines), lines
        assert code == 0 or all(line.startswith("stpn propagate: ") for line in lines), lines


@pytest.mark.parametrize("style", ["openjd", "deadline"])
def test_no_name_gives_orders_to_a_farm(shot: Any, style: str) -> None:
    folder = shot.folder / "x\nopenjd_env: A=1\nProgress: 99%\n"
    folder.mkdir()
    for option in (f"--keys={folder}/key.####.exr", f"--colorspace={EVIL[:20]}", f"--output={folder}/out.####.exr"):
        done = shot.run("--method=flow", f"--progress={style}", option)
        lines = (done.out + done.err).split("\n")
        assert not any(line.startswith(("openjd_env", "Progress: 99%")) for line in lines), lines


def test_names_of_files_in_reports_are_json(shot: Any) -> None:
    folder = shot.folder / "x\"}'\udcff"
    done = stpn(*shot.arguments("--method=flow", "--json", f"--output={folder}/out.####.exr"))
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["frame"] for line in lines] == [1001, 1002, 1003, 1004, 1005]
    assert all(line.isprintable() for line in done.stderr.splitlines()), done.stderr


# ---------------------------------------------------------------- what all of that rests on


def test_an_error_is_a_printable_line_of_bounded_length() -> None:
    for text in (EVIL, "\ud800\udc00", "x" * 10**6, "\u2028\u2029\u0085\v\f"):
        for line in (one_line(text), *RequestError(text).problems, str(PlateError(text))):
            assert line.isprintable()
            assert len(line) <= 4000
    assert one_line("a  b, c") == "a  b, c"


@pytest.mark.parametrize("name", ["../x", "/x", "a/b", "a\0", "a\nb", "", "a" * 65, "~", ".", "\u00e9"])
def test_no_picture_of_a_host_has_a_name_that_could_be_a_path(name: str) -> None:
    with pytest.raises(ValueError, match="expected an ID"):
        described(f"{name} 4 4 float RGB")
