"""Scene-linear light as people see it: 8-bit pictures of a wanted size, plain or through a view of the OCIO config."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stpn.ocio.attributes import space_from_attributes
from stpn.ocio.config import ColorError, Config
from stpn.ocio.primaries import D65, REC709, adaptation, rgb_to_xyz
from stpn.ocio.spaces import PlateSpace

Image = NDArray[np.float32]
Picture = NDArray[np.uint8]
Size = tuple[int, int]

PLAIN = "plain sRGB encoding of the scene-linear light, clipped to 0..1, not tone-mapped"


class Rec709:
    """Takes the linear light of any space of a config to linear Rec.709 with its D65 white."""

    def __init__(self, config: Config) -> None:
        # the config's own matrices come first: it may adapt white otherwise than by Bradford
        try:
            found = space_from_attributes(config, {"chromaticities": REC709.chromaticities}, file_format="exr")
            self._space: PlateSpace | None = PlateSpace(config, found.space)
        except ColorError:
            self._space = None

    def fingerprint(self) -> str:
        """As `PlateSpace.fingerprint`."""
        return "Bradford" if self._space is None else self._space.fingerprint()

    def convert(self, linear: Image, space: PlateSpace) -> Image:
        """Linear Rec.709 (H, W, 3) float32 of linear light of `space`; may change `linear`."""
        if self._space is not None:
            self._space.convert_from(space, linear)
            return linear
        to_rec709 = np.linalg.inv(rgb_to_xyz(REC709)) @ adaptation(space.primaries.white, D65, "Bradford")
        return np.asarray(linear @ (to_rec709 @ space.linear_to_xyz).T, np.float32)


def srgb_encoded(linear: Image) -> Image:
    """sRGB code values, float32 0..255 and not rounded, of linear Rec.709 light; what is outside 0..1 is clipped.

    Source: IEC 61966-2-1, section 5.2.
    """
    light = np.clip(linear, 0.0, 1.0)
    high = light ** np.float32(1 / 2.4)
    high *= np.float32(1.055)
    high -= np.float32(0.055)
    return np.asarray(np.where(light <= 0.0031308, light * np.float32(12.92), high) * np.float32(255), np.float32)


def resized(image: Image, size: Size) -> Image:
    """An image (H, W) or (H, W, C) float32 at (width, height): averaged by area; one that grows keeps hard pixels."""
    import cv2

    height, width = image.shape[:2]
    if (width, height) == size:
        return image
    grows = size[0] >= width and size[1] >= height
    how = cv2.INTER_NEAREST if grows else cv2.INTER_AREA
    return np.asarray(cv2.resize(np.ascontiguousarray(image), size, interpolation=how), np.float32)


def as_picture(values: Image) -> Picture:
    """Values 0..255, finite, rounded to uint8; what is outside is clipped."""
    return np.asarray(np.rint(np.clip(values, 0.0, 255.0)), np.uint8)


class Display:
    """How pictures are shown.

    Attributes:
        caption: in words, for people.
    """

    def __init__(
        self, config: Config, *, display: str | None = None, view: str | None = None, plain: bool = True
    ) -> None:
        """Chooses plain sRGB, or a display and view of the config.

        Args:
            config: the config.
            display: None: the config's default where a view is named.
            view: None: the display's default where a display is named.
            plain: both None: plain sRGB; false: the config's default display and its default view.

        Raises:
            ColorError: no such display or view; the closest names are in the message.
        """
        self._rec709 = Rec709(config)
        self._processor: Any = None
        self.caption = PLAIN
        if plain and display is None and view is None:
            return
        native = config.native
        display = _named(display or native.getDefaultDisplay(), native.getDisplays(), "--display", config)
        view = _named(view or native.getDefaultView(display), native.getViews(display), "--view", config)
        self._linear = PlateSpace(config, config.scene_linear().name)
        self._processor = _view_processor(config, self._linear.name, display, view)
        self.caption = f"display {display}, view {view}"

    def picture(self, linear: Image, space: PlateSpace, size: Size) -> Picture:
        """An 8-bit picture.

        Args:
            linear: (H, W, 3) float32, scene-linear RGB of `space`, finite; may be changed.
            space: the space.
            size: width and height of the picture.

        Returns:
            (height, width, 3) uint8 RGB: code values of the display.
        """
        if self._processor is None:
            # clipped first and averaged as light: what the full-size picture looks like from further away
            light = resized(np.clip(self._rec709.convert(linear, space), 0.0, 1.0), size)
            return as_picture(srgb_encoded(light))
        self._linear.convert_from(space, linear)
        shown = np.ascontiguousarray(resized(linear, size))
        self._processor.applyRGB(shown)
        return as_picture(np.nan_to_num(shown) * np.float32(255))


def _view_processor(config: Config, source: str, display: str, view: str) -> Any:
    import PyOpenColorIO as ocio

    transform = ocio.DisplayViewTransform(src=source, display=display, view=view)
    forward = ocio.TransformDirection.TRANSFORM_DIR_FORWARD
    return config.processor(transform, forward, what=f"showing {view!r} on {display!r}").getDefaultCPUProcessor()


def _named(asked: str, known: Iterable[str], option: str, config: Config) -> str:
    """The display or view that is meant, whatever the case of its letters."""
    names = list(known)
    found = next((name for name in names if name.casefold() == asked.casefold()), None)
    if found is not None:
        return found
    lower = {name.casefold(): name for name in names}
    parts = [name for key, name in lower.items() if len(asked) >= 3 and asked.casefold() in key]
    close = parts or [lower[key] for key in difflib.get_close_matches(asked.casefold(), lower, n=3, cutoff=0.5)]
    hint = f"did you mean {' or '.join(map(repr, close[:3]))}?" if close else f"there are {', '.join(names)}"
    raise ColorError(f"{option}: expected one of {config.origin}, got {asked!r}; {hint}")
