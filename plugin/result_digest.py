"""What a result is made of, as a digest: it says whether a file that is there is the one that a request would make.

Into it goes all that decides pixels and header of one frame, and nothing else, so that any split of a shot into chunks,
any folder and any number of threads give the same file: options, color conversions by what they compute, weights, and
content and frame numbers of the keys that serve the frame and of the plate frames from there to it. Of cuts and flashes
what follows for this frame: the keys that serve it, and which of those plate frames are flashes.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import fields, is_dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from stpn.ocio.digest import Contents, digest_of
from stpn.ocio.plate import Plate, PlateError
from stpn.ocio.spaces import PlateSpace
from stpn.plugin.adaptation_plan import MaskPlan
from stpn.plugin.display import Rec709
from stpn.plugin.footage import Footage
from stpn.plugin.frame_source import Files
from stpn.plugin.keys import Span
from stpn.plugin.properties.interface import Property
from stpn.plugin.request import Request

LEFT_OUT = frozenset(
    {
        # where files lie, and which are made; what is read of them counts by its content
        "plate", "keys", "output", "confidence", "frames", "analysis", "report",
        # which keys serve a frame counts, not how they were named
        "interval", "first_key", "key_frames", "keys_used", "cuts",
        # what they lead to counts: conversions, the content of the weights, the device of a network
        "colorspace", "keys_colorspace", "ocio", "weights", "device", "threads", "memory", "adapt",
        # how a run goes on
        "skip_existing", "keep_going", "progress",
    }
)  # fmt: skip
"""Fields of a request that do not go into the digest as they are; any other does, new ones included."""

# raised where results change though the version stays
_GENERATION = 1


class DigestedFiles(Files):
    """Numbered files whose content is remembered as it was before it was read first: where one changes while a shot is
    rendered, results speak of what it was, and are made again by the next run."""

    def __init__(self, pattern: str, contents: Contents) -> None:
        """Takes the pattern, and what remembers."""
        super().__init__(pattern)
        self._contents = contents

    def read(self, frame: int) -> Plate:
        """See `FrameSource`. A file that somebody replaces on a file server meanwhile is opened once more."""
        with suppress(OSError):  # reading it says better what is wrong
            self._contents(self.path(frame))
        try:
            return super().read(frame)
        except PlateError as error:
            if getattr(error.__context__, "errno", None) != errno.ESTALE:
                raise
        return super().read(frame)


class ResultDigests:
    """Digests of the results of one shot; safe to call from several threads."""

    def __init__(
        self, request: Request, prop: Property, plate: Files, keys: Files, contents: Contents, adapted: MaskPlan | None
    ) -> None:
        """Takes what all frames share.

        Args:
            request: as asked, with the method that was chosen.
            prop: the property, opened.
            plate, keys: where each frame lies.
            contents: remembers digests of files.
            adapted: what the network is adapted to without a file of it being left; None: nothing.
        """
        self._request, self._prop, self._plate, self._keys = request, prop, plate, keys
        self._contents, self._adapted = contents, adapted

    def key(self, frame: int) -> str:
        """Of a key frame.

        Raises:
            PlateError: an input cannot be read.
        """
        return digest_of([self._shared, f"key {frame}".encode(), *self._files([frame], [frame])])

    def carried(self, frame: int, span: Span, flashes: Iterable[int], weights: Path | None, device: str) -> str:
        """Of a frame that is carried to.

        Args:
            frame: its number.
            span: which holds it.
            flashes: frames that are looked past.
            weights: of the network; None where there is none.
            device: what runs the network.

        Raises:
            PlateError: an input cannot be read.
        """
        needed = self.needed(frame, span)
        parts = [self._shared, f"carried {frame}".encode(), *self._files(span.keys, needed)]
        parts += [f"flash {flash}".encode() for flash in sorted(flashes) if flash in needed]
        if weights is not None:
            parts += [device.encode(), self._content(weights), *self._recipe]
        return digest_of(parts)

    def adapted_network(self, weights: Path) -> str:
        """Of the network that adaptation without a file comes to, from `weights`.

        Raises:
            PlateError: an input cannot be read.
        """
        return digest_of([self._shared, b"network", self._content(weights), *self._recipe])

    def needed(self, frame: int, span: Span) -> list[int]:
        """The plate frames that a frame of a span takes something from, ascending."""
        if self._request.method == "stpn":
            return sorted({*span.keys, frame})
        return list(Span(span.before, span.after, (frame,)).reach)

    @cached_property
    def _shared(self) -> bytes:
        request = self._request
        options = [
            f"{field.name}={getattr(request, field.name)!r}" for field in fields(request) if field.name not in LEFT_OUT
        ]
        known = [f"stpn {version('stpn')} {_GENERATION}", Path(request.output).suffix.lower(), *sorted(options)]
        return digest_of(part.encode() for part in (*known, *described(self._prop))).encode()

    @cached_property
    def _recipe(self) -> list[bytes]:
        """What a network is adapted to that is in no file."""
        plan = self._adapted
        if plan is None:
            return []
        return [f"adapted {plan.steps}".encode(), *self._files(plan.keys, plan.keys)]

    def _files(self, keys: Iterable[int], plates: Iterable[int]) -> Iterator[bytes]:
        for name, files, frames in (("key", self._keys, keys), ("plate", self._plate, plates)):
            for frame in frames:
                yield f"{name} {frame} ".encode() + self._content(files.path(frame))

    def _content(self, path: Path) -> bytes:
        try:
            return self._contents(path).encode()
        except OSError as error:
            raise PlateError(f"{path}: cannot be read: {error.strerror or error}") from error


def confidence_digest(result: str) -> str:
    """Of the confidence that goes with a result."""
    return digest_of([b"confidence", result.encode()])


def described(value: Any) -> Iterator[str]:
    """What a property computes, in words that are alike for what computes the same: of color spaces their conversions,
    of footage how it is read, and never where anything lies.

    Raises:
        TypeError: it holds something of which that is not known.
    """
    if isinstance(value, PlateSpace):
        yield f"{value.name} {value.fingerprint()}"
    elif isinstance(value, Rec709):
        yield value.fingerprint()
    elif isinstance(value, Footage):
        yield f"{value.part} {value.channels} {value.pixel_type} {value.info.format}"
        yield from described(value.space)
    elif isinstance(value, np.ndarray):
        yield f"{value.dtype} {value.shape} {value.tobytes().hex()}"
    elif isinstance(value, tuple):
        yield f"{len(value)} of"
        for item in value:
            yield from described(item)
    elif is_dataclass(value):
        yield type(value).__name__
        for field in fields(value):
            held = getattr(value, field.name)
            if not isinstance(held, Files) and field.name != "files":
                yield field.name
                yield from described(held)
    elif value is None or isinstance(value, bool | int | float | str):
        yield repr(value)
    else:
        raise TypeError(f"expected something whose computation can be told, got {type(value).__name__}")
