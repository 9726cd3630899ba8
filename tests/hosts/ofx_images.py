"""Images and clips of the small OpenFX host: numpy arrays laid out as hosts do, with guards around them."""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ofx_properties import Objects, PropertySet

Array = np.ndarray[Any, Any]

DEPTHS = {"float32": "Float", "float16": "Half", "uint16": "Short", "uint8": "Byte"}
COMPONENTS = {4: "RGBA", 3: "RGB", 1: "Alpha"}
_GUARD = 256
_PATTERN = 0xA5


@dataclass
class Layout:
    """How a host lays images out in memory.

    Attributes:
        padding: bytes behind each row.
        negative: rows from the top to the bottom, so that row bytes are negative.
        origin: x1 and y1 of the bounds.
        field: the field of each image.
        named: whether images carry a unique identifier.
        premultiplication: of RGBA images.
    """

    padding: int = 0
    negative: bool = False
    origin: tuple[int, int] = (0, 0)
    field: str = "OfxFieldNone"
    named: bool = True
    premultiplication: str = "OfxImageAlphaPremultiplied"


class Image:
    """Pixels (H, W, C), row 0 at the top, as an OpenFX image with guards before, behind and between its rows."""

    def __init__(self, objects: Objects, pixels: Array, layout: Layout, name: str | None = None) -> None:
        height, width, channels = pixels.shape
        self.shape, self.dtype, self.layout = pixels.shape, pixels.dtype, layout
        self.row = width * channels * pixels.itemsize
        self.stride = self.row + layout.padding
        self.memory = np.full(2 * _GUARD + height * self.stride, _PATTERN, np.uint8)
        ordered = pixels if layout.negative else pixels[::-1]
        self._rows()[:] = np.ascontiguousarray(ordered).view(np.uint8).reshape(height, self.row)
        self.given = self.memory.copy()
        start = self.memory.ctypes.data + _GUARD
        x1, y1 = layout.origin
        identifier = {"OfxImagePropUniqueIdentifier": name} if name is not None else {}
        self.properties = PropertySet(
            objects,
            {
                "OfxPropType": "OfxTypeImage",
                "OfxImagePropData": start + (height - 1) * self.stride if layout.negative else start,
                "OfxImagePropRowBytes": -self.stride if layout.negative else self.stride,
                "OfxImagePropBounds": (x1, y1, x1 + width, y1 + height),
                "OfxImagePropRegionOfDefinition": (x1, y1, x1 + width, y1 + height),
                "OfxImagePropField": layout.field,
                "OfxImageEffectPropPixelDepth": f"OfxBitDepth{DEPTHS[pixels.dtype.name]}",
                "OfxImageEffectPropComponents": f"OfxImageComponent{COMPONENTS[channels]}",
                "OfxImageEffectPropPreMultiplication": layout.premultiplication,
                "OfxImageEffectPropRenderScale": (1.0, 1.0),
                **identifier,
            },
        )

    def _rows(self) -> Array:
        height = self.shape[0]
        body = self.memory[_GUARD : _GUARD + height * self.stride].reshape(height, self.stride)
        return body[:, : self.row]

    def pixels(self) -> Array:
        """What lies in the image now, row 0 at the top."""
        found = np.ascontiguousarray(self._rows()).view(self.dtype).reshape(self.shape)
        return found.copy() if self.layout.negative else found[::-1].copy()

    def untouched(self) -> bool:
        """Whether every byte is as it was given."""
        return bool((self.memory == self.given).all())

    def guards_untouched(self) -> bool:
        """Whether all bytes that are no pixels are as they were."""
        outside = self.memory.copy()
        height = self.shape[0]
        outside[_GUARD : _GUARD + height * self.stride].reshape(height, self.stride)[:, : self.row] = _PATTERN
        return bool((outside == _PATTERN).all())


@dataclass
class Clip:
    """An input or the output of a node.

    Attributes:
        name: as described by the plugin.
        picture: gives the pixels of a time, None where there is no image; None itself: not connected.
        layout: how its images lie in memory.
        identifier: gives the unique identifier of a time; without, it is made of the pixels.
        requested: times that were asked for, in order.
    """

    name: str
    properties: PropertySet
    picture: Callable[[float], Array | None] | None = None
    layout: Layout = field(default_factory=Layout)
    identifier: Callable[[float], str] | None = None
    requested: list[float] = field(default_factory=list)

    def image(self, objects: Objects, time: float) -> Image | None:
        """A new image of a time."""
        self.requested.append(time)
        pixels = self.picture(time) if self.picture else None
        if pixels is None:
            return None
        name = None
        if self.layout.named:
            name = self.identifier(time) if self.identifier else hashlib.sha1(pixels.tobytes()).hexdigest()
        return Image(objects, pixels, self.layout, name)

    def connect(
        self,
        picture: Callable[[float], Array | None] | None,
        frames: tuple[float, float] = (0, 0),
        like: Array | None = None,
    ) -> None:
        """Connects a source of pixels with a frame range; `like` has the depth and channels that the clip declares."""
        self.picture = picture
        values: dict[str, Any] = {"OfxImageClipPropConnected": int(picture is not None)}
        values["OfxImageEffectPropFrameRange"] = frames
        if like is None and picture is not None:
            like = picture(frames[0])
        if like is not None:
            values["OfxImageEffectPropPixelDepth"] = f"OfxBitDepth{DEPTHS[like.dtype.name]}"
            values["OfxImageEffectPropComponents"] = f"OfxImageComponent{COMPONENTS[like.shape[2]]}"
        values["OfxImageEffectPropPreMultiplication"] = self.layout.premultiplication
        for name, value in values.items():
            self.properties.values[name] = list(value) if isinstance(value, tuple) else [value]

    def region(self) -> tuple[float, float, float, float]:
        """The region of definition, from the picture of the first frame."""
        assert self.picture is not None
        pixels = self.picture(self.properties.values["OfxImageEffectPropFrameRange"][0])
        assert pixels is not None
        x1, y1 = self.layout.origin
        return (x1, y1, x1 + pixels.shape[1], y1 + pixels.shape[0])


class Rectangle(ctypes.Structure):
    """OfxRectD."""

    _fields_ = [(name, ctypes.c_double) for name in ("x1", "y1", "x2", "y2")]


def pictures(
    seed: int, channels: int = 4, dtype: Any = np.float32, shape: tuple[int, int] = (24, 37)
) -> Callable[[float], Array]:
    """A clip of noise: another picture (H, W, C) at every frame, random bits for whole numbers."""

    def picture(time: float) -> Array:
        generator = np.random.default_rng([seed, int(time) + 2**31])
        if np.issubdtype(dtype, np.integer):
            return generator.integers(0, np.iinfo(dtype).max + 1, (*shape, channels), dtype)
        return generator.normal(size=(*shape, channels)).astype(dtype)

    return picture
