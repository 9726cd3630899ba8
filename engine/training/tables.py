"""TOML tables read into frozen dataclasses: every key and type is checked, and an error says where, what was expected
and what was found."""

from __future__ import annotations

import dataclasses
import difflib
import types
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

Table = TypeVar("Table")

_WORDS: dict[object, str] = {str: "a string", int: "a whole number", float: "a number", bool: "true or false"}


_LONGEST = 1000
_LARGEST = 2**53


class RecipeError(Exception):
    """A recipe cannot be followed; the message says which file and key, what was expected and what was found."""

    def __init__(self, message: str) -> None:
        # keys and values of a file can be anything; a message is one printable line of bounded length
        line = "".join(letter if letter.isprintable() else "?" for letter in " ".join(message.split()))
        super().__init__(line if len(line) <= _LONGEST else f"{line[: _LONGEST - 4]} ...")


def read_table(kind: type[Table], table: Mapping[str, object], where: str) -> Table:
    """A dataclass from a table; its fields are the keys, their defaults the keys' defaults.

    Args:
        kind: a dataclass of str, int, float, bool, Literal, tuple[X, ...], Mapping (taken as it is) and dataclasses. A
            field whose metadata has `key` is called that in the table; `"key": None` means that it is not in the table.
        table: what tomllib gives.
        where: the file and the table's name, for errors.

    Raises:
        RecipeError: a key that is unknown or missing, a value of another type.
    """
    hints = get_type_hints(kind)
    fields = {f.metadata.get("key", f.name): f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    names = [name for name in fields if name is not None]
    for key in table:
        if key not in names:
            close = difflib.get_close_matches(key, names, 1)
            meant = f"; did you mean {close[0]!r}?" if close else ""
            raise RecipeError(f"{where}: {key}: expected one of {', '.join(sorted(names))}, got {key!r}{meant}")
    values = {}
    for name in names:
        field = fields[name]
        if name in table:
            values[field.name] = _value(hints[field.name], table[name], where, name)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise RecipeError(f"{where}: {name}: expected {_expected(hints[field.name])}, got nothing; add it")
    return kind(**values)


def _value(hint: Any, value: object, where: str, key: str) -> object:
    if get_origin(hint) is tuple and isinstance(value, list):
        item = get_args(hint)[0]
        return tuple(_value(item, each, where, f"{key}[{index}]") for index, each in enumerate(value))
    if dataclasses.is_dataclass(hint) and isinstance(hint, type) and isinstance(value, dict):
        return read_table(hint, value, f"{where}: {key}")
    if hint is float and isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _LARGEST:
        return float(value)
    # beyond it not every whole number is a float; NaN and infinity are above, too
    if isinstance(value, int | float) and not abs(value) <= _LARGEST:
        raise RecipeError(f"{where}: {key}: expected {_expected(hint)} of up to 2**53, got {str(value)[:40]}")
    if not _fits(hint, value):
        raise RecipeError(f"{where}: {key}: expected {_expected(hint)}, got {value!r}")
    return types.MappingProxyType(value) if isinstance(value, dict) else value


def _fits(hint: Any, value: object) -> bool:
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if get_origin(hint) is Mapping:
        return isinstance(value, dict)
    # bool is an int to Python, but `steps = true` is a mistake
    return type(value) is hint


def _expected(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(repr(choice) for choice in get_args(hint))
    if get_origin(hint) is tuple:
        return f"a list, each {_expected(get_args(hint)[0])}"
    return _WORDS.get(hint, "a table")
