"""Putting the node into hosts and taking it out again: only what is ours changes, and all of it goes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from stpn.plugin import node
from stpn.plugin.doctor_hosts import hosts
from stpn.plugin.hosts import placing
from stpn.plugin.hosts.places import CLIENT, HOSTS, PlaceError, places
from stpn.plugin.hosts.placing import Placed, installation_name, noted, place, states, take_out

COPIED = ("nuke", "blender", "comfyui")


@pytest.fixture(autouse=True)
def prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment of the test's own, in which it is noted what was put where."""
    folder = tmp_path / "environment"
    folder.mkdir()
    monkeypatch.setattr(placing.sys, "prefix", str(folder))
    return folder


@pytest.mark.parametrize("name", COPIED)
def test_a_face_is_whole_and_goes_away_again(name: str, tmp_path: Path) -> None:
    into = tmp_path / "host" / "plugins"
    placed = place(HOSTS[name], into)
    assert placed == Placed(name, into / HOSTS[name].folder)
    files = {path.name for path in placed.folder.iterdir()}
    assert json.loads((placed.folder / "node.json").read_text()) == json.loads(node.as_json())
    assert (placed.folder / "stpn.conf").read_text() == f"python {sys.executable}\nname {installation_name()}\n"
    assert set(CLIENT) <= files or not HOSTS[name].with_client
    assert not files & {"__pycache__"}
    assert [(one, problem) for one, problem in states()] == [(placed, "")]
    assert take_out(placed)
    assert not placed.folder.exists()
    assert noted() == []
    assert list(into.iterdir()) == []


def test_placing_again_replaces_what_was_there(tmp_path: Path) -> None:
    placed = place(HOSTS["blender"], tmp_path)
    (placed.folder / "old.py").touch()
    assert place(HOSTS["blender"], tmp_path) == placed
    assert not (placed.folder / "old.py").exists()
    assert noted() == [placed]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["environment", "stpn_propagate"]


def test_what_is_not_ours_stays(tmp_path: Path) -> None:
    theirs = tmp_path / "stpn_propagate"
    theirs.mkdir()
    (theirs / "work.txt").write_text("theirs")
    with pytest.raises(PlaceError, match=r"expected nothing .* move it away"):
        place(HOSTS["blender"], tmp_path)
    assert (theirs / "work.txt").read_text() == "theirs"
    assert not take_out(Placed("blender", theirs))
    assert theirs.is_dir()


def test_what_was_there_stays_where_the_new_one_cannot_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    placed = place(HOSTS["blender"], tmp_path)
    (placed.folder / "old.py").touch()
    honest = Path.rename

    def failing(path: Path, target: Path) -> Path:
        if target == placed.folder and path.name == target.name:
            raise OSError(28, "No space left on device")
        return honest(path, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(PlaceError, match="No space left on device"):
        place(HOSTS["blender"], tmp_path)
    assert (placed.folder / "old.py").exists()


def test_nukes_own_start_file_keeps_its_lines(tmp_path: Path) -> None:
    start = tmp_path / "init.py"
    start.write_text("import nuke\nnuke.pluginAddPath('gizmos')\n")
    placed = place(HOSTS["nuke"], tmp_path)
    place(HOSTS["nuke"], tmp_path)
    assert start.read_text().splitlines()[:2] == ["import nuke", "nuke.pluginAddPath('gizmos')"]
    assert len(start.read_text().splitlines()) == 3
    take_out(placed)
    assert start.read_text() == "import nuke\nnuke.pluginAddPath('gizmos')\n"


def test_nukes_own_start_file_may_be_of_any_encoding_and_line_ends(tmp_path: Path) -> None:
    start = tmp_path / "init.py"
    theirs = "# -*- coding: latin-1 -*-\r\n# d\u00e9part\x0c\r\nimport nuke".encode("latin-1")
    start.write_bytes(theirs)
    placed = place(HOSTS["nuke"], tmp_path)
    assert start.read_bytes().startswith(theirs + b"\n")
    take_out(placed)
    assert start.read_bytes() == theirs + b"\n"


def test_what_cannot_be_taken_away_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    placed = place(HOSTS["blender"], tmp_path)

    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(placing.shutil, "rmtree", refuse)
    with pytest.raises(PlaceError, match=r"cannot be taken away: Permission denied"):
        take_out(placed)
    assert noted() == [placed]


def test_a_start_file_of_ours_alone_goes_with_it(tmp_path: Path) -> None:
    placed = place(HOSTS["nuke"], tmp_path)
    compile((tmp_path / "init.py").read_text(), "init.py", "exec")
    take_out(placed)
    assert not (tmp_path / "init.py").exists()


def test_where_hosts_look(tmp_path: Path) -> None:
    for version in ("4.1", "4.2", "5.0", "notes"):
        (tmp_path / ".config/blender" / version).mkdir(parents=True)
    assert places(HOSTS["blender"], tmp_path, {}) == [
        tmp_path / f".config/blender/{version}/scripts/addons" for version in ("4.2", "5.0")
    ]
    assert places(HOSTS["blender"], tmp_path, {"BLENDER_USER_SCRIPTS": str(tmp_path)}) == [tmp_path / "addons"]
    assert places(HOSTS["ofx"], tmp_path, {"OFX_PLUGIN_PATH": f"{tmp_path}:/elsewhere"}) == [tmp_path]
    assert places(HOSTS["nuke"], tmp_path, {}) == [tmp_path / ".nuke"]
    (tmp_path / "ComfyUI/custom_nodes").mkdir(parents=True)
    assert places(HOSTS["comfyui"], tmp_path, {}) == [tmp_path / "ComfyUI/custom_nodes"]


def test_no_place_is_told_with_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(PlaceError, match=r"ComfyUI: found none of .*--to DIR"):
        places(HOSTS["comfyui"], tmp_path, {})
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(PlaceError, match=r"cannot be written; .*OFX_PLUGIN_PATH"):
        places(HOSTS["ofx"], tmp_path, {"OFX_PLUGIN_PATH": str(file / "below")})


def test_missing_builders_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PlaceError, match=r"cmake \(CMake .*\) and c\+\+ \(a C\+\+17 compiler\).*apt install"):
        place(HOSTS["ofx"], tmp_path / "plugins")
    assert list((tmp_path / "plugins").iterdir()) == []


def test_doctor_tells_what_is_where_and_what_is_wrong(tmp_path: Path) -> None:
    assert [finding.value.partition(";")[0] for finding in hosts()] == ["none"]
    blender, nuke = place(HOSTS["blender"], tmp_path / "b"), place(HOSTS["nuke"], tmp_path / "n")
    assert [(f.name, f.value, f.status) for f in hosts()] == [
        ("Blender", str(blender.folder), "ok"),
        ("Nuke", str(nuke.folder), "ok"),
    ]
    (nuke.folder / "stpn.conf").write_text("python /old\nname 0\n")
    take_out(blender)
    place(HOSTS["blender"], tmp_path / "b")
    (blender.folder / "stpn.conf").unlink()
    findings = list(hosts())
    assert [finding.status for finding in findings] == ["warning", "warning"]
    assert "belongs to another installation" in findings[0].value
    assert "is no longer there" in findings[1].value
    assert "install.py nuke --to" in findings[0].advice


def test_the_command_says_what_it_would_do(tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-m", "stpn.plugin.hosts"]
    asked = subprocess.run([*command, "blender", "--to", str(tmp_path), "--dry-run"], capture_output=True, text=True)
    assert (asked.returncode, asked.stdout) == (0, f"would put stpn_propagate into {tmp_path}\n")
    assert {path.name for path in tmp_path.iterdir()} <= {"environment"}
    wrong = subprocess.run([*command, "uninstall", "maya"], capture_output=True, text=True)
    assert wrong.returncode == 2
    assert "expected hosts ofx, nuke, blender, comfyui, got maya" in wrong.stderr
