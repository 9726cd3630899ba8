"""A plate beyond the working size: motion and network see it reduced, and its light is found pixel by pixel.

What clips is as light in every frame as in any other, whatever the exposure, so that no key counts less for showing
more of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stpn.engine.alignment import Image
from stpn.engine.properties.clipping import KNOWN, alpha_of, blindness_of, lightness_of, lightness_of_light
from stpn.engine.properties.response import Response
from stpn.engine.stages import stage
from stpn.engine.working_size import reduced

# rows that one call works on, or a few more or less
_BAND = 64
# of a table that tells where in a curve to look
_CELLS = 4096


@dataclass(frozen=True)
class _Look:
    """A frame at the size of the plate: code values, radiance, both (H, W, 3), and lightness (H, W), 0..100."""

    frame: int
    codes: Image
    inverse: Image
    lightness: Image


class TwoSizes:
    """The frames of a span at both sizes; safe to use from several threads, each of which keeps its last frame."""

    def __init__(
        self,
        response: Response,
        ldr: Mapping[int, Image],
        known: Mapping[int, Image] | None,
        factor: int,
        within: Callable[..., Iterable[Any]] = map,
    ) -> None:
        """Takes what is known of the plate.

        Args:
            response: of its camera.
            ldr, known: at full size; see `stpn.engine.properties.hdr.HdrCarrier`.
            factor: how many times smaller the working size is; see `stpn.engine.working_size`.
            within: like `map`, for bands of rows.
        """
        self._response, self._ldr, self._known, self._factor = response, ldr, known, factor
        self._within = within
        exposures = list(response.stops.values())
        # what clips in any frame is brighter than this in each
        self._most = np.float32(2.0 ** (min(exposures) - max(exposures)))
        self._curves = None if response.curves is None else [_table(*curve) for curve in response.curves]
        self._last = threading.local()

    def reduced(self, frame: int, codes: Image | None = None) -> tuple[Image, NDArray[np.float16]]:
        """Lightness (h, w), 0..100, and the share of each pixel that clips (h, w), 0..1, at the working size.

        Args:
            frame: its number.
            codes: of the frame, where they are at hand.
        """
        codes = self._ldr[frame] if codes is None else codes
        with stage("color in"):
            given = reduced(codes if self._known is None else self._known[frame], self._factor)
            light = lightness_of(self._response.to_log(self._response.inverse(given, frame)))
            share = reduced(self._response.clipped(codes).astype(np.float32), self._factor)
            return light, share.astype(np.float16)  # one of every frame is kept

    def shown(self, frame: int) -> tuple[Image, Image]:
        """What the plate shows of ln(H / clip + 0.01), and how far it does not, both (h, w, 3), at the working size."""
        look = self._look(frame)
        size = *(-(-length // self._factor) for length in look.lightness.shape), 3
        log, blind = np.empty(size, np.float32), np.empty(size, np.float32)

        def band(rows: slice) -> None:
            small = slice(rows.start // self._factor, -(-rows.stop // self._factor))
            with stage("color in"):
                log[small] = reduced(self._response.to_log(look.inverse[rows]), self._factor)
                blind[small] = reduced(blindness_of(self._level(look.codes[rows])), self._factor)

        self._in_bands(band, len(look.lightness))
        return log, blind

    def lightness(self, frame: int, codes: Image | None = None) -> Image:
        """(H, W) float32, 0..100, by which a key and a target are compared; `codes` as for `reduced`."""
        return (self._look(frame) if codes is None else self._made(frame, codes)).lightness

    def joined(self, frame: int, carried: Image, confidence: Image) -> tuple[Image, Image]:
        """As `HdrCarrier.joined`, and the confidence (H, W) of that.

        Args:
            frame: its number.
            carried: (H, W, 3) float32, ln(H / clip + 0.01).
            confidence: (H, W) float32, 0..1, of `carried`.
        """
        look = self._look(frame)
        self._last.look = None  # its light becomes the result
        radiance, sure = look.inverse, np.ones_like(confidence)

        def band(rows: slice) -> None:
            with stage("color out"):
                self._join(radiance[rows], look.codes[rows], carried[rows], confidence[rows], sure[rows])

        self._in_bands(band, len(sure))
        return radiance, sure

    def _join(self, radiance: Image, codes: Image, carried: Image, confidence: Image, sure: Image) -> None:
        level = self._level(codes)
        blind = level > np.float32(KNOWN)
        pixels = blind[..., 0] | blind[..., 1] | blind[..., 2]
        if not pixels.any():
            return
        own, seen = radiance[pixels], level[pixels][None]
        lost = (alpha_of(seen) * blindness_of(seen))[0]
        shown = self._response.to_log(own)
        mixed = self._response.from_log((1 - lost) * shown + lost * np.maximum(carried[pixels], shown))
        radiance[pixels] = np.where(lost > 0, mixed, own)
        sure[pixels] = 1 - lost.max(axis=1) * (1 - confidence[pixels])

    def _look(self, frame: int) -> _Look:
        last: _Look | None = getattr(self._last, "look", None)
        if last is None or last.frame != frame:
            last = self._last.look = self._made(frame, self._ldr[frame])
        return last

    def _made(self, frame: int, codes: Image) -> _Look:
        inverse, light = np.empty(codes.shape, np.float32), np.empty(codes.shape[:2], np.float32)
        known = None if self._known is None else self._known[frame]
        gain, clip = self._response.gain(frame), np.float32(self._response.clip)

        def band(rows: slice) -> None:
            with stage("color in"):
                if self._curves is None:
                    assert known is not None
                    inverse[rows] = self._response.inverse(known[rows], frame)
                else:
                    for channel, curve in enumerate(self._curves):
                        _invert(codes[rows], channel, curve, gain, inverse[rows])
                light[rows] = lightness_of_light(np.clip(inverse[rows] / clip, 0, self._most))

        self._in_bands(band, len(light))
        return _Look(frame, codes, inverse, light)

    def _level(self, codes: Image) -> Image:
        return np.asarray(codes / np.float32(self._response.level), np.float32)

    def _in_bands(self, work: Callable[[slice], None], height: int) -> None:
        step = self._factor * max(1, _BAND // self._factor)
        for _ in self._within(work, (slice(top, min(top + step, height)) for top in range(0, height, step))):
            pass


def _table(codes: Image, light: Image) -> tuple[Any, ...]:
    """A curve as `_invert` takes it: its knots, slopes, and the knot at which each of many cells begins."""
    x, y = np.asarray(codes, np.float64), np.asarray(light, np.float64)
    edges = np.linspace(x[0], x[-1], _CELLS + 1)
    begins = np.clip(np.searchsorted(x, edges, side="right") - 1, 0, len(x) - 2)
    return x, y, np.diff(y) / np.diff(x), begins, float(_CELLS / (x[-1] - x[0]))


@njit(nogil=True, cache=True, error_model="numpy")
def _invert(given, channel, curve, gain, out):  # type: ignore[no-untyped-def]
    """One channel of `Response.inverse`, to the last bit: numpy's own search takes ten times as long."""
    x, y, slope, begins, cells = curve
    first, last = x[0], x[-1]
    for i in range(given.shape[0]):
        for j in range(given.shape[1]):
            at = np.float64(given[i, j, channel])
            if at >= last:
                found = y[-1]
            elif at > first:
                k = begins[int((at - first) * cells)]
                while x[k] > at:
                    k -= 1
                while x[k + 1] <= at:
                    k += 1
                found = y[k] if x[k] == at else slope[k] * (at - x[k]) + y[k]
            else:
                found = y[0]
            out[i, j, channel] = np.float32(found * gain)
