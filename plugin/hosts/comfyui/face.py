"""Inputs as ComfyUI shows them, made from `node.json`, and their values as stpn knows them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from comfy_api.latest import io

NODE: dict[str, Any] = json.loads((Path(__file__).parent / "node.json").read_text("utf-8"))
"""The node as `stpn.plugin.node` describes it."""

CATEGORY = "STPN"
_DIGITS_STEP = 0.01  # of a float's widget


def parameters(*, files: bool, without: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The node's parameters, in order; those of file renderers only where `files`."""
    return [one for one in NODE["parameters"] if one["name"] not in without and (files or not one["files_only"])]


def help_of(name: str) -> str:
    """What an input of pictures is for."""
    return next(str(one["help"]) for one in NODE["inputs"] if one["name"] == name)


def widgets(described: Sequence[Mapping[str, Any]], additions: Mapping[str, str]) -> list[Any]:
    """An input for each parameter.

    Args:
        described: the parameters.
        additions: by name, what is different here; it stands behind the help.
    """
    return [_widget(one, " ".join(filter(None, (one["help"], additions.get(one["name"]))))) for one in described]


def values(described: Sequence[Mapping[str, Any]], given: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters' values by name: of a choice the value that its label stands for; text without outer blanks."""
    found = {one["name"]: given.get(one["name"], None) for one in described}
    for one in described:
        name, value = one["name"], found[one["name"]]
        if value is None:
            found[name] = one["default"]
        elif one["kind"] == "choice":
            found[name] = next((key for key, label in one["choices"] if label == value), value)
        elif isinstance(value, str):
            found[name] = value.strip()
    return found


def _widget(one: Mapping[str, Any], tooltip: str) -> Any:
    shown: dict[str, Any] = {"display_name": one["label"], "tooltip": tooltip}
    if one["group"]:
        # newer ComfyUIs have an argument of this name; older ones pass it on to the browser, which ignores it
        shown["extra_dict"] = {"advanced": True}
    if one["kind"] == "choice":
        # ComfyUI shows and saves the same text
        labels = dict(one["choices"])
        return io.Combo.Input(one["name"], options=list(labels.values()), default=labels[one["default"]], **shown)
    if one["kind"] == "bool":
        return io.Boolean.Input(one["name"], default=one["default"], **shown)
    if one["kind"] == "int":
        return io.Int.Input(one["name"], default=one["default"], min=one["minimum"], max=one["maximum"], **shown)
    if one["kind"] == "float":
        reach = {"min": one["minimum"], "max": one["maximum"], "step": _DIGITS_STEP}
        return io.Float.Input(one["name"], default=one["default"], **reach, **shown)
    return io.String.Input(one["name"], default=one["default"], **shown)
