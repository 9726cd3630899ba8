"""What made a file, in the file: the one attribute that stpn adds to results, and digests of content behind it.

The attribute holds two digests with a colon between. The first says what was asked and what of; whoever writes the file
decides what goes into it. The second says what the file holds, so that a file is known to be whole, and to be the one
that was written, without its pixels being decoded.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from pathlib import Path

from stpn.ocio.exr_chunks import PackedPart
from stpn.ocio.plate_info import PlateInfo, RawAttribute

ATTRIBUTE = "stpn:digest"
"""Name of the attribute in an EXR, and of the text in a PNG."""

TIFF_ATTRIBUTE = "IPTC:InstanceID"
"""Where TIFF and JPEG hold it, after `PREFIX`: XMP's identifier of this very file, as OpenImageIO calls it."""

DPX_ATTRIBUTE = "dpx:UserData"
"""Where DPX holds it, after `PREFIX`: the user data, if the plate has none of its own."""

PREFIX = "stpn:digest="
"""What tells the digest from what others write into the same place."""

LENGTH = 32
"""Digits of a digest in a file."""

_RECORDED = re.compile(rf"(?P<made_of>[0-9a-f]{{{LENGTH}}}):(?P<holds>[0-9a-f]{{{LENGTH}}})")


def digest_of(parts: Iterable[bytes]) -> str:
    """The first 128 bits of SHA-256 of byte strings, hexadecimal; where one ends and the next begins counts."""
    found = hashlib.sha256()
    for part in parts:
        found.update(len(part).to_bytes(8, "little"))
        found.update(part)
    return found.hexdigest()[:LENGTH]


def content_digest(path: Path) -> str:
    """SHA-256 of a file's content, hexadecimal.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Contents:
    """Digests of files' contents, each computed once however many ask; safe to call from several threads.

    Time stamps are not looked at: clocks jump, and copies keep the times of what they are copies of.
    """

    def __init__(self) -> None:
        """Knows no file yet."""
        self._known: dict[Path, Future[str]] = {}
        self._lock = threading.Lock()

    def __call__(self, path: Path) -> str:
        """`content_digest` of a file, as it was when it was asked for first.

        Raises:
            OSError: it cannot be read; the next one who asks looks again.
        """
        with self._lock:
            found = self._known.get(path)
            mine = found is None
            if found is None:
                found = self._known[path] = Future()
        if mine:
            try:
                found.set_result(content_digest(path))
            except BaseException as error:
                with self._lock:
                    del self._known[path]
                found.set_exception(error)
        return found.result()


def recorded(info: PlateInfo) -> tuple[str, str] | None:
    """What a file says of itself: what it was made of, and what it holds; None where it says nothing.

    Whether it is true of the file `stpn.ocio.wholeness` tells.
    """
    for part in info.parts:
        for name in (ATTRIBUTE, TIFF_ATTRIBUTE, DPX_ATTRIBUTE):
            text = text_of_digest(name, part.attributes.get(name))
            match = _RECORDED.fullmatch(text or "")
            if match is not None:
                return match["made_of"], match["holds"]
    return None


def text_of_digest(name: str, value: object) -> str | None:
    """What an attribute says, where it is one that stpn wrote: "" or more; None where it is somebody else's."""
    if name == ATTRIBUTE:
        return value if isinstance(value, str) else ""
    if name == DPX_ATTRIBUTE and hasattr(value, "tobytes"):
        value = value.tobytes().rstrip(b"\0").decode("latin-1")
    if name not in (TIFF_ATTRIBUTE, DPX_ATTRIBUTE) or not isinstance(value, str) or not value.startswith(PREFIX):
        return None
    return value.removeprefix(PREFIX)


def without_digest(attributes: Mapping[str, RawAttribute]) -> dict[str, RawAttribute]:
    """Attributes of an EXR less what says that stpn made it."""
    return {name: raw for name, raw in attributes.items() if name != ATTRIBUTE}


def content_of_parts(parts: Iterable[tuple[Mapping[str, RawAttribute], Iterable[bytes | memoryview]]]) -> str:
    """Digest of what an EXR holds: of each part its attributes, less `ATTRIBUTE`, and its packed chunks in the order
    of their table."""
    found = hashlib.sha256()
    for attributes, chunks in parts:
        for name, raw in without_digest(attributes).items():
            head = f"{name}\0{raw.type_name}\0{len(raw.data)}\0"
            found.update(head.encode("utf-8", "surrogateescape") + raw.data)
        for chunk in chunks:
            found.update(len(chunk).to_bytes(8, "little"))
            found.update(chunk)
        found.update(b"end of part")
    return found.hexdigest()[:LENGTH]


def sealed(parts: list[PackedPart], made_of: str, part: int) -> None:
    """Puts the attribute into a part of an EXR that is ready to be written.

    Args:
        parts: all of the file.
        made_of: of `digest_of`.
        part: which of them gets it.
    """
    holds = content_of_parts((one.attributes, one.chunks) for one in parts)
    parts[part].attributes[ATTRIBUTE] = RawAttribute("string", f"{made_of}:{holds}".encode())
