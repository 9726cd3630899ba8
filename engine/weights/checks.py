"""What is checked of a file of weights before memory is taken for it: it may be anybody's."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_LARGEST_SIZE = 1024
_MOST_LEVELS = 8
_MOST_TENSORS = 4096
_TYPES = ("F32", "F16", "BF16")
_LONGEST = 300


def one_line(said: object) -> str:
    """The first line of an error or text, printable and short; the kind of an error that says nothing."""
    text = next(iter(str(said).splitlines()), "") or type(said).__name__
    return "".join(letter if letter.isprintable() else "?" for letter in text[:_LONGEST])


def refuse_no_file(path: Path) -> None:
    """Raises ValueError where something is there that is no file: to open a named pipe would wait for ever."""
    if path.exists() and not path.is_file():
        raise ValueError("a folder" if path.is_dir() else "something that is no file")


def numbers_in(file: Any) -> int:
    """How many numbers an open file of safetensors holds; ValueError where it holds more tensors than any network."""
    names = file.keys()
    if len(names) > _MOST_TENSORS:
        raise ValueError(f"{len(names)} tensors, more than any network has")
    return sum(math.prod(file.get_slice(name).get_shape()) for name in names)


def checked_sizes(config: type[Any], sizes: object, numbers: int) -> Any:
    """The config that a file tells of.

    Args:
        config: its dataclass, every field with a default.
        sizes: what the file's metadata says.
        numbers: how many the file holds; a layer of some channels has at least their square of them, so that a small
            file cannot ask for a large network.

    Raises:
        ValueError: a size of another kind, one that no network has, or one that the file's numbers are too few for.
        TypeError: a size that the dataclass does not know.
    """
    if not isinstance(sizes, dict):
        raise ValueError(f"a config that is no table but {type(sizes).__name__}")
    defaults = {field.name: field.default for field in dataclasses.fields(config)}
    for name, value in sizes.items():
        if name in defaults and not _may_be(value, defaults[name]):
            raise ValueError(f"the size {name} = {str(value)[:40]}, which no network has")
        largest = max(value) if isinstance(value, list) and name in defaults else 0
        if largest**2 > numbers:
            raise ValueError(f"the size {name} = {str(value)[:40]} with {numbers} numbers, too few for it")
    return config(**{name: tuple(value) if isinstance(value, list) else value for name, value in sizes.items()})


def _may_be(value: object, default: object) -> bool:
    if isinstance(default, tuple):
        return isinstance(value, list) and 0 < len(value) <= _MOST_LEVELS and all(_may_be(each, 1) for each in value)
    if isinstance(default, bool):
        return isinstance(value, bool)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if isinstance(default, float):
        return abs(value) <= 1e9 and math.isfinite(value)
    return isinstance(value, int) and 0 <= value <= _LARGEST_SIZE


def refuse_other_tensors(file: Any, expected: Mapping[str, Any]) -> None:
    """Raises ValueError where an open file of safetensors holds other tensors than a network has, without reading them.

    Args:
        file: of `safetensors.safe_open`.
        expected: of the network; their shapes count.
    """
    names = set(file.keys())
    if names != set(expected):
        lacking, more = (sorted(some)[:1] for some in (set(expected) - names, names - set(expected)))
        told = [f"none called {name}" for name in lacking] + [
            f"one called {name[:80]}, which it has not" for name in more
        ]
        raise ValueError(f"other tensors than its network has: {' and '.join(told)}")
    for name, tensor in expected.items():
        found = file.get_slice(name)
        if tuple(found.get_shape()) != tuple(tensor.shape) or found.get_dtype() not in _TYPES:
            raise ValueError(
                f"{name} of {found.get_dtype()} {found.get_shape()}, where its network has {list(tensor.shape)}"
            )
