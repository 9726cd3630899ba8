"""`stpn farm deadline`: job files of Deadline 10, whose command lines are what its plugin CommandLine makes of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from farm_tools import STPN, farmed, shot_files, studio_of

from stpn.plugin.cli import main
from stpn.plugin.render import render
from stpn.plugin.request import Request
from stpn.plugin.shot import check

ODD = r"""it's "a" \"b\\ $(touch oh) `b` {x} & ; | ~ !x %y% < > ="""
FILES = [f"{step}_{kind}.job" for step in ("analyse", "propagate", "sheet") for kind in ("info", "plugin")]


def values(path: Path) -> dict[str, str]:
    """A file of name=value lines."""
    return dict(line.split("=", 1) for line in path.read_text("utf-8").splitlines())


def words_of(line: str) -> list[str]:
    """A command line as Windows and .NET divide it: quotes group, backslashes count only before a quote."""
    words, word, quoted, place = [], None, False, 0
    while place < len(line):
        slashes = len(line[place:]) - len(line[place:].lstrip("\\"))
        after = line[place + slashes : place + slashes + 1]
        if slashes and after == '"':
            word = (word or "") + "\\" * (slashes // 2)
            place += slashes
            if slashes % 2:
                word += '"'
                place += 1
            continue
        letter = line[place]
        if letter == '"':
            quoted, word = not quoted, word or ""
        elif letter in " \t" and not quoted:
            if word is not None:
                words.append(word)
            word = None
        else:
            word = (word or "") + letter
        place += 1
    return [*words, *([] if word is None else [word])]


def tasks(frames: str, size: int) -> list[tuple[int, int]]:
    """First and last frame of each task."""
    first, _, last = frames.partition("-")
    every = range(int(first), int(last or first) + 1)
    return [(chunk[0], chunk[-1]) for chunk in (every[at : at + size] for at in range(0, len(every), size))]


def test_the_three_jobs_render_the_shot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    studio = studio_of(tmp_path / ODD)
    studio.plate(range(1, 9))
    studio.keys((1, 5))
    job = tmp_path / "job"
    options = ["--method", "flow", "--to", str(job), "--confidence", f"{studio.folder}/sure.####.exr", "--name", ODD]
    assert farmed("deadline", *shot_files(studio), *options) == 0
    assert capsys.readouterr().out.splitlines()[1] == (
        "to submit: deadlinecommand -SubmitMultipleJobs -dependent "
        + " ".join(f"-job {job}/{name}_info.job {job}/{name}_plugin.job" for name in ("analyse", "propagate", "sheet"))
    )
    assert sorted(path.name for path in job.iterdir()) == sorted(FILES)
    ran = {}
    for step in ("analyse", "propagate", "sheet"):
        info, plugin = values(job / f"{step}_info.job"), values(job / f"{step}_plugin.job")
        assert (info["Plugin"], info["Name"], info["BatchName"]) == ("CommandLine", f"{ODD} {step}", ODD)
        assert info["OutputDirectory0"] == str(studio.folder)
        assert plugin["ShellExecute"] == "False"
        for first, last in tasks(info["Frames"], int(info["ChunkSize"])):
            line = plugin["Arguments"].replace("<STARTFRAME>", str(first)).replace("<ENDFRAME>", str(last))
            assert plugin["Executable"] == str(STPN)
            assert main(words_of(line)) == 0
            ran[step, first, last] = capsys.readouterr().out
    assert list(ran) == [("analyse", 0, 0), ("propagate", 1, 4), ("propagate", 5, 8), ("sheet", 0, 0)]
    # as the plugin looks for it
    percents = [int(found[1]) for found in re.finditer(r".*Progress: (\d+)%.*", ran["propagate", 1, 4])]
    assert percents == [25, 50, 75, 100]
    assert (studio.folder / "out.sheet.png").exists()
    request = Request(
        *(f"{studio.folder}/{name}.####.exr" for name in ("plate", "key", "one")), method="flow",
        confidence=f"{studio.folder}/onesure.####.exr",
    )  # fmt: skip
    for _ in render(check(request)):
        pass
    assert {name: data for name, data in studio.contents("out.").items() if name.endswith(".exr")} == (
        studio.contents("one.")
    )
    assert not list(tmp_path.rglob("oh"))


@pytest.mark.parametrize("kind", ["mask", "channels", "hdr"])
def test_every_property_goes_through_its_three_steps(tmp_path: Path, kind: str) -> None:
    studio = studio_of(tmp_path / "shot")
    studio.exposure = 3.0
    for frame in range(1, 6):
        light = studio.light(frame)
        studio.write(f"plate.{frame:04d}.exr", studio.channels(light.clip(0, 1) if kind == "hdr" else light))
        if frame in (1, 5):
            held = {"A": light.clip(0, 1).astype("f2")} if kind == "mask" else studio.channels(studio.rgb(frame))
            studio.write(f"key.{frame:04d}.exr", {"Z": light.astype("f4")} if kind == "channels" else held)
    options = ["--property", kind, "--method", "flow", "--to", str(tmp_path / "job"), "--cuts", "none"]
    options += ["--channels", "Z"] if kind == "channels" else []
    options += ["--ldr-curve", "Linear Rec.709 (sRGB)"] if kind == "hdr" else []
    assert farmed("deadline", *shot_files(studio), *options) == 0
    for step in ("analyse", "propagate", "sheet"):
        line = values(tmp_path / "job" / f"{step}_plugin.job")["Arguments"]
        assert main(words_of(line.replace("<STARTFRAME>", "1").replace("<ENDFRAME>", "5"))) == 0, step
    assert (studio.folder / "out.sheet.png").exists()


@pytest.mark.parametrize("folder", ["a <STARTFRAME> b", "<quote>", "x<ENDFRAME%4>", "<AUXFILE0>"])
def test_names_with_a_token_of_deadline_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], folder: str
) -> None:
    studio = studio_of(tmp_path / "shot")
    studio.plate(range(1, 5))
    studio.keys((1,))
    studio.folder = studio.folder.rename(tmp_path / folder)
    assert farmed("deadline", *shot_files(studio), "--method", "flow", "--to", str(tmp_path / "job")) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 3
    assert said[0].startswith("stpn farm: --plate: expected a name without <")
    assert not (tmp_path / "job").exists()


def test_frames_with_holes_and_many_keys_are_one_job(tmp_path: Path) -> None:
    studio = studio_of(tmp_path / "shot")
    studio.plate(range(1, 31))
    studio.keys((4, 9, 20, 21))
    options = ["--method", "flow", "--to", str(tmp_path / "job"), "--frames=4-10,20-30", "--no-sheet"]
    assert farmed("deadline", *shot_files(studio), *options) == 0
    info = values(tmp_path / "job" / "propagate_info.job")
    assert (info["Frames"], info["ChunkSize"]) == ("4-10,20-30", "5")
    assert sorted(path.name for path in (tmp_path / "job").iterdir()) == sorted(FILES[:4])
    plugin = values(tmp_path / "job" / "analyse_plugin.job")
    assert "--frames=4-10,20-30" in words_of(plugin["Arguments"])
