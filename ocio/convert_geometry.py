"""Crop and resize: what becomes of data and display windows, and of the channels in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from stpn.ocio.convert_request import ConvertRequestError, Resize
from stpn.ocio.plate_info import MAXIMUM_PIXEL_BYTES, Window

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Geometry:
    """What is done to the windows and pixels of a part.

    Attributes:
        source: Its data window.
        cropped: The data window after the crop, in the same coordinates.
        data, display: The windows that come out.
    """

    source: Window
    cropped: Window
    data: Window
    display: Window

    @property
    def keeps_pixels(self) -> bool:
        """Whether the pixels stay as they are; the windows may not."""
        return self.source == self.cropped and _size(self.cropped) == _size(self.data)

    @property
    def resizes(self) -> bool:
        """Whether there will be another number of pixels for the same picture."""
        return _size(self.cropped) != _size(self.data)


def _size(window: Window) -> tuple[int, int]:
    return window[2] - window[0] + 1, window[3] - window[1] + 1


def plan_geometry(
    data: Window, display: Window, crop: str | None, resize: Resize | None, pixel_bytes: int = 4
) -> Geometry:
    """Returns the windows that come out.

    A crop to the display window makes it the data window too; a crop to the data window makes that the display window.
    Then both are resized, about the upper left corner of the display window, to the nearest pixel.

    Args:
        data: The data window.
        display: The display window.
        crop: "display", "window" or None.
        resize: The new size of the display window, or None.
        pixel_bytes: Of a pixel over all channels.

    Raises:
        ConvertRequestError: The result is too large.
    """
    cropped = display if crop == "display" else data
    display = data if crop == "window" else display
    if resize is None:
        new_data, new_display = cropped, display
    else:
        columns, rows = _size(display)
        x_factor, y_factor = resize.factor, resize.factor
        if not resize.factor:
            x_factor, y_factor = resize.columns / columns, resize.rows / rows
        left, top = display[0], display[1]

        def scaled(window: Window) -> Window:
            width, height = _size(window)
            x, y = left + round((window[0] - left) * x_factor), top + round((window[1] - top) * y_factor)
            return (
                x,
                y,
                x + max(1, round(width * x_factor)) - 1,
                y + max(1, round(height * y_factor)) - 1,
            )

        new_data, new_display = scaled(cropped), scaled(display)
    width, height = _size(new_data)
    claimed = width * height * pixel_bytes
    if claimed > MAXIMUM_PIXEL_BYTES and new_data != data:
        raise ConvertRequestError(
            f"--crop, --resize: expected at most {MAXIMUM_PIXEL_BYTES >> 30} GiB of pixels, got {width} x {height},"
            f" which take {claimed / 2**30:.1f} GiB; ask for less, or --crop window"
        )
    return Geometry(data, cropped, new_data, new_display)


def cropped_array(array: Array, geometry: Geometry) -> Array:
    """Returns a channel (H, W) of the source window as one of the cropped window; 0 where there were no pixels."""
    source, wanted = geometry.source, geometry.cropped
    if source == wanted:
        return array
    width, height = _size(wanted)
    left, top = max(source[0], wanted[0]), max(source[1], wanted[1])
    right, bottom = min(source[2], wanted[2]), min(source[3], wanted[3])
    result = np.zeros((height, width), array.dtype)
    if left <= right and top <= bottom:
        result[top - wanted[1] : bottom - wanted[1] + 1, left - wanted[0] : right - wanted[0] + 1] = array[
            top - source[1] : bottom - source[1] + 1, left - source[0] : right - source[0] + 1
        ]
    return result


def resized_array(array: Array, geometry: Geometry, *, smooth: bool) -> Array:
    """Returns a channel (H, W) of the cropped window as one of the new data window, of the same type.

    Args:
        array: The channel.
        geometry: From `plan_geometry`.
        smooth: True averages the area that a smaller picture's pixel covers, and interpolates linearly in a larger
            one: no value leaves the range of its neighbours. False takes the nearest pixel: IDs, normals and depth
            have no mean.
    """
    import cv2

    if not geometry.resizes:
        return array
    width, height = _size(geometry.data)
    rows, columns = array.shape
    if not smooth:
        x = np.minimum((np.arange(width) + 0.5) * columns / width, columns - 1).astype(np.intp)
        y = np.minimum((np.arange(height) + 0.5) * rows / height, rows - 1).astype(np.intp)
        return np.ascontiguousarray(array[y[:, None], x[None, :]])
    method = cv2.INTER_AREA if width <= columns and height <= rows else cv2.INTER_LINEAR
    mean = cv2.resize(np.ascontiguousarray(array, np.float32), (width, height), interpolation=method)
    if array.dtype.kind == "u":
        return np.asarray(np.rint(mean).astype(array.dtype))
    with np.errstate(over="ignore"):
        return np.asarray(mean.astype(array.dtype))
