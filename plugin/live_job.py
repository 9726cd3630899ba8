"""A job of the worker: one frame of a node, with the pictures that it needs; `docs/worker.md` has its words."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from stpn.plugin.live_pictures import LAYOUTS, TYPES, PictureInfo, described
from stpn.plugin.node import PARAMETERS, Parameter
from stpn.plugin.request import Request, RequestError

_PARAMETERS = {parameter.name: parameter for parameter in PARAMETERS}
# the client tells which keys these come to
_OF_THE_CLIENT = frozenset({"interval", "first_key", "key_frames"})
_MOST_FRAMES = 10_000
# `output` is another thing in a node: what is shown
_OF_A_REQUEST = {field.name for field in fields(Request)} & set(_PARAMETERS) - {"output"}


@dataclass(frozen=True)
class Job:
    """One frame of a node.

    Attributes:
        frame: its number.
        values: each parameter's value as text; only those that the property takes.
        pictures: what each picture is, by its ID.
        sources, keys: the ID of each frame's picture, ascending by frame.
        matte: ID of the matte; None: there is none.
        colorspace, keys_colorspace: what the host says of Source and Keys; None: nothing.
        want: type and channels of the result.
    """

    frame: int
    values: Mapping[str, str]
    pictures: Mapping[str, PictureInfo]
    sources: Mapping[int, str]
    keys: Mapping[int, str]
    matte: str | None
    colorspace: str | None
    keys_colorspace: str | None
    want: tuple[str, str]

    @property
    def is_key(self) -> bool:
        """Whether the frame is a key."""
        return self.frame in self.keys

    @property
    def digest(self) -> str:
        """The same for jobs that have the same result."""
        asked = (self.frame, sorted(self.values.items()), self.files, self.matte)
        frames = (list(self.sources.items()), list(self.keys.items()))
        rest = (self.colorspace, self.keys_colorspace, self.want)
        return hashlib.sha256(repr((asked, frames, rest)).encode()).hexdigest()

    @property
    def files(self) -> tuple[int, ...]:
        """When each file that the values name was changed last; what was made with another state of it is no use."""
        return tuple(changed(text) for name, text in self.values.items() if _PARAMETERS[name].kind == "file")

    def request(self) -> Request:
        """What is asked for in the words of `stpn propagate`.

        Raises:
            RequestError: a value is none of its parameter.
        """
        given = {name: text for name, text in self.values.items() if name in _OF_A_REQUEST and text}
        for name, said in (("colorspace", self.colorspace), ("keys_colorspace", self.keys_colorspace)):
            if given.get(name) == "auto" and said is not None:
                given[name] = said
        prop = given.pop("property", "color")
        # a mask or an EXR is floats; a picture of integers gets a result of its own coding
        exr = self.want[0] in ("float", "half") or prop != "color"
        channels = None
        if prop == "channels":
            channels = ",".join(self.pictures[next(iter(self.keys.values()))].channels)
        labels = given.pop("mask_labels", "0") == "1"
        return Request(
            "Source", "Keys", f"result.####.{'exr' if exr else 'tiff'}", property=prop, mask_labels=labels,
            channels=channels, threads=1, **given,  # type: ignore[arg-type]
        )  # fmt: skip


def changed(path: str | None) -> int:
    """When a file was changed last; 0 where there is none."""
    try:
        return Path(path).stat().st_mtime_ns if path else 0
    except (OSError, ValueError):
        return 0  # whoever opens it says what is wrong


def read_job(lines: Sequence[tuple[str, str]]) -> Job:
    """A job from the lines of its message.

    Raises:
        RequestError: what makes no sense, one line each.
    """
    try:
        return _read(lines)
    except ValueError as error:
        raise RequestError(str(error)) from error


def _read(lines: Sequence[tuple[str, str]]) -> Job:
    found: dict[str, list[str]] = {}
    for name, value in lines:
        found.setdefault(name, []).append(value)
    pictures = dict(described(text) for text in found.get("picture", []))
    sources, keys = (_frames(found.get(name, []), name, pictures) for name in ("source", "key"))
    frame = _number(_one(found, "frame"), "frame")
    matte = found["matte"][0] if "matte" in found else None
    if matte is not None and matte not in pictures:
        raise ValueError(f"matte: expected a picture that is described, got {matte!r}")
    if frame not in sources:
        raise ValueError(f"Source: expected frame {frame}, which is to be made, got none of it; connect the plate")
    if not keys:
        raise ValueError(f"Keys: expected a key before or after frame {frame}, got none")
    if len(keys) > 2 or (frame in keys and len(keys) > 1):
        raise ValueError(f"Keys: expected the one or two around frame {frame}, got {', '.join(map(str, keys))}")
    want = _one(found, "want").split(" ")
    if len(want) != 2 or want[0] not in TYPES or want[1] not in LAYOUTS:
        raise ValueError(f"want: expected a type and channels, got {' '.join(want)!r}")
    space, keys_space = (found.get(name, [""])[0] or None for name in ("colorspace", "keys_colorspace"))
    values = _values(found.get("parameter", []))
    return Job(frame, values, pictures, sources, keys, matte, space, keys_space, (want[0], want[1]))


def _values(given: Sequence[str]) -> dict[str, str]:
    """Values by name, defaults where none is given, of the parameters that the property takes."""
    values = {name: _text(parameter) for name, parameter in _PARAMETERS.items() if not parameter.files_only}
    for text in given:
        name, _, value = text.partition(" ")
        if name not in values or name in _OF_THE_CLIENT:
            raise ValueError(f"parameter: expected one of {', '.join(values)}, got {name!r}")
        values[name] = _checked(_PARAMETERS[name], value)
    prop = values["property"]
    return {
        name: value
        for name, value in values.items()
        if name not in _OF_THE_CLIENT and (not _PARAMETERS[name].goes_with or prop in _PARAMETERS[name].goes_with)
    }


def _text(parameter: Parameter) -> str:
    default = parameter.default
    return str(int(default)) if isinstance(default, bool) else str(default)


def _checked(parameter: Parameter, value: str) -> str:
    if parameter.kind == "choice":
        known = [choice for choice, _ in parameter.choices]
        if value not in known:
            raise ValueError(f"{parameter.label}: expected one of {', '.join(known)}, got {value!r}")
    elif parameter.kind == "bool" and value not in ("0", "1"):
        raise ValueError(f"{parameter.label}: expected 0 or 1, got {value!r}")
    elif parameter.kind == "float":
        low, high = parameter.minimum, parameter.maximum
        assert low is not None
        assert high is not None
        if not low <= float(value) <= high:
            raise ValueError(f"{parameter.label}: expected {low:g} to {high:g}, got {value}")
    return value


def _frames(given: Sequence[str], name: str, pictures: Mapping[str, PictureInfo]) -> dict[int, str]:
    if len(given) > _MOST_FRAMES:
        raise ValueError(f"{name}: expected {_MOST_FRAMES} frames at most, got {len(given)}")
    frames = {}
    for text in given:
        number, _, picture = text.partition(" ")
        if picture not in pictures:
            raise ValueError(f"{name} {number}: expected a picture that is described, got {picture!r}")
        frames[_number(number, name)] = picture
    return dict(sorted(frames.items()))


def _number(text: str, what: str) -> int:
    try:
        if len(text) > 12:
            raise ValueError
        return int(text)
    except ValueError:
        raise ValueError(f"{what}: expected a whole number, got {text!r}") from None


def _one(found: Mapping[str, list[str]], name: str) -> str:
    if len(found.get(name, [])) != 1:
        raise ValueError(f"job: expected one line {name}, got {len(found.get(name, []))}")
    return found[name][0]
