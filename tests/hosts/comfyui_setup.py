"""ComfyUI's stand-in with the nodes in it, for the tests of the nodes."""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
import sys
import textwrap
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from stpn.plugin import node

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCE = REPOSITORY / "plugin" / "hosts" / "comfyui"


def loaded(path: Path) -> ModuleType:
    """A module that is in no package, under a name that nothing else has."""
    name = f"stpn_test_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


stand_in = loaded(Path(__file__).with_name("comfyui_stand_in.py"))


class Comfy:
    """ComfyUI with the nodes in it."""

    def __init__(self, folder: Path, host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.host = folder, host
        self.package = stand_in.load(folder, monkeypatch)
        extension = asyncio.run(self.package.comfy_entrypoint())
        self.frames, self.files = asyncio.run(extension.get_node_list())

    def module(self, name: str) -> ModuleType:
        """A module of the nodes."""
        return sys.modules[f"{self.package.__name__}.{name}"]


def installed(folder: Path, python: str = sys.executable, name: str = "0.1.0-00000000") -> Path:
    """The folder of the nodes, with what install.py puts beside them."""
    shutil.copytree(SOURCE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    for needed in ("worker_client.py", "worker_link.py", "worker_messages.py", "worker_start.py"):
        shutil.copy(REPOSITORY / "plugin" / needed, folder)
    (folder / "node.json").write_text(node.as_json(), "utf-8")
    (folder / "stpn.conf").write_text(f"python {python}\nname {name}\n", "utf-8")
    return folder


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Any:
    """ComfyUI's stand-in."""
    found = stand_in.Host()
    stand_in.install(found, monkeypatch)
    return found


@pytest.fixture
def comfy(tmp_path: Path, host: Any, monkeypatch: pytest.MonkeyPatch) -> Comfy:
    """The nodes, installed and loaded."""
    return Comfy(installed(tmp_path / "custom_nodes" / "stpn"), host, monkeypatch)


def shown(which: Any) -> dict[str, Any]:
    """The inputs of a node by name."""
    return {one.id: one for one in which.define_schema().inputs}


def given_to(comfy: Comfy, **changed: Any) -> dict[str, Any]:
    """What ComfyUI gives the node of files: every widget's value."""
    return {one.id: one.default for one in comfy.files.define_schema().inputs} | changed


def script(folder: Path, text: str) -> str:
    """A program in place of stpn's Python."""
    path = folder / "python"
    path.write_text(f"#!{sys.executable}\n" + textwrap.dedent(text))
    path.chmod(0o755)
    return str(path)
