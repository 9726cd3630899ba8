"""Writes the node as a C++ header for the OpenFX plugin: `python -m stpn.plugin.hosts.ofx.generate OUT.h`."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from stpn.plugin import node

_KINDS = {
    "choice": "CHOICE",
    "int": "INTEGER",
    "float": "NUMBER",
    "bool": "SWITCH",
    "text": "TEXT",
    "file": "FILE",
    "frame": "TEXT",
}


def header() -> str:
    """The header: what `node_types.h` declares, filled with what `stpn.plugin.node` says."""
    inputs = ",\n".join(_input(one) for one in node.INPUTS)
    parameters = ",\n".join(_parameter(one) for one in node.PARAMETERS if not one.files_only)
    major, minor = node.VERSION
    return f"""\
// Generated from plugin/node.py; edit that.
#pragma once

#include "node_types.h"

namespace stpn::node {{

inline constexpr auto NAME = {_text(node.NAME)};
inline constexpr auto IDENTIFIER = {_text(node.IDENTIFIER)};
inline constexpr unsigned VERSION_MAJOR = {major};
inline constexpr unsigned VERSION_MINOR = {minor};
inline constexpr auto HELP = {_text(node.HELP)};

inline const std::vector<Input> INPUTS = {{
{inputs}
}};

inline const std::vector<Parameter> PARAMETERS = {{
{parameters}
}};

}}  // namespace stpn::node
"""


def _input(one: node.Input) -> str:
    return f"    {{{_text(one.name)}, {_text(one.help)}, {_truth(one.optional)}, {_truth(one.temporal)}}}"


def _parameter(one: node.Parameter) -> str:
    """One parameter; of a choice the default is the place of its value."""
    values = [value for value, _ in one.choices]
    number = values.index(str(one.default)) if one.kind == "choice" else one.default
    fields = (
        _text(one.name),
        _text(one.label),
        f"Kind::{_KINDS[one.kind]}",
        _text(one.help),
        _text(one.group),
        _text(number) if isinstance(number, str) else '""',
        "0" if isinstance(number, str) else repr(float(number)),
        _limit(one.minimum),
        _limit(one.maximum),
        _list(f"{{{_text(value)}, {_text(label)}}}" for value, label in one.choices),
        _list(_text(value) for value in one.goes_with),
    )
    return f"    {{{', '.join(fields)}}}"


def _limit(value: float | None) -> str:
    return "std::nullopt" if value is None else repr(float(value))


def _list(items: Iterable[str]) -> str:
    return "{" + ", ".join(items) + "}"


def _truth(value: bool) -> str:
    return "true" if value else "false"


def _text(value: str) -> str:
    """A C++ literal. Octal escapes have at most three digits, so that no letter that follows is taken for one."""
    escaped = "".join(
        chr(byte) if 32 <= byte < 127 and chr(byte) not in '"\\?' else f"\\{byte:03o}" for byte in value.encode("utf-8")
    )
    return f'"{escaped}"'


def main() -> None:
    """Write the header where the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path, help="the header to write")
    output: Path = parser.parse_args().output
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(header(), encoding="utf-8")


if __name__ == "__main__":
    main()
