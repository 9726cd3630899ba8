"""From the size at which motion is estimated to that of the plate: keys are sampled at full size along the motion.

Flows, weights, fills and confidence are smooth and are interpolated; the property is not. A key counts less at pixels
that it shows darker or brighter than the target is, so that edges fall where the plate has them. One row is finished
before the next, so that nothing but the result is as large as the picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stpn.engine.carriers import Carrier
from stpn.engine.mixture import Mixing, Mixture
from stpn.engine.stages import stage

Image = NDArray[np.float32]

# rows that one call works on
_BAND = 64
# lightness (0..100) by which a key may differ from the target before it counts half
_ALIKE = np.float32(5)

_OPTIONS: dict[str, Any] = {
    "nogil": True, "cache": True, "error_model": "numpy", "fastmath": {"contract", "nsz", "arcp", "reassoc"}
}  # fmt: skip


class FullSizeCarrier(Carrier):
    """Carries at full size what was mixed at the working size; see `stpn.engine.carriers.Carrier`."""

    def __init__(
        self,
        mixing: Mixing,
        keys: Image,
        lightness: Callable[[int], Image],
        factor: int,
        parallel: Callable[..., Iterable[Any]] = map,
    ) -> None:
        """Takes what is known at both sizes.

        Args:
            mixing: at the working size, of keys in the order of `keys`.
            keys: of `full_size_keys`.
            lightness: gives (H, W) float32, 0..100, of a target frame.
            factor: how many times smaller the working size is; see `stpn.engine.working_size`.
            parallel: like `map`, for bands of rows.
        """
        self._mixing, self._keys, self._lightness = mixing, keys, lightness
        self._factor, self._parallel = factor, parallel

    def carry(self, frame: int) -> tuple[Image, Image]:
        """See `Carrier`."""
        return self.carry_batch([frame])[0]

    def carry_batch(self, frames: Sequence[int]) -> list[tuple[Image, Image]]:
        """See `Carrier`."""
        out = []
        for frame, mixture in zip(frames, self._mixing.mixtures(frames), strict=True):
            light = self._lightness(frame)
            out.append(at_full_size(mixture, self._keys, light, self._factor, self._parallel))
        return out


def full_size_keys(keys: Sequence[tuple[Image, Image]]) -> Image:
    """The keys as `at_full_size` takes them.

    Args:
        keys: property (H, W, C) and lightness (H, W), 0..100, of each key; float32.

    Returns:
        (K, H, W, C + 1) float32, lightness last.
    """
    height, width, channels = keys[0][0].shape
    packed = np.empty((len(keys), height, width, channels + 1), np.float32)
    for place, (prop, lightness) in zip(packed, keys, strict=True):
        place[..., :channels], place[..., channels] = prop, lightness
    return packed


def at_full_size(
    mixture: Mixture,
    keys: Image,
    lightness: Image,
    factor: int,
    parallel: Callable[..., Iterable[Any]] = map,
) -> tuple[Image, Image]:
    """The property (H, W, C) of a frame and its confidence (H, W), float32.

    Args:
        mixture: at the working size.
        keys: of `full_size_keys`.
        lightness: (H, W) float32, 0..100, of the target.
        factor: how many times smaller the working size is.
        parallel: like `map`, for bands of rows.
    """
    height, width = lightness.shape
    channels = keys.shape[3] - 1
    planes = _planes(mixture, factor)
    values = np.empty((height, width, channels), np.float32)
    confidence = np.empty((height, width), np.float32)
    which, flat = np.array(mixture.keys, np.uint64), keys.reshape(-1)
    given = planes, which, flat, np.ascontiguousarray(lightness), factor, values, confidence

    def band(top: int) -> None:
        with stage("sampling at full size"):
            _finish(*given, top, min(top + _BAND, height))

    for _ in parallel(band, range(0, height, _BAND)):
        pass
    return values, confidence


def _planes(mixture: Mixture, factor: int) -> Image:
    """(P, h, w): of each candidate x and y of its flow, in pixels of full size, and weight; the rest."""
    count, channels = len(mixture.keys), mixture.fill.shape[2]
    planes = np.empty((3 * count + channels + 2, *mixture.unsure.shape), np.float32)
    for n in range(count):
        planes[3 * n : 3 * n + 2] = np.moveaxis(mixture.flows[n], 2, 0) * np.float32(factor)
        planes[3 * n + 2] = mixture.weights[n]
    planes[3 * count : -2] = np.moveaxis(mixture.fill, 2, 0)
    planes[-2], planes[-1] = mixture.unsure, mixture.confidence
    return planes


@njit(**_OPTIONS)
def _columns(width, small_width, factor):  # type: ignore[no-untyped-def]
    """Of each column its neighbours at the working size, and the share of the right one."""
    left, right = np.empty(width, np.uint64), np.empty(width, np.uint64)
    share = np.empty(width, np.float32)
    for j in range(width):
        x = (np.float32(j) + np.float32(0.5)) / np.float32(factor) - np.float32(0.5)
        first = int(np.floor(x))
        share[j] = x - np.float32(first)
        left[j], right[j] = min(max(first, 0), small_width - 1), min(max(first + 1, 0), small_width - 1)
    return left, right, share


@njit(**_OPTIONS)
def _finish(planes, which, keys, lightness, factor, values, confidence, top, bottom):  # type: ignore[no-untyped-def]
    """Rows from `top` to before `bottom`."""
    count, small_height, small_width = planes.shape
    height, width = lightness.shape
    channels = values.shape[2]
    left, right, share = _columns(width, small_width, factor)
    line, row = np.empty(small_width, np.float32), np.empty((count, width), np.float32)
    # unsigned, because of a signed index the compiler asks whether it counts from the end
    step, stride = np.uint64(channels + 1), np.uint64(width * (channels + 1))
    at, across, down = np.empty(width, np.uint64), np.empty(width, np.uint64), np.empty(width, np.uint64)
    parts_x, parts_y = np.empty(width, np.float32), np.empty(width, np.float32)
    seen, total = np.empty((channels + 1, width), np.float32), np.empty(width, np.float32)
    sums = np.empty((channels, width), np.float32)
    last_x, last_y = np.float32(width - 1), np.float32(height - 1)
    alike = _ALIKE * _ALIKE
    for i in range(top, bottom):
        y = (np.float32(i) + np.float32(0.5)) / np.float32(factor) - np.float32(0.5)
        first = int(np.floor(y))
        part = y - np.float32(first)
        above, below = min(max(first, 0), small_height - 1), min(max(first + 1, 0), small_height - 1)
        for p in range(count):
            for j in range(small_width):
                line[j] = planes[p, above, j] + part * (planes[p, below, j] - planes[p, above, j])
            for j in range(width):
                row[p, j] = line[left[j]] + share[j] * (line[right[j]] - line[left[j]])
        total[:] = 0
        sums[:] = 0
        for n in range(which.size):
            base = which[n] * np.uint64(height) * stride
            for j in range(width):
                x, y = np.float32(j) + row[3 * n, j], np.float32(i) + row[3 * n + 1, j]
                # compared this way round, what is no number becomes 0
                x = min(x, last_x) if x > 0 else np.float32(0)
                y = min(y, last_y) if y > 0 else np.float32(0)
                parts_x[j], parts_y[j] = x - np.floor(x), y - np.floor(y)
                at[j] = base + np.uint64(y) * stride + np.uint64(x) * step
                across[j] = step if x < last_x else np.uint64(0)
                down[j] = stride if y < last_y else np.uint64(0)
            for j in range(width):
                q11 = parts_x[j] * parts_y[j]
                q01, q10 = parts_x[j] - q11, parts_y[j] - q11
                q00 = np.float32(1) - parts_x[j] - q10
                p00, p10 = at[j], at[j] + down[j]
                p01, p11 = p00 + across[j], p10 + across[j]
                for c in range(channels + 1):
                    o = np.uint64(c)
                    seen[c, j] = q00 * keys[p00 + o] + q01 * keys[p01 + o] + q10 * keys[p10 + o] + q11 * keys[p11 + o]
            for j in range(width):
                off = seen[channels, j] - lightness[i, j]
                weight = row[3 * n + 2, j] * alike / (alike + off * off)
                total[j] += weight
                for c in range(channels):
                    sums[c, j] += weight * seen[c, j]
        for j in range(width):
            unsure = row[count - 2, j]
            for c in range(channels):
                mean = sums[c, j] / total[j]
                values[i, j, c] = mean + unsure * (row[count - 2 - channels + c, j] - mean)
            confidence[i, j] = row[count - 1, j]
