"""Property sets of the small OpenFX host, and the C signatures that it gives to a plugin.

Signatures are declared here from the specification, apart from those of the plugin, so that a mistake in either shows.
"""

from __future__ import annotations

import ctypes
import itertools
import threading
from collections.abc import Callable
from typing import Any

OK, FAILED, MISSING_FEATURE, UNKNOWN, MEMORY, BAD_HANDLE, BAD_INDEX, REPLY_NO, DEFAULT = 0, 1, 4, 3, 8, 9, 10, 13, 14

Handle = ctypes.c_void_p
Text = ctypes.c_char_p
_INT_OUT, _DOUBLE_OUT = ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_double)
_HANDLE_OUT, _TEXT_OUT = ctypes.POINTER(ctypes.c_void_p), ctypes.POINTER(ctypes.c_void_p)


class Objects:
    """What handles stand for. A handle that is no longer known is a bad handle, never a crash."""

    def __init__(self) -> None:
        self._numbers = itertools.count(0x1000, 16)
        self._known: dict[int, Any] = {}
        self._lock = threading.Lock()

    def add(self, thing: Any) -> int:
        """A new handle."""
        with self._lock:
            number = next(self._numbers)
            self._known[number] = thing
            return number

    def find(self, handle: int | None) -> Any:
        """What a handle stands for; KeyError says that the plugin uses a handle that is none."""
        return self._known[handle or 0]

    def drop(self, handle: int) -> None:
        """Makes a handle invalid."""
        del self._known[handle]

    def count(self, kind: type) -> int:
        """How many handles of a kind are valid."""
        return sum(isinstance(thing, kind) for thing in list(self._known.values()))


class PropertySet:
    """Named lists of int, float, str or pointers.

    Attributes:
        handle: for the plugin.
        values: by name.
        locked: whether the plugin may set only what is there already, as for in and out arguments.
    """

    def __init__(self, objects: Objects, values: dict[str, Any] | None = None, locked: bool = False) -> None:
        self.values: dict[str, list[Any]] = {}
        self.locked = locked
        self.handle = objects.add(self)
        self._texts: dict[tuple[str, int, str], ctypes.Array[ctypes.c_char]] = {}
        for name, value in (values or {}).items():
            self.values[name] = list(value) if isinstance(value, (list, tuple)) else [value]

    def one(self, name: str, default: Any = None) -> Any:
        """The first value of a property."""
        return (self.values.get(name) or [default])[0]

    def set(self, name: str, value: Any, index: int = 0) -> int:
        """Sets one value and returns a status."""
        if self.locked and name not in self.values:
            return UNKNOWN
        held = self.values.setdefault(name, [])
        if index > len(held) or index < 0:
            return BAD_INDEX
        held[index : index + 1] = [value]
        return OK

    def address(self, name: str, index: int) -> int:
        """Where a text lies for as long as this set lives."""
        text = str(self.values[name][index])
        kept = self._texts.setdefault((name, index, text), ctypes.create_string_buffer(text.encode()))
        return ctypes.addressof(kept)


def suite(members: list[tuple[Callable[..., Any] | None, Any, tuple[Any, ...]]]) -> tuple[Any, list[Any]]:
    """An array of C functions in the order of a suite, and what must be kept alive. None: not to be called."""
    kept = [ctypes.CFUNCTYPE(result, *arguments)(function) for function, result, arguments in members if function]
    pointers = iter([ctypes.cast(one, ctypes.c_void_p).value for one in kept])
    table = (ctypes.c_void_p * len(members))(*[next(pointers) if function else None for function, _, _ in members])
    return table, kept


def property_suite(objects: Objects, guarded: Callable[..., Any]) -> tuple[Any, list[Any]]:
    """The property suite over the sets of these objects; `guarded` wraps what may fail."""

    def setter(kind: type, many: bool) -> Callable[..., int]:
        def convert(value: Any) -> Any:
            return value.decode() if isinstance(value, bytes) else value

        def set_one(handle: int, name: bytes, index: int, value: Any) -> int:
            return objects.find(handle).set(name.decode(), convert(value), index)

        def set_many(handle: int, name: bytes, count: int, values: Any) -> int:
            found = objects.find(handle)
            if found.locked and name.decode() not in found.values:
                return UNKNOWN
            found.values[name.decode()] = [convert(values[index]) for index in range(count)]
            return OK

        return guarded(set_many if many else set_one)

    def getter(many: bool, is_text: bool = False) -> Callable[..., int]:
        def get(handle: int, name: bytes, place: int, out: Any) -> int:
            found = objects.find(handle)
            values = found.values.get(name.decode())
            if values is None:
                return UNKNOWN
            first, count = (0, place) if many else (place, 1)
            if first + count > len(values):
                return BAD_INDEX
            for index in range(count):
                out[index] = found.address(name.decode(), first + index) if is_text else values[first + index]
            return OK

        return guarded(get)

    def dimension(handle: int, name: bytes, out: Any) -> int:
        values = objects.find(handle).values.get(name.decode())
        out[0] = len(values or ())
        return UNKNOWN if values is None else OK

    integer, base = ctypes.c_int, (Handle, Text, ctypes.c_int)
    kinds = ((Handle, _HANDLE_OUT, _HANDLE_OUT), (Text, ctypes.POINTER(Text), _TEXT_OUT))
    kinds += ((ctypes.c_double, _DOUBLE_OUT, _DOUBLE_OUT), (ctypes.c_int, _INT_OUT, _INT_OUT))  # type: ignore[assignment]
    members: list[Any] = [(setter(one, False), integer, (*base, one)) for one, _, _ in kinds]
    members += [(setter(one, True), integer, (*base, array)) for one, array, _ in kinds]
    members += [(getter(False, one is Text), integer, (*base, out)) for one, _, out in kinds]
    members += [(getter(True, one is Text), integer, (*base, out)) for one, _, out in kinds]
    members += [(None, integer, ()), (guarded(dimension), integer, (Handle, Text, _INT_OUT))]
    return suite(members)
