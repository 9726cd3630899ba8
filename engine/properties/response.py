"""The camera's response, found from keys: what radiance stands behind a code value of the plate.

A key frame is there twice, as the plate's picture and as scene-linear radiance. Every code value of a channel is seen
at many pixels; the median of their radiance, made monotone over the codes, is the inverse of the camera's curve. Where
the plate clips it says nothing, so the curve is continued from below.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from stpn.engine.properties.key_match import mismatch

Image = NDArray[np.float32]
Curve: TypeAlias = tuple[Image, Image]
"""Code values, ascending, and radiances."""

# ln(H + EPSILON), with H relative to where the plate clips
EPSILON = np.float32(0.01)

# of the clip level: above it a pixel may be clipped and have lost some light to noise
SAFE = 0.95
# a plateau of so many pixels is where the plate clips
_PLATEAU = 1e-4
_KNOTS = 512
_ENOUGH = 250_000  # pixels of a picture that are looked at
_FEWEST = 500  # pixels of a channel that tell its curve
_STOPS = 4.0


class ResponseError(Exception):
    """Keys do not match the plate; the message says how, `frame` which key."""

    def __init__(self, frame: int, reason: str) -> None:
        super().__init__(f"frame {frame}: {reason}")
        self.frame = frame


@dataclass(frozen=True)
class KeyPair:
    """One key frame.

    Attributes:
        frame: its number.
        ldr: (H, W, 3) float32, code values of the plate, 0..1; or what the plate holds, for a clipped scene-linear one.
        radiance: (H, W, 3) float32, scene-linear, of the key.
    """

    frame: int
    ldr: Image
    radiance: Image


@dataclass(frozen=True)
class Response:
    """What a plate's values mean.

    Attributes:
        level: the code value at which the plate clips.
        clip: radiance at which it clips; the mean of the channels.
        stops: of each key frame: how much more light its picture got than the first key's.
        curves: of each channel, ascending knots of code value and radiance; None: the plate is given as radiance, by a
            curve that has a name.
    """

    level: float
    clip: float
    stops: dict[int, float]
    curves: tuple[Curve, Curve, Curve] | None = None

    def inverse(self, given: Image, frame: int) -> Image:
        """Radiance (H, W, 3) float32 behind a plate frame; what is clipped is at least as bright.

        Args:
            given: (H, W, 3) float32 code values, or, where there are no curves, radiance up to exposure.
            frame: its number; a camera that changes its exposure does so evenly from key to key.
        """
        gain = self.gain(frame)
        if self.curves is None:
            return np.asarray(given * np.float32(gain), np.float32)
        light = np.empty(given.shape, np.float32)
        for c, curve in enumerate(self.curves):
            light[..., c] = np.interp(given[..., c], *curve) * gain
        return light

    def gain(self, frame: int) -> float:
        """What the light behind the curves is multiplied with at a frame."""
        frames = sorted(self.stops)
        return float(2.0 ** -np.interp(frame, frames, [self.stops[key] for key in frames]))

    def clipped(self, ldr: Image) -> NDArray[np.bool_]:
        """Where a plate frame (H, W, 3) clips in any channel, (H, W)."""
        return np.asarray(_brightest(ldr) >= 0.98 * self.level)

    def to_log(self, radiance: Image) -> Image:
        """ln(H / clip + 0.01) of radiance; below black counts as black."""
        return np.asarray(np.log(np.maximum(radiance, 0) / np.float32(self.clip) + EPSILON), np.float32)

    def from_log(self, log: Image) -> Image:
        """Radiance of ln(H / clip + 0.01)."""
        return np.asarray((np.exp(log) - EPSILON) * np.float32(self.clip), np.float32)


def fit_response(pairs: Sequence[KeyPair]) -> Response:
    """The response that explains all pairs.

    Args:
        pairs: one or more key frames of one plate, ascending.

    Raises:
        ResponseError: a key is no picture of the same thing as its plate frame, is shifted against it, or its exposure
            is another one by more than 4 stops; the plate clips everywhere.
    """
    level = clip_level([pair.ldr for pair in pairs])
    samples = [_samples(pair, level) for pair in pairs]
    for pair, sample in zip(pairs, samples, strict=True):
        if min(len(codes) for codes, _ in sample) < _FEWEST:
            raise _nothing_told(pair.frame)
    # the first key tells the curve, then all of them together
    curves = [_curve([samples[0][c]]) for c in range(3)]
    stops = [_stops(curves, sample) for sample in samples]
    _refuse_exposures(pairs, stops)
    level_samples = [
        [(sample[c][0], sample[c][1] * 2.0**off) for sample, off in zip(samples, stops, strict=True)] for c in range(3)
    ]
    curves = [_curve(level_samples[c]) for c in range(3)]
    pooled = _curve([one for channel in level_samples for one in channel])
    ended = [_continued(curve, pooled, level) for curve in curves]
    clip = float(np.mean([light[-1] for _, light in ended]))
    response = Response(level, clip, _named(pairs, stops), (ended[0], ended[1], ended[2]))
    for pair in pairs:
        _check(pair, pair.ldr, response)
    return response


def fit_exposure(pairs: Sequence[KeyPair], known: Mapping[int, Image]) -> Response:
    """The same for a plate whose curve has a name, so that exposure alone is looked for.

    Args:
        pairs: as for `fit_response`.
        known: (H, W, 3) float32 of each of their frames: the plate's radiance by that curve.

    Raises:
        ResponseError: as `fit_response`.
    """
    level = clip_level([pair.ldr for pair in pairs])
    off = []
    for pair in pairs:
        told = np.isfinite(pair.radiance).all(axis=2) & (pair.ldr.max(axis=2) < SAFE * level)
        told &= (known[pair.frame] > 0).all(axis=2) & (pair.radiance > 0).all(axis=2)
        if told.sum() < _FEWEST:
            raise _nothing_told(pair.frame)
        off.append(float(np.median(np.log2(known[pair.frame][told] / pair.radiance[told]))))
    stops = [one - off[0] for one in off]
    _refuse_exposures(pairs, stops)
    lights = [known[pair.frame].max(axis=2) * 2.0**-one for pair, one in zip(pairs, off, strict=True)]
    ends = [light[pair.ldr.max(axis=2) >= 0.998 * level] for pair, light in zip(pairs, lights, strict=True)]
    end = np.concatenate(ends)
    clip = float(np.median(end)) if end.size else max(float(light.max()) for light in lights)
    response = Response(level, clip, _named(pairs, off))
    for pair in pairs:
        _check(pair, known[pair.frame], response)
    return response


def _named(pairs: Sequence[KeyPair], stops: Sequence[float]) -> dict[int, float]:
    return {pair.frame: off for pair, off in zip(pairs, stops, strict=True)}


def _nothing_told(frame: int) -> ResponseError:
    return ResponseError(
        frame,
        f"expected at least {_FEWEST} pixels of each channel that neither clip nor are black, in plate and key both; "
        "use a frame with more of them as key",
    )


def clip_level(pictures: Sequence[Image]) -> float:
    """The code value at which pictures (H, W, 3) clip: where many pixels are as bright as the brightest, else 1 for
    pictures within 0..1, and the brightest for others."""
    brightest = max(float(picture.max()) for picture in pictures)
    near = np.mean([(_brightest(picture) >= 0.998 * brightest).mean() for picture in pictures])
    return brightest if near >= _PLATEAU or brightest > 1 else 1.0


def _brightest(picture: Image) -> Image:
    """The largest channel (H, W); numpy's own maximum over a last axis that is short takes fifty times as long."""
    return np.maximum(np.maximum(picture[..., 0], picture[..., 1]), picture[..., 2])


def _samples(pair: KeyPair, level: float) -> list[Curve]:
    """Of each channel the code values and radiances of pixels that tell something."""
    height, width = pair.ldr.shape[:2]
    step = max(1, int(np.sqrt(height * width / _ENOUGH)))
    ldr, radiance = pair.ldr[::step, ::step], pair.radiance[::step, ::step]
    usable = np.isfinite(radiance).all(axis=2) & np.isfinite(ldr).all(axis=2)
    out = []
    for c in range(3):
        code, light = ldr[..., c], radiance[..., c]
        told = usable & (code < 0.985 * level) & (code > 0) & (light > 0)
        out.append((code[told], light[told]))
    return out


def _curve(samples: Sequence[Curve]) -> Curve:
    """Knots (codes ascending, radiances ascending) of one channel."""
    codes = np.concatenate([code for code, _ in samples])
    lights = np.concatenate([light for _, light in samples])
    order = np.argsort(codes, kind="stable")
    codes, lights = codes[order], lights[order]
    edges = np.unique(np.searchsorted(codes, np.unique(np.quantile(codes, np.linspace(0, 1, _KNOTS + 1)))))
    groups = list(zip(edges, [*edges[1:], len(codes)], strict=True))
    groups = [(a, b) for a, b in groups if b > a]
    at = np.array([codes[a:b].mean() for a, b in groups])
    median = np.array([np.median(lights[a:b]) for a, b in groups])
    count = np.array([b - a for a, b in groups], np.float64)
    smooth = _smooth(at, np.log(median), count)
    return at.astype(np.float32), np.exp(_monotone(smooth, count)).astype(np.float32)


def _smooth(at: NDArray[np.float64], value: NDArray[np.float64], count: NDArray[np.float64]) -> NDArray[np.float64]:
    """A local line through each knot's neighbours, by the pixels behind each: a rare code has a noisy median."""
    out = np.empty_like(value)
    reach = max(1.2 * float(np.median(np.diff(at))), 1e-6) if len(at) > 2 else 1.0
    for i in range(len(at)):
        low, high = max(0, i - 8), min(len(at), i + 9)
        x, y = at[low:high] - at[i], value[low:high]
        weight = np.minimum(count[low:high], 2000) * np.exp(-0.5 * (x / reach) ** 2)
        s, sx, sxx = weight.sum(), (weight * x).sum(), (weight * x * x).sum() + 1e-12
        sy, sxy = (weight * y).sum(), (weight * x * y).sum()
        slope_free = s * sxx - sx * sx
        out[i] = (sxx * sy - sx * sxy) / slope_free if slope_free > 1e-12 * s * sxx else sy / s
    return out


def _monotone(value: NDArray[np.float64], count: NDArray[np.float64]) -> NDArray[np.float64]:
    """The nearest values that never fall, by least squares: neighbours that fall are pooled."""
    pools: list[list[float]] = []
    for v, n in zip(value, count, strict=True):
        pools.append([float(v), float(n), 1])
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            v2, n2, k2 = pools.pop()
            v1, n1, k1 = pools.pop()
            pools.append([(v1 * n1 + v2 * n2) / (n1 + n2), n1 + n2, k1 + k2])
    return np.repeat([v for v, _, _ in pools], [int(k) for _, _, k in pools])


def _continued(curve: Curve, pooled: Curve, level: float) -> Curve:
    """A channel's curve up to the clip level: from where it is told no more as all channels together go on, and those
    as they come from below; and through 0."""
    codes, light = _longer(*_safe(*pooled, level), level)
    own, own_light = _safe(*curve, level)
    more = codes > own[-1]
    gain = own_light[-1] / np.interp(own[-1], codes, light)
    codes = np.concatenate([[0.0], own, codes[more]])
    return codes.astype(np.float32), np.concatenate([[0.0], own_light, light[more] * gain]).astype(np.float32)


def _safe(codes: Image, light: Image, level: float) -> Curve:
    safe = codes <= SAFE * level
    safe[:2] = True
    return codes[safe], light[safe]


def _longer(codes: Image, light: Image, level: float) -> Curve:
    """Up to the clip level by the slope of ln(light) over the upper tenth of the codes."""
    upper = codes >= codes[-1] - 0.1 * level
    slope = np.polyfit(codes[upper] - codes[-1], np.log(light[upper]), min(2, int(upper.sum()) // 6))
    more = np.linspace(codes[-1], level, 17)[1:]
    # no lower than straight on in proportion, nor than before
    longer = np.exp(np.polyval(slope, more - codes[-1]) - np.polyval(slope, 0)) * light[-1]
    return np.concatenate([codes, more]), np.concatenate([light, np.maximum.accumulate(np.maximum(longer, light[-1]))])


def _stops(curves: Sequence[Curve], sample: Sequence[Curve]) -> float:
    """How much more light a key's picture got than the curves say."""
    off = [np.log2(np.interp(code, *curve) / light) for curve, (code, light) in zip(curves, sample, strict=True)]
    return float(np.median(np.concatenate(off)))


def _refuse_exposures(pairs: Sequence[KeyPair], stops: Sequence[float]) -> None:
    for pair, off in zip(pairs, stops, strict=True):
        if abs(off) > _STOPS:
            raise ResponseError(
                pair.frame,
                f"expected a key of the exposure of frame {pairs[0].frame}'s, to {_STOPS:g} stops, for the same plate; "
                f"its radiance is {abs(off):.1f} stops {'lower' if off > 0 else 'higher'}; bring both to one scale",
            )


def _check(pair: KeyPair, given: Image, response: Response) -> None:
    """Raises where the response does not explain the pair."""
    light = np.nan_to_num(pair.radiance, posinf=0.0)
    wrong = mismatch(response.to_log(response.inverse(given, pair.frame)), response.to_log(light))
    if wrong:
        raise ResponseError(pair.frame, wrong)
