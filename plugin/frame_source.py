"""Where the frames of a plate or of keys come from: files, or a host that hands them over."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from stpn.ocio.plate import Plate, empty_like, read_plate
from stpn.ocio.sequence import Sequence


class FrameSource(Protocol):
    """Frames by number; safe to call from several threads.

    Attributes:
        pattern: what people call the whole of it.
    """

    @property
    def pattern(self) -> str: ...

    def path(self, frame: int) -> Path:
        """What people call a frame: where it lies, or what the host's input and the frame are."""

    def read(self, frame: int) -> Plate:
        """A frame with all its channels; PlateError where there is none."""

    def empty_like(self, frame: int, part: int) -> Plate:
        """A plate without channels, of the windows and attributes of a frame's part; see `stpn.ocio.plate`."""


class Files(Sequence):
    """Numbered files as a source of frames."""

    def read(self, frame: int) -> Plate:
        """See `FrameSource`."""
        return read_plate(self.path(frame))

    def empty_like(self, frame: int, part: int) -> Plate:
        """See `FrameSource`."""
        return empty_like(self.path(frame), part)
