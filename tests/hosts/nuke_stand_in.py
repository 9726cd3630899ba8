"""The smallest stand-in of Nuke's Python: nodes, knobs and menus are recorded; what is not here is an AttributeError.

It shows what the scripts ask of Nuke; it does not show that Nuke does it.
"""

from __future__ import annotations

import types
from typing import Any


class Knob:
    """A knob, with what it was made of."""

    def __init__(self, name: str, label: str = "", value: Any = None) -> None:
        self._name, self._label, self._value = name, label, value
        self._tooltip = ""

    def name(self) -> str:
        return self._name

    def label(self) -> str:
        return self._label

    def value(self) -> Any:
        return self._value

    def setTooltip(self, text: str) -> None:
        self._tooltip = text

    def tooltip(self) -> str:
        return self._tooltip


class Tab_Knob(Knob):
    """A tab, or the begin or end of a group; the value says which."""


class Text_Knob(Knob):
    """Text to read."""


class PyScript_Knob(Knob):
    """A button."""


class Link_Knob(Knob):
    """Shows another knob."""

    def __init__(self, name: str, label: str = "") -> None:
        super().__init__(name, label)
        self.link = ""

    def setLink(self, link: str) -> None:
        self.link = link


class Node:
    """A node of any class."""

    def __init__(self, nuke: Nuke, made_of: str, name: str) -> None:
        self._nuke, self._class, self._name = nuke, made_of, name
        self._knobs: dict[str, Knob] = {}
        self._inputs: dict[int, Node] = {}
        self._selected = False
        self._place = (0, 0)
        self.nodes: list[Node] = []
        self.panel = False

    def Class(self) -> str:
        return self._class

    def name(self) -> str:
        return self._name

    def setName(self, name: str) -> None:
        self._name = name

    def knob(self, name: str) -> Knob | None:
        return self._knobs.get(name)

    def knobs(self) -> dict[str, Knob]:
        return dict(self._knobs)

    def addKnob(self, knob: Knob) -> None:
        assert knob.name() not in self._knobs, knob.name()
        self._knobs[knob.name()] = knob

    def setInput(self, number: int, node: Node) -> None:
        self._inputs[number] = node

    def input(self, number: int) -> Node | None:
        return self._inputs.get(number)

    def setSelected(self, selected: bool) -> None:
        self._selected = selected

    def isSelected(self) -> bool:
        return self._selected

    def xpos(self) -> int:
        return self._place[0]

    def ypos(self) -> int:
        return self._place[1]

    def setXYpos(self, x: int, y: int) -> None:
        self._place = (x, y)

    def showControlPanel(self) -> None:
        self.panel = True

    def __enter__(self) -> Node:
        assert self._class == "Group"
        self._nuke.inside.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._nuke.inside.pop()


class Menu:
    """A menu: its icon, and what is in it by name."""

    def __init__(self, icon: str = "") -> None:
        self.icon = icon
        self.items: dict[str, Any] = {}

    def addMenu(self, name: str, icon: str = "") -> Menu:
        return self.items.setdefault(name, Menu(icon))

    def addCommand(self, name: str, command: str, icon: str = "") -> None:
        self.items[name] = (command, icon)


class Nodes:
    """`nuke.nodes`: makes nodes without connecting them."""

    def __init__(self, nuke: Nuke) -> None:
        self._nuke = nuke

    def Input(self, name: str) -> Node:
        return self._nuke.make("Input", name)

    def Output(self) -> Node:
        return self._nuke.make("Output", "Output1")


class Nuke(types.ModuleType):
    """The module `nuke`.

    Args:
        gui: whether there is a window.
        ofx: classes of loaded OFX plugins and the knobs of each.
    """

    Tab_Knob, Text_Knob, PyScript_Knob, Link_Knob = Tab_Knob, Text_Knob, PyScript_Knob, Link_Knob
    TABBEGINCLOSEDGROUP, TABENDGROUP = 2, -1

    def __init__(self, *, gui: bool, ofx: dict[str, list[str]]) -> None:
        super().__init__("nuke")
        self.GUI = gui
        self._ofx = ofx
        self.root = Node(self, "Root", "root")
        self.inside = [self.root]
        self.nodes = Nodes(self)
        self.messages: list[str] = []
        self.paths: list[str] = []
        self._menu = Menu()

    def make(self, made_of: str, name: str) -> Node:
        node = Node(self, made_of, name)
        self.inside[-1].nodes.append(node)
        return node

    def createNode(self, made_of: str, inpanel: bool = True) -> Node:
        if made_of != "Group" and made_of not in self._ofx:
            raise RuntimeError(f"{made_of}: unknown command")
        node = self.make(made_of, made_of + "1")
        for knob in self._ofx.get(made_of, []):
            node.addKnob(Knob(knob))
        selected = [one for one in self.inside[-1].nodes if one.isSelected()]
        if selected and made_of != "Group":
            node.setInput(0, selected[0])
        return node

    def selectedNodes(self) -> list[Node]:
        return [one for one in self.inside[-1].nodes if one.isSelected()]

    def delete(self, node: Node) -> None:
        self.inside[-1].nodes.remove(node)

    def menu(self, name: str) -> Menu:
        assert self.GUI
        assert name == "Nodes"
        return self._menu

    def message(self, text: str) -> None:
        assert self.GUI
        self.messages.append(text)

    def executeInMainThread(self, call: Any, args: tuple[Any, ...] = ()) -> None:
        call(*args)

    def pluginAddPath(self, path: str) -> None:
        self.paths.append(path)
