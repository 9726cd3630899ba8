"""The node of ComfyUI for files: the command line, and how it is listened to and ended."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import comfyui_setup as shared
import pytest

from stpn.plugin import node
from stpn.plugin.cli import propagate

stand_in, shown = shared.stand_in, shared.shown
given_to, script = shared.given_to, shared.script
Comfy, comfy, host = shared.Comfy, shared.comfy, shared.host


def test_the_command_line_is_one_that_stpn_knows(comfy: Comfy) -> None:
    parser = argparse.ArgumentParser()
    propagate.setup(parser)
    files = {"plate": "p.####.exr", "keys": "k.####.exr", "result": "o.####.exr"}
    arguments = comfy.module("files_node").arguments
    plain = arguments(**files, given=given_to(comfy))
    found = vars(parser.parse_args(plain[1:]))
    usual = vars(parser.parse_args(["--plate=p.####.exr", "--keys=k.####.exr", "--output=o.####.exr"]))
    assert {name for name in found if found[name] != usual[name]} == {"json", "interval"}
    assert found["interval"] == 20
    assert plain[0] == "propagate"
    changed = {
        "property": "Mask", "interval": 7, "first_key": "3", "keys_used": "Next only", "method": "Flow",
        "colorspace": "ACEScg", "keys_colorspace": "ACEScct", "working": "ACEScct", "ldr_curve": "a", "cuts": "none",
        "hdr_colorspace": "b", "ocio": "/c.ocio", "mask_labels": True, "channels_curve": "Log", "weights": "/w",
        "adapt": "5", "device": "CPU", "confidence": "c.####.exr", "frames": "-5--1", "skip_existing": True,
    }  # fmt: skip
    found = vars(parser.parse_args(arguments(**files, given=given_to(comfy, **changed))[1:]))
    expected = changed | {
        "property": "mask", "first_key": 3, "keys_used": "next", "method": "flow", "channels_curve": "log",
        "device": "cpu",
    }  # fmt: skip
    assert {name: found[name] for name in expected} == expected
    listed = given_to(comfy, key_frames=" 1001-1100x20 ", first_key="3", channels="--plate=x", property="Channels")
    found = vars(parser.parse_args(arguments(**files, given=listed)[1:]))
    assert (found["key_frames"], found["interval"], found["first_key"]) == ("1001-1100x20", None, None)
    assert (found["channels"], found["plate"]) == ("--plate=x", "p.####.exr")


def test_every_parameter_reaches_the_command(comfy: Comfy) -> None:
    parser = argparse.ArgumentParser()
    propagate.setup(parser)
    known = set(vars(parser.parse_args(["--plate=p", "--keys=k", "--output=o"])))
    named = {one.name for one in node.PARAMETERS if one.name in shown(comfy.files)}
    assert named <= known
    assert {one.name for one in node.PARAMETERS} - named == {"output", "mix"}


def test_it_runs_again_when_files_have_changed(comfy: Comfy, tmp_path: Path) -> None:
    for name in ("plate.0001.exr", "plate.0002.exr", "key.0001.exr", "other.txt"):
        (tmp_path / name).write_text("a")
    patterns = {"plate": f"{tmp_path}/plate.####.exr", "keys": f"{tmp_path}/key.%04d.exr"}
    fingerprint = comfy.files.fingerprint_inputs
    everything = given_to(comfy, **patterns)
    first = fingerprint(**everything)
    (tmp_path / "other.txt").write_text("b")
    assert fingerprint(**everything) == first
    found = {first}
    for change in (
        lambda: (tmp_path / "plate.0002.exr").write_text("ab"),
        lambda: os.utime(tmp_path / "key.0001.exr", ns=(1, 1)),
        lambda: (tmp_path / "plate.0003.exr").write_text("a"),
        lambda: (tmp_path / "plate.0001.exr").unlink(),
    ):
        change()
        found.add(fingerprint(**everything))
    assert len(found) == 5
    unknown = fingerprint(**{**everything, "plate": None})
    assert unknown != unknown


def with_python(comfy: Comfy, python: str) -> None:
    (comfy.folder / "stpn.conf").write_text(f"python {python}\nname x\n", "utf-8")


def test_a_command_is_listened_to(comfy: Comfy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/of/the/host")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/of/the/host")
    monkeypatch.setenv("STPN_SOMETHING", "passed on")
    python = script(
        tmp_path,
        """
        import json, os, sys
        json.dump([sys.argv[1:], dict(os.environ)], open(sys.argv[0] + ".json", "w"))
        for frame in range(3):
            print("decision", file=sys.stderr)
            print("from a library")
            print(json.dumps({"frame": frame}))
        """,
    )
    with_python(comfy, python)
    patterns = {"plate": "p.####.exr", "keys": "k.####.exr", "result": " o.####.exr "}
    output = comfy.files.execute(**given_to(comfy, frames="1-6x2", **patterns))
    assert output.args == ("o.####.exr",)
    assert comfy.host.bars == [(3, [1, 2, 3])]
    arguments, environment = json.loads(Path(f"{python}.json").read_text())
    assert arguments[:5] == ["-P", "-m", "stpn.plugin.cli", "propagate", "--json"]
    assert environment["STPN_SOMETHING"] == "passed on"
    assert not {"PYTHONPATH", "LD_LIBRARY_PATH"} & set(environment)


def test_what_a_command_says_is_wrong_is_the_error(comfy: Comfy, tmp_path: Path) -> None:
    text = r"import sys; print('config: x', file=sys.stderr); sys.exit('stpn a: no plate\nstpn a: nor keys')"
    with_python(comfy, script(tmp_path, text))
    with pytest.raises(RuntimeError, match=r"^stpn a: no plate\nstpn a: nor keys$"):
        comfy.files.execute(**given_to(comfy))
    with_python(comfy, str(tmp_path / "nobody"))
    with pytest.raises(RuntimeError, match=r"run install\.py again"):
        comfy.files.execute(**given_to(comfy))


@pytest.mark.parametrize("stubborn", [False, True])
def test_a_command_is_interrupted_then_killed(
    comfy: Comfy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stubborn: bool
) -> None:
    python = script(
        tmp_path,
        f"""
        import json, os, signal, sys, time
        signal.signal(signal.SIGINT, {"signal.SIG_IGN" if stubborn else "lambda *_: sys.exit(130)"})
        open(sys.argv[0] + ".pid", "w").write(str(os.getpid()))
        while True:
            print(json.dumps({{"frame": 1}}), flush=True)
            time.sleep(0.01)
        """,
    )
    with_python(comfy, python)
    monkeypatch.setattr(comfy.module("command"), "PATIENCE_SECONDS", 0.3 if stubborn else 5)
    update = sys.modules["comfy.utils"].ProgressBar.update_absolute

    def stop(bar: Any, value: int) -> None:
        comfy.host.interrupted = value == 3
        update(bar, value)

    monkeypatch.setattr(sys.modules["comfy.utils"].ProgressBar, "update_absolute", stop)
    start = time.monotonic()
    with pytest.raises(stand_in.InterruptProcessingException):
        comfy.files.execute(**given_to(comfy))
    assert time.monotonic() - start < 3
    with pytest.raises(ProcessLookupError):
        os.kill(int(Path(f"{python}.pid").read_text()), 0)
