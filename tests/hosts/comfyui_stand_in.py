"""The smallest stand-in of ComfyUI: what the nodes use of it, strict about the names of arguments.

It shows that the nodes ask for what ComfyUI has; it does not show that ComfyUI runs them.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


class InterruptProcessingException(BaseException):
    """What ComfyUI raises where it was told to stop; no Exception there either."""


@dataclass
class Host:
    """What ComfyUI was told, and is to say.

    Attributes:
        interrupted: whether somebody has pressed the button.
        bars: total and values of each progress bar.
    """

    interrupted: bool = False
    bars: list[tuple[int, list[int]]] = field(default_factory=list)


@dataclass
class Socket:
    """An input or output of any kind."""

    id: str
    display_name: str | None = None
    tooltip: str | None = None


@dataclass
class Input(Socket):
    """An input."""

    optional: bool = False
    extra_dict: dict[str, Any] | None = None


@dataclass
class Widget(Input):
    """An input that can be typed."""

    default: Any = None


@dataclass
class Number(Widget):
    """Of whole or other numbers."""

    min: float | None = None
    max: float | None = None
    step: float | None = None


@dataclass
class Combo(Widget):
    """One of several texts."""

    options: list[str] | None = None


@dataclass
class Schema:
    """A node's face."""

    node_id: str
    display_name: str | None = None
    category: str = "sd"
    inputs: list[Input] = field(default_factory=list)
    outputs: list[Socket] = field(default_factory=list)
    description: str = ""
    is_output_node: bool = False


class ComfyNode:
    """What nodes derive from."""


class ComfyExtension:
    """What extensions derive from."""


class NodeOutput:
    """What a node returns."""

    def __init__(self, *args: Any) -> None:
        self.args = args


def _kind(name: str, made: type[Input]) -> type:
    given = type("Input", (made,), {"kind": name})
    taken = type("Output", (Socket,), {"kind": name})
    return type(name, (), {"Input": given, "Output": taken})


def install(host: Host, monkeypatch: Any) -> None:
    """Puts the modules in place that the nodes import."""
    io = types.ModuleType("comfy_api.latest.io")
    kinds = {"Image": Input, "Mask": Input, "Int": Number, "Float": Number, "String": Widget, "Boolean": Widget}
    for name, made in {**kinds, "Combo": Combo}.items():
        setattr(io, name, _kind(name, made))
    io.Schema, io.ComfyNode, io.NodeOutput = Schema, ComfyNode, NodeOutput

    class ProgressBar:
        """The bar under a node; it raises where ComfyUI was told to stop, as the real one does."""

        def __init__(self, total: int) -> None:
            assert isinstance(total, int)
            self._values: list[int] = []
            host.bars.append((total, self._values))

        def update_absolute(self, value: int) -> None:
            throw()
            assert isinstance(value, int)
            self._values.append(value)

    def throw() -> None:
        if host.interrupted:
            host.interrupted = False
            raise InterruptProcessingException

    latest = types.ModuleType("comfy_api.latest")
    latest.io, latest.ComfyExtension = io, ComfyExtension
    utils = types.ModuleType("comfy.utils")
    utils.ProgressBar = ProgressBar
    management = types.ModuleType("comfy.model_management")
    management.processing_interrupted = lambda: host.interrupted
    management.throw_exception_if_processing_interrupted = throw
    comfy = types.ModuleType("comfy")
    comfy.utils, comfy.model_management = utils, management
    api = types.ModuleType("comfy_api")
    api.latest = latest
    for module in (api, latest, comfy, utils, management):
        monkeypatch.setitem(sys.modules, module.__name__, module)


def load(folder: Path, monkeypatch: Any) -> types.ModuleType:
    """Loads a folder of custom_nodes as ComfyUI does: as a package whose name is its path."""
    name = str(folder).replace(".", "_x_")
    spec = importlib.util.spec_from_file_location(name, folder / "__init__.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    for known in [known for known in sys.modules if known == name or known.startswith(f"{name}.")]:
        monkeypatch.delitem(sys.modules, known)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module
