"""STPN Propagate in Nuke: the Group, its knobs, its tab of information, and what happens where something is missing."""

from __future__ import annotations

import ast
import html
import importlib.util
import os
import re
import shutil
import struct
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from stpn.plugin import node, worker_start
from stpn.plugin.worker_messages import runtime_folder

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCE = REPOSITORY / "plugin" / "hosts" / "nuke"
CLASS = f"OFX{node.IDENTIFIER}_v{node.VERSION[0]}"
SHOWN = [one for one in node.PARAMETERS if not one.files_only]


def stand_in() -> ModuleType:
    """The module beside this one, which is in no package."""
    spec = importlib.util.spec_from_file_location("nuke_stand_in", Path(__file__).with_name("nuke_stand_in.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Session:
    """Nuke with the scripts in it."""

    def __init__(self, folder: Path, nuke: Any) -> None:
        self.folder, self.nuke = folder, nuke

    def run(self, name: str) -> None:
        """A script as Nuke runs it when it starts."""
        path = self.folder / name
        exec(compile(path.read_text("utf-8"), str(path), "exec"), {"__file__": str(path), "__name__": "script"})

    @property
    def module(self) -> Any:
        """`stpn_propagate`, as menus and buttons find it."""
        import stpn_propagate

        return stpn_propagate


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Session]:
    """Starts Nuke with the folder as install.py leaves it."""
    folder = tmp_path / "nuke"
    shutil.copytree(SOURCE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "node.json").write_text(node.as_json(), "utf-8")
    (folder / "stpn.conf").write_text(f"python {sys.executable}\nname 0.1.0-00000000\n", "utf-8")
    monkeypatch.syspath_prepend(str(folder))
    for name in ("stpn_propagate", "stpn_installation"):
        monkeypatch.delitem(sys.modules, name, raising=False)

    def started(*, gui: bool = True, ofx: bool = True, knobs: list[str] | None = None) -> Session:
        names = [one.name for one in SHOWN] if knobs is None else knobs
        nuke = stand_in().Nuke(gui=gui, ofx={CLASS: names} if ofx else {})
        monkeypatch.setitem(sys.modules, "nuke", nuke)
        return Session(folder, nuke)

    yield started
    for name in ("stpn_propagate", "stpn_installation"):
        sys.modules.pop(name, None)


def test_scripts_are_for_the_python_of_nuke_13() -> None:
    known = {*sys.stdlib_module_names, "nuke", "stpn_propagate", "stpn_installation"}
    paths = sorted(SOURCE.glob("*.py"))
    assert {path.name for path in paths} >= {"init.py", "menu.py", "stpn_propagate.py"}
    for path in paths:
        tree = ast.parse(path.read_text("utf-8"), feature_version=(3, 7))
        assert "from __future__ import annotations" in path.read_text("utf-8")
        for found in ast.walk(tree):
            names = [one.name for one in found.names] if isinstance(found, ast.Import) else []
            names += [str(found.module)] if isinstance(found, ast.ImportFrom) else []
            assert {name.split(".")[0] for name in names} <= known, path.name


def test_starting(start: Callable[..., Session]) -> None:
    session = start()
    session.run("init.py")
    session.run("menu.py")
    (icons,) = session.nuke.paths
    menu = session.nuke.menu("Nodes").items["STPN"]
    command, icon = menu.items["STPN Propagate"]
    assert icon == menu.icon
    assert (Path(icons) / icon).is_file()
    exec(command, {})
    assert [one.Class() for one in session.nuke.root.nodes] == ["Group"]


def test_starting_without_a_window(start: Callable[..., Session]) -> None:
    session = start(gui=False)
    session.run("init.py")
    session.run("menu.py")
    assert session.nuke.messages == []


@pytest.mark.parametrize(("name", "size"), [("STPNPropagate.png", 24), ("STPNPropagate_64.png", 64)])
def test_icons(name: str, size: int) -> None:
    data = (SOURCE / "icons" / name).read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", data[16:24]) == (size, size)


@pytest.mark.parametrize("gui", [True, False])
def test_the_group_is_around_the_ofx_node(start: Callable[..., Session], gui: bool) -> None:
    session = start(gui=gui)
    group = session.module.create()
    assert session.nuke.root.nodes == [group]
    assert group.name() == "STPNPropagate"
    assert group.panel == gui
    inside = {one.Class(): one for one in group.nodes if one.Class() != "Input"}
    inputs = [one for one in group.nodes if one.Class() == "Input"]
    assert set(inside) == {CLASS, "Output"}
    assert [one.name() for one in inputs] == [one.name for one in node.INPUTS]
    assert [inside[CLASS].input(number) for number in range(len(inputs))] == inputs
    assert inside["Output"].input(0) is inside[CLASS]
    assert inside[CLASS].name() == session.module.INSIDE


def test_the_class_is_of_the_node(start: Callable[..., Session]) -> None:
    assert CLASS == "OFXorg.stpn.propagate_v1"
    assert start().module.class_of({"identifier": "org.example", "version": [3, 2]}) == "OFXorg.example_v3"


def test_every_parameter_is_linked(start: Callable[..., Session]) -> None:
    session = start()
    knobs = session.module.create().knobs()
    links = {name: knob for name, knob in knobs.items() if isinstance(knob, session.nuke.Link_Knob)}
    assert list(links) == [one.name for one in SHOWN]
    for one in SHOWN:
        assert links[one.name].label() == one.label
        assert links[one.name].tooltip() == one.help
        assert links[one.name].link == f"{session.module.INSIDE}.{one.name}"


def test_parameters_stand_under_their_headings(start: Callable[..., Session]) -> None:
    session = start()
    heading, found, depth = "", [], 0
    for knob in session.module.create().knobs().values():
        if isinstance(knob, session.nuke.Tab_Knob):
            begins, ends = (knob.value() == value for value in (2, -1))
            depth += begins - ends
            heading = knob.label() if begins else ""
            assert depth in (0, 1)
        elif isinstance(knob, session.nuke.Link_Knob):
            found.append((knob.name(), heading))
    assert found == [(one.name, one.group) for one in SHOWN]
    assert depth == 0


def test_what_is_selected_becomes_the_source(start: Callable[..., Session]) -> None:
    session = start()
    plate = session.nuke.make("Read", "Read1")
    plate.setSelected(True)
    plate.setXYpos(100, 200)
    group = session.module.create()
    assert group.input(0) is plate
    assert group.input(1) is None
    assert (group.xpos(), group.ypos() > 200) == (100, True)
    assert session.nuke.selectedNodes() == [group]


def test_the_tab_says_what_one_needs(start: Callable[..., Session]) -> None:
    session = start()
    knobs = session.module.create().knobs()
    texts = {name: knob.value() for name, knob in knobs.items() if isinstance(knob, session.nuke.Text_Knob)}
    readme = " ".join((REPOSITORY / "README.md").read_text("utf-8").split())
    legal = " ".join(html.unescape(texts["stpn_legal"]).replace("<br>", " ").split())
    assert legal.startswith("Apache-2.0. ")
    assert legal.removeprefix("Apache-2.0. ") in readme
    assert texts["stpn_version"] == f"0.1.0, node {node.VERSION[0]}.{node.VERSION[1]}"
    assert "1001-1100x20,1093" in texts["stpn_keys"]
    assert "auto-0.1.0-00000000.log" in texts["stpn_log_place"]
    assert "docs/" in texts["stpn_docs"]
    buttons = {name for name, knob in knobs.items() if isinstance(knob, session.nuke.PyScript_Knob)}
    assert buttons == {"stpn_doctor", "stpn_log"}


def test_without_the_plugin_a_person_is_told(start: Callable[..., Session]) -> None:
    session = start(ofx=False)
    plate = session.nuke.make("Read", "Read1")
    plate.setSelected(True)
    assert session.module.create() is None
    (said,) = session.nuke.messages
    assert re.search(rf"expected the OFX plugin {re.escape(CLASS)}.*run install\.py ofx", said)
    assert session.nuke.root.nodes == session.nuke.selectedNodes() == [plate]


def test_without_the_plugin_a_script_fails(start: Callable[..., Session]) -> None:
    session = start(gui=False, ofx=False)
    with pytest.raises(RuntimeError, match=r"run install\.py ofx"):
        session.module.create()
    assert session.nuke.root.nodes == []


def test_a_plugin_of_another_version_is_refused(start: Callable[..., Session]) -> None:
    session = start(gui=False, knobs=[one.name for one in SHOWN[1:]])
    with pytest.raises(RuntimeError, match=f"expected a knob {SHOWN[0].name}"):
        session.module.create()
    assert session.nuke.root.nodes == []


@pytest.mark.parametrize("missing", ["node.json", "stpn.conf"])
def test_the_folder_alone_says_what_is_missing(start: Callable[..., Session], missing: str) -> None:
    session = start()
    (session.folder / missing).unlink()
    assert session.module.create() is None
    assert missing in session.nuke.messages[0]
    assert "install.py nuke" in session.nuke.messages[0]
    assert session.nuke.root.nodes == []


def test_a_conf_without_a_line_is_refused(start: Callable[..., Session]) -> None:
    session = start(gui=False)
    (session.folder / "stpn.conf").write_text("python /x\n")
    with pytest.raises(RuntimeError, match="a line 'name"):
        session.module.create()


def press(session: Session, button: str) -> None:
    """Presses a button of the tab, and waits for what it has begun."""
    before = set(threading.enumerate())
    exec(session.module.create().knobs()[button].value(), {})
    for thread in set(threading.enumerate()) - before:
        thread.join()


def test_doctor_runs_in_a_clean_environment(
    start: Callable[..., Session], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    session = start()
    program = session.folder / "python"
    text = """
        import os, sys
        print(sys.argv[1:], os.getcwd(), sorted(set(os.environ) - {"LC_CTYPE"}), "<b>", flush=True)
        print("to stderr", file=sys.stderr, flush=True)
        sys.exit(1)
        """
    program.write_text(f"#!{sys.executable}\n" + textwrap.dedent(text))
    program.chmod(0o755)
    (session.folder / "stpn.conf").write_text(f"python {program}\nname x-y\n")
    monkeypatch.setenv("PYTHONPATH", "/of/nuke")
    monkeypatch.setenv("NUKE_PATH", "/of/nuke")
    monkeypatch.setenv("STPN_SOMETHING", "passed on")
    press(session, "stpn_doctor")
    (said,) = session.nuke.messages
    assert said.startswith("<pre>['-P', '-m', 'stpn.plugin.cli', 'doctor'] / [")
    assert "STPN_SOMETHING" in said
    assert "/of/nuke" not in said
    assert "NUKE_PATH" not in said
    assert "&lt;b&gt;" in said
    assert "to stderr" in said
    session.nuke.GUI = False
    press(session, "stpn_doctor")
    assert "'doctor'] /" in capfd.readouterr().out
    (session.folder / "stpn.conf").write_text("python /nobody\nname x-y\n")
    press(session, "stpn_doctor")
    assert "run install.py again" in capfd.readouterr().out


def test_what_is_passed_on_is_what_the_worker_gets(start: Callable[..., Session]) -> None:
    start()
    import stpn_installation

    assert stpn_installation.PASSED_ON == worker_start._PASSED_ON


@pytest.mark.parametrize("variable", ["STPN_RUNTIME_DIR", "XDG_RUNTIME_DIR", None])
def test_the_log_is_where_the_worker_writes_it(
    start: Callable[..., Session], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str | None
) -> None:
    for name in ("STPN_RUNTIME_DIR", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    if variable is not None:
        monkeypatch.setenv(variable, str(tmp_path / "run"))
        (tmp_path / "run").mkdir(mode=0o700)
    folder = f"/tmp/stpn-{os.geteuid()}" if variable is None else str(runtime_folder())
    session = start()
    press(session, "stpn_log")
    assert f"{folder}/auto-0.1.0-00000000.log" in session.nuke.messages[0]


def test_doctor_for_real(start: Callable[..., Session]) -> None:
    session = start()
    session.module  # noqa: B018
    import stpn_installation

    said = stpn_installation.doctor()
    assert "stpn propagate works here" in said
