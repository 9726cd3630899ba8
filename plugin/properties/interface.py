"""What a render sees of a property: `Property`, what it is opened from, and what it makes of a frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from stpn.engine.carriers import Carrier
from stpn.ocio.config import Config
from stpn.ocio.plate import Plate, PlateInfo
from stpn.plugin.footage import Footage
from stpn.plugin.frame_source import FrameSource
from stpn.plugin.keys import Span
from stpn.plugin.reading import Reader
from stpn.plugin.request import Request

if TYPE_CHECKING:
    from stpn.plugin.networks import Network

Image = NDArray[np.float32]
Channels = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Material:
    """What a request names, found and inspected.

    Attributes:
        request: as asked.
        config: where color spaces are looked up.
        plate_files, key_files: where each frame comes from.
        plates, keys: what each file holds, ascending by frame; at least one.
    """

    request: Request
    config: Config
    plate_files: FrameSource
    key_files: FrameSource
    plates: Sequence[PlateInfo]
    keys: Sequence[PlateInfo]


@dataclass(frozen=True)
class Result:
    """What is written for a frame.

    Attributes:
        plate: the file it is written upon; all of it that is not named here stays as it is.
        channels: (H, W) each, replaced or added, by part and name.
        drop: channels of `part` that are left out.
        part: the part that attributes and compression concern.
        attributes: added to the part.
        notes: what was stored differently than it came, and why.
    """

    plate: Plate
    channels: Mapping[int, Channels]
    drop: Sequence[str] = ()
    part: int = 0
    attributes: Mapping[str, object] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Property(Protocol):
    """One property of one shot, between plates and engine; safe to call from several threads.

    Attributes:
        output_part: the part of a result that has the size of the plate.
    """

    @property
    def output_part(self) -> int: ...

    def wrong_keys(self, keys: Sequence[int], spans: Sequence[Span], reader: Reader) -> list[str]:
        """What is wrong with the pixels of the keys, one line each, naming the frame; told before anything is written.

        Args:
            keys: all that serve a frame or are rendered.
            spans: the frames to carry to, by the keys that serve them.
            reader: of plate and keys.
        """

    def carrier(
        self, span: Span, targets: Sequence[int], reader: Reader, network: Network | None, flashes: Sequence[int]
    ) -> Carrier:
        """Reads what a span needs, and prepares to carry it. What it gives for a frame must depend on the span's keys
        and the plate frames from there to the frame alone, never on the other targets.

        Args:
            span: the frames that the same keys serve.
            targets: those of them that are still to be made, ascending.
            reader: of plate and keys.
            network: of the method, None where it has none.
            flashes: frames unlike both sides, ascending.
        """

    def carried_frame(self, frame: int, values: Image, span: Span, reader: Reader) -> Result:
        """A frame with what was carried to it, (H, W, C) float32 as the carrier gave it."""

    def key_frame(self, frame: int, reader: Reader) -> Result:
        """A key frame with what was given for it, bit for bit wherever space and type allow."""


@dataclass(frozen=True)
class Opened:
    """A property that was opened.

    Attributes:
        prop: the property.
        plate: the plate, as motion and cuts are told from it.
        decisions: what was chosen and why, one line each, for people.
        problems: what is wrong with the files, one line each; nothing may be read then.
    """

    prop: Property
    plate: Footage
    decisions: tuple[str, ...]
    problems: tuple[str, ...] = ()
