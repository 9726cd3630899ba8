"""The node's description: what hosts are made from agrees with the command line and with itself."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import fields

import pytest

from stpn.plugin import node
from stpn.plugin.cli import propagate
from stpn.plugin.properties.kinds import KINDS
from stpn.plugin.request import CHANNEL_CURVES, DEVICES, KEYS_USED, METHODS, PROPERTIES, Request

# what is an option of the command but a thing of the host here, or the other way round
_OF_THE_COMMAND = {"plate", "keys", "output", "frames", "analysis", "confidence", "compression", "skip_existing",
                   "keep_going", "threads", "memory", "channels", "mask_output"}  # fmt: skip
_OF_THE_NODE = {"output", "mix"}


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("property", PROPERTIES),
        ("keys_used", KEYS_USED),
        ("method", ("auto", *METHODS)),
        ("device", DEVICES),
        ("channels_curve", CHANNEL_CURVES),
    ],
)
def test_choices_are_those_of_the_command(name: str, values: tuple[str, ...]) -> None:
    assert tuple(value for value, _ in node.parameter(name).choices) == values


def test_the_node_has_what_the_command_has() -> None:
    named = {one.name for one in node.PARAMETERS}
    assert named - _OF_THE_NODE == {field.name for field in fields(Request)} - _OF_THE_COMMAND


def test_defaults_are_those_of_the_command() -> None:
    parser = argparse.ArgumentParser()
    propagate.setup(parser)
    defaults = vars(parser.parse_args(["--plate", "p", "--keys", "k", "--output", "o"]))
    for one in node.PARAMETERS:
        if one.name in _OF_THE_NODE or one.name == "interval":
            continue
        assert one.default == (defaults[one.name] if defaults[one.name] is not None else ""), one.name


def test_parameters_go_with_the_properties_that_take_them() -> None:
    special = {name for kind in KINDS.values() for name in kind.options}
    for one in node.PARAMETERS:
        if one.name in special:
            assert set(one.goes_with) == {name for name, kind in KINDS.items() if one.name in kind.options}, one.name
        else:
            assert one.goes_with == (), one.name


def test_every_parameter_is_whole() -> None:
    kinds = {"choice": str, "int": int, "float": float, "bool": bool, "text": str, "file": str, "frame": str}
    for one in node.PARAMETERS:
        assert type(one.default) is kinds[one.kind], one.name
        assert one.label
        assert one.help.endswith("."), one.name
        assert (one.kind == "choice") == bool(one.choices)
        assert (one.kind in ("int", "float")) == (one.minimum is not None) == (one.maximum is not None)
        if one.kind == "choice":
            assert one.default in dict(one.choices)
    assert len({one.name for one in node.PARAMETERS}) == len(node.PARAMETERS)
    assert len({one.label for one in node.PARAMETERS}) == len(node.PARAMETERS)


def test_as_json_says_all_of_it() -> None:
    said = json.loads(node.as_json())
    assert [one["name"] for one in said["inputs"]] == ["Source", "Keys", "Matte"]
    assert [one["name"] for one in said["parameters"]] == [one.name for one in node.PARAMETERS]
    assert said["parameters"][0]["choices"] == [list(choice) for choice in node.PARAMETERS[0].choices]


def test_options_become_labels() -> None:
    assert node.for_people("--keys-colorspace: give --cuts none; --colorspace X") == (
        "Keys color space: give Cuts none; Source color space X"
    )


def test_the_description_needs_the_standard_library_alone() -> None:
    code = "import sys, stpn.plugin.node; print({'numpy', 'torch', 'OpenEXR'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
