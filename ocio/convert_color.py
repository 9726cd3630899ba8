"""The color transform of a conversion: OCIO's on the CPU, or its formulas in torch; and around it, alpha.

Pixels go through in bands of rows that stay in the processor's cache: half to float, transform, float to half. That
gives the same bits as whole frames do, in a third of the time.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from stpn.ocio.config import ColorError, Config
from stpn.ocio.raster import normalized

if TYPE_CHECKING:
    from stpn.ocio.analytic import Analytic

Array = npt.NDArray[Any]
Image = npt.NDArray[np.float32]

ROWS = 32
"""Rows of a band."""

SMALLEST_ALPHA = 2.0**-24
"""The smallest half above 0: color under less alpha is light without a surface, and is not divided."""


class Runs(Protocol):
    """What changes the pixels of an image in place."""

    def apply(self, image: Image) -> None:
        """(H, W, 4) float32, contiguous, alpha 1 and of no interest, in place."""


@dataclass(frozen=True)
class ColorTransform:
    """A color transform, ready to run.

    Attributes:
        source: Name of the color space it takes.
        space: Name of the color space it makes; of a view, that of its display.
        display, view, look: Where these were asked for, their names.
        processor: The PyOpenColorIO.Processor.
        is_identity: It changes nothing.
        is_linear: It is a matrix without an offset, so that premultiplied color needs no division.
        keeps_grey: Equal red, green and blue stay equal, so that luminance alone can be converted.
        runs: What does it; safe to use from several threads.
    """

    source: str
    space: str
    display: str | None
    view: str | None
    look: str | None
    processor: Any
    is_identity: bool
    is_linear: bool
    keeps_grey: bool
    runs: Runs

    def described(self) -> str:
        """For people: "ACEScg to ACES2065-1"."""
        made = f"{self.display} - {self.view}" if self.display is not None else self.space
        return f"{self.source} to {made}" + (f" with look {self.look}" if self.look is not None else "")


class _OnCpu:
    """OCIO's own CPU processor."""

    def __init__(self, processor: Any) -> None:
        import PyOpenColorIO as ocio

        # Lossless leaves out OCIO's fast logarithms and its clamping LUT inversion.
        self._processor = processor.getOptimizedCPUProcessor(ocio.OPTIMIZATION_LOSSLESS)

    def apply(self, image: Image) -> None:
        import PyOpenColorIO as ocio

        # with a fourth channel OCIO works in place, three it copies
        self._processor.apply(ocio.PackedImageDesc(image, image.shape[1], image.shape[0], 4))


class OnTorch:
    """The formulas of a transform on a device of torch, one image at a time."""

    def __init__(self, formulas: Analytic, device: str) -> None:
        """Takes formulas and the name of a torch device, such as "cuda" or "cpu"."""
        self._formulas = formulas
        self._device = device
        self._lock = threading.Lock()

    def apply(self, image: Image) -> None:
        """(H, W, 4) float32, contiguous, in place; alpha stays."""
        import torch

        with self._lock, torch.no_grad():
            there = torch.from_numpy(image).to(self._device)[:, :, :3].permute(2, 0, 1).unsqueeze(0).contiguous()
            done = self._formulas.apply(there)[0].permute(1, 2, 0).contiguous()
            image[:, :, :3] = done.cpu().numpy()


def color_transform(
    config: Config,
    source: str,
    *,
    target: str | None = None,
    look: str | None = None,
    display: str | None = None,
    view: str | None = None,
    device: str = "cpu",
) -> ColorTransform:
    """Prepares a transform.

    Args:
        config: The config.
        source: The space of the pixels: name, role or alias.
        target: The space wanted; None: that of the display, or the source's own.
        look: Looks of the config as OCIO writes them: "grade", "+grade, -other".
        display: A display of the config.
        view: One of its views.
        device: "cpu" for OCIO itself, or "cuda" for its formulas in torch.

    Raises:
        ColorError: The config lacks one of these, cannot do it, or it is no formula where a GPU is to run it.
    """
    import PyOpenColorIO as ocio

    first = config.color_space(source).name
    last = first if target is None else config.color_space(target).name
    steps: list[Any] = []
    if look is not None:
        _check_looks(config, look)
        steps.append(ocio.LookTransform(src=first, dst=last, looks=look, skipColorSpaceConversion=False))
    elif first != last:
        steps.append(ocio.ColorSpaceTransform(src=first, dst=last))
    if display is not None and view is not None:
        _check_view(config, display, view)
        steps.append(ocio.DisplayViewTransform(src=last, display=display, view=view))
        last = _display_space(config, display, view)
    made = f"{display} - {view}" if display is not None else last
    processor = config.processor(
        ocio.GroupTransform(steps), ocio.TransformDirection.TRANSFORM_DIR_FORWARD, what=f"taking {first!r} to {made!r}"
    )
    lossless = processor.getOptimizedProcessor(ocio.OPTIMIZATION_LOSSLESS)
    operations = list(lossless.createGroupTransform())
    runs: Runs = _OnCpu(processor)
    if device != "cpu":
        from stpn.ocio.analytic import from_processor

        runs = OnTorch(from_processor(processor, source=first, target=made, where=config.origin), device)
    return ColorTransform(
        source=first,
        space=last,
        display=display,
        view=view,
        look=look,
        processor=processor,
        is_identity=bool(lossless.isNoOp()) or not operations,
        is_linear=all(isinstance(step, ocio.MatrixTransform) and not any(step.getOffset()) for step in operations),
        keeps_grey=_keeps_grey(runs),
        runs=runs,
    )


def _display_space(config: Config, display: str, view: str) -> str:
    name = config.native.getDisplayViewColorSpaceName(display, view)
    found = config.find(display if name in ("<USE_DISPLAY_NAME>", "") else name)
    return found.name if found is not None else display


def _check_view(config: Config, display: str, view: str) -> None:
    displays = list(config.native.getDisplays())
    if display not in displays:
        raise ColorError(
            f"expected a display of {config.origin}, got {display!r}; it has {', '.join(map(repr, displays))}"
        )
    views = list(config.native.getViews(display))
    if view not in views:
        raise ColorError(
            f"expected a view of display {display!r} in {config.origin}, got {view!r}; it has"
            f" {', '.join(map(repr, views))}"
        )


def _check_looks(config: Config, looks: str) -> None:
    known = [look.getName() for look in config.native.getLooks()]
    for name in looks.replace("|", ",").split(","):
        bare = name.strip().lstrip("+-").strip()
        if bare not in known:
            listed = ", ".join(map(repr, known)) or "none"
            raise ColorError(f"expected a look of {config.origin}, got {bare!r}; it has {listed}")


def _keeps_grey(runs: Runs) -> bool:
    levels = np.array([0.0, 0.01, 0.18, 0.5, 1.0], np.float32)
    image = np.ones((1, levels.size, 4), np.float32)
    image[:, :, :3] = levels[None, :, None]
    runs.apply(image)
    image = image[:, :, :3]
    return bool(np.ptp(image, axis=2).max() <= 1e-3 * max(1.0, float(np.abs(image).max())))


def converted(
    runs: Runs | None,
    channels: Sequence[Array],
    alpha: Array | None,
    dtype: npt.DTypeLike,
    *,
    divide: bool = False,
    multiply: bool = False,
) -> list[Array]:
    """Returns color channels through a transform.

    Args:
        runs: The transform; None: none, alpha alone is divided by or multiplied with.
        channels: Red, green, blue, or luminance alone; (H, W) each: half, float32, or integers, which are 0..1.
            Not changed.
        alpha: (H, W) of the same, or None.
        dtype: What the results are to be: np.float16 or np.float32.
        divide: Whether color is divided by alpha before the transform.
        multiply: Whether it is multiplied with alpha behind it.

    Returns:
        As many new arrays (H, W). Beyond 65504 a half becomes infinite.
    """
    import cv2

    height, width = channels[0].shape
    results = [np.empty((height, width), dtype) for _ in channels]
    rows = height if isinstance(runs, OnTorch) else min(ROWS, height)
    image = np.empty((rows, width, 4), np.float32)
    planes = np.ones((4, rows, width), np.float32)
    ones = {np.dtype(kind): np.ones((rows, width), kind) for kind in (np.float16, np.float32)}
    for top in range(0, height, rows):
        here = slice(top, min(top + rows, height))
        count = here.stop - here.start
        band, plane = image[:count], planes[:, :count]
        for index in range(3):
            _widen(channels[index % len(channels)][here], plane[index], ones)
        cv2.merge([*plane[:3], ones[np.dtype(np.float32)][:count]], band)
        share = normalized(alpha[here]) if alpha is not None and (divide or multiply) else None
        if share is None or np.all(share == 1.0):
            if runs is not None:
                runs.apply(band)
        else:
            _transform_with_alpha(runs, band[:, :, :3], band, share, divide, multiply)
        cv2.split(band, list(plane))
        for index, result in enumerate(results):
            _narrow(plane[index], result[here], ones)
    return results


def _widen(channel: Array, plane: Image, ones: dict[np.dtype[Any], Array]) -> None:
    """A channel as float32; integers as 0..1. A product with 1 keeps every bit, the sign of zero included."""
    import cv2

    if channel.dtype == np.float16:
        cv2.multiply(channel, ones[channel.dtype][: len(channel)], plane, dtype=cv2.CV_32F)
    else:
        plane[...] = normalized(channel) if channel.dtype.kind == "u" else channel


def _narrow(plane: Image, result: Array, ones: dict[np.dtype[Any], Array]) -> None:
    """Float32 as the type of the result; a product with 1 rounds as numpy does, three times as fast."""
    import cv2

    if result.dtype == np.float16:
        cv2.multiply(plane, ones[plane.dtype][: len(plane)], result, dtype=cv2.CV_16F)
    else:
        result[...] = plane


def _transform_with_alpha(
    runs: Runs | None, color: Image, band: Image, alpha: Image, divide: bool, multiply: bool
) -> None:
    """Transforms a band whose color, its first three channels, is divided by alpha before or multiplied with it behind.

    Where alpha is 0 or no number, color that is both is transformed as it stands, and black stays black: the limit of
    what alpha near 0 gives.
    """
    covered = np.isfinite(alpha) & (alpha >= SMALLEST_ALPHA)
    black = ~covered & np.all(color == 0.0, axis=2)
    factor = np.where(covered, alpha, np.float32(1.0))[:, :, None]
    with np.errstate(all="ignore"):
        if divide:
            color /= factor
        if runs is not None:
            runs.apply(band)
        if multiply:
            color *= factor if divide else alpha[:, :, None]
    if multiply:
        color[black] = 0.0
