"""HDR: what clips in the plate is carried from the keys, the rest is the plate's own, by the camera's inverse curve.

Everything is done in U = ln(H / clip + 0.01), with `clip` the radiance at which the plate clips, so that shots of any
scale look alike. Source: Switchable Temporal Propagation Network, section 5.3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stpn.engine.alignment import Estimate, Image, Route, estimate_flow
from stpn.engine.carriers import Carrier, FlowCarrier, Key, NetworkCarrier
from stpn.engine.full_size import FullSizeCarrier, full_size_keys
from stpn.engine.fusion import Candidate, Fused, candidate, fuse
from stpn.engine.local_motion import blindness, bridged
from stpn.engine.mixture import Mixture, mixed_by_hand
from stpn.engine.properties.clipping import alpha_of as alpha_of
from stpn.engine.properties.clipping import blindness_of as blindness_of
from stpn.engine.properties.clipping import lightness_of as lightness_of
from stpn.engine.properties.hdr_full_size import TwoSizes
from stpn.engine.properties.response import KeyPair, Response, fit_exposure, fit_response
from stpn.engine.working_size import reduced

if TYPE_CHECKING:
    from stpn.engine.aligned_network import AlignedFusion
    from stpn.engine.network import SwitchableTPN

# ln(H / clip + 0.01) in units of the networks
UNIT = 2.0


class HdrCarrier(Carrier):
    """Carries radiance; see `stpn.engine.carriers.Carrier`."""

    def __init__(
        self,
        keys: Sequence[Key],
        ldr: Mapping[int, Image],
        targets: Sequence[int],
        network: AlignedFusion | SwitchableTPN | None = None,
        parallel: Callable[..., Iterable[Image]] = map,
        estimate: Estimate = estimate_flow,
        known: Mapping[int, Image] | None = None,
        factor: int = 1,
        within: Callable[..., Iterable[Any]] = map,
    ) -> None:
        """Finds the camera's response, then estimates all motion that the targets share.

        Args:
            keys: one or two; `prop` is (H, W, 3) float32, scene-linear radiance.
            ldr: (H, W, 3) float32 code values of the plate, of every frame from key to target, keys included.
            targets: the frames that will be asked for.
            network: of `--method aligned` or `stpn`, trained for HDR; None: `flow`.
            parallel, estimate: as for `FlowCarrier`.
            known: (H, W, 3) float32 radiance of each of these frames, by a curve that has a name, up to exposure; None:
                the curve is fitted to the keys.
            factor: how many times smaller than the plate motion and the network of `aligned` see it; beyond 1 `ldr` and
                `known` are asked for a frame when it is needed, and nothing of a frame that is as large as the plate is
                kept.
            within: like `map`, for parts of a frame.

        Raises:
            ResponseError: a key does not match its plate frame.
        """
        pairs = [KeyPair(key.frame, ldr[key.frame], key.prop) for key in keys]
        self._response = fit_response(pairs) if known is None else fit_exposure(pairs, known)
        self._ldr, self._known = ldr, known
        logs = [Key(key.frame, self._response.to_log(np.nan_to_num(key.prop))) for key in keys]
        of_paper = network is not None and not hasattr(network, "matching")
        self._sizes: TwoSizes | None = None
        if factor > 1 and not of_paper:
            self._sizes = TwoSizes(self._response, ldr, known, factor, within)
            codes = {pair.frame: pair.ldr for pair in pairs}
            del pairs
            self._carrier = self._made_small(self._sizes, codes, logs, factor, targets, network, parallel, within)
        else:
            self._carrier = self._made(logs, sorted(ldr), targets, network, of_paper, parallel, estimate)

    def _made(
        self,
        logs: Sequence[Key],
        frames: Sequence[int],
        targets: Sequence[int],
        network: Any,
        of_paper: bool,
        parallel: Callable[..., Iterable[Image]],
        estimate: Estimate,
    ) -> Carrier:
        if of_paper:
            served = sorted({*targets, *(key.frame for key in logs)})
            guides = {frame: self._response.to_log(self._inverse(frame)) for frame in served}
            return NetworkCarrier(logs, {}, network, guides=guides, unit=UNIT)
        lightness = {frame: lightness_of(self._response.to_log(self._inverse(frame))) for frame in frames}
        clipped = {frame: self._response.clipped(self._ldr[frame]) for frame in frames}
        return LogCarrier(logs, lightness, clipped, targets, self._shown, network, parallel, estimate)

    def _made_small(
        self,
        sizes: TwoSizes,
        codes: dict[int, Image],
        logs: list[Key],
        factor: int,
        targets: Sequence[int],
        network: Any,
        parallel: Callable[..., Iterable[Any]],
        within: Callable[..., Iterable[Any]],
    ) -> Carrier:
        small = [Key(key.frame, reduced(key.prop, factor)) for key in logs]
        packed = full_size_keys([(key.prop, sizes.lightness(key.frame, codes[key.frame])) for key in logs])
        seen = {frame: sizes.reduced(frame, own) for frame, own in codes.items()}
        codes.clear()
        logs.clear()  # before the other frames are read
        frames = sorted(set(self._ldr) - set(seen))
        seen.update(zip(frames, parallel(sizes.reduced, frames), strict=True))
        lightness = {frame: light for frame, (light, _) in seen.items()}
        clipped = {frame: share for frame, (_, share) in seen.items()}
        mixing = LogCarrier(small, lightness, clipped, targets, sizes.shown, network, parallel, quickly=True)
        return FullSizeCarrier(mixing, packed, sizes.lightness, factor, within)

    @property
    def response(self) -> Response:
        """What was found of the camera."""
        return self._response

    def carry(self, frame: int) -> tuple[Image, Image]:
        """Scene-linear radiance (H, W, 3) in the space and scale of the keys, and its confidence (H, W)."""
        return self.carry_batch([frame])[0]

    def carry_batch(self, frames: Sequence[int]) -> list[tuple[Image, Image]]:
        """See `Carrier`."""
        if self._sizes is not None:
            # one at a time: two of them may be more than memory holds
            return [self._sizes.joined(frame, *self._carrier.carry(frame)) for frame in frames]
        out = []
        for frame, (carried, confidence) in zip(frames, self._carrier.carry_batch(frames), strict=True):
            lost = self._lost(frame)
            sure = np.asarray(1 - lost.max(axis=2) * (1 - confidence), np.float32)
            out.append((self._joined(frame, carried, lost), sure))
        return out

    def joined(self, frame: int, carried: Image) -> Image:
        """Radiance (H, W, 3): the plate's own where it does not clip, to the last bit, and `carried` where it does."""
        return self._joined(frame, carried, self._lost(frame))

    def _joined(self, frame: int, carried: Image, lost: Image) -> Image:
        inverse = self._inverse(frame)
        shown = self._response.to_log(inverse)
        joined = self._response.from_log((1 - lost) * shown + lost * np.maximum(carried, shown))
        return np.where(lost > 0, joined, inverse)

    def _lost(self, frame: int) -> Image:
        """How far what was carried counts (H, W, 3), 0..1."""
        level = self._level(frame)
        return np.asarray(alpha_of(level) * blindness_of(level), np.float32)

    def propagated(self, frame: int) -> tuple[Image, Image]:
        """ln(H / clip + 0.01) (H, W, 3) as it was carried, before it is joined with the plate, and its confidence."""
        return self._carrier.carry(frame)

    def _inverse(self, frame: int) -> Image:
        given = self._ldr[frame] if self._known is None else self._known[frame]
        return self._response.inverse(given, frame)

    def _shown(self, frame: int) -> tuple[Image, Image]:
        """The property that the plate shows, and how far each channel of it is clipped, 0..1."""
        return self._response.to_log(self._inverse(frame)), blindness_of(self._level(frame))

    def _level(self, frame: int) -> Image:
        return np.asarray(self._ldr[frame] / np.float32(self._response.level), np.float32)


class LogCarrier(FlowCarrier):
    """Carries ln(H / clip + 0.01) along three routes from each key: accumulated, direct, and direct with what clips
    moved as what is around it."""

    def __init__(
        self,
        keys: Sequence[Key],
        lightness: Mapping[int, Image],
        clipped: Mapping[int, NDArray[np.bool_] | NDArray[np.float16]],
        targets: Sequence[int],
        shown: Callable[[int], tuple[Image, Image]] | None = None,
        network: AlignedFusion | None = None,
        parallel: Callable[..., Iterable[Image]] = map,
        estimate: Estimate = estimate_flow,
        *,
        quickly: bool = False,
    ) -> None:
        """As `FlowCarrier`.

        Args:
            clipped: (H, W), where each frame clips, or how far, 0..1.
            shown: of a frame what the plate shows of the property and how far it does not; see `observe`.
            network: that weighs, matches and fills in; None: motion alone.
        """
        super().__init__(keys, lightness, targets, parallel, estimate, quickly=quickly)
        self._clipped, self._shown, self._network = clipped, shown, network
        self._blind_keys = [blindness(lightness[key.frame], clipped[key.frame]) for key in keys]

    def carry(self, frame: int) -> tuple[Image, Image]:
        """See `Carrier`."""
        return self.carry_batch([frame])[0]

    def carry_batch(self, frames: Sequence[int]) -> list[tuple[Image, Image]]:
        """See `Carrier`."""
        if self._network is None:
            fused = [fused_of(self.candidates(f, self.ways(f)), self._lightness[f]) for f in frames]
            return [(one.blend, one.confidence) for one in fused]
        from stpn.engine.aligned import carry_observed

        return carry_observed(self._network, self._observed(frames)[0])

    def mixtures(self, frames: Sequence[int]) -> list[Mixture]:
        """See `stpn.engine.mixture.Mixing`."""
        if self._network is None:
            return [self._mixed(frame, self.candidates(frame, self.ways(frame))) for frame in frames]
        from stpn.engine.aligned import mix_observed

        return mix_observed(self._network, *self._observed(frames))

    def _mixed(self, frame: int, candidates: Sequence[Sequence[Candidate]]) -> Mixture:
        mixture = mixed_by_hand(candidates, fused_of(candidates, self._lightness[frame]))
        # its fill is the mean of the candidates, which is sampled at full size
        return replace(mixture, unsure=np.zeros_like(mixture.unsure))

    def _observed(self, frames: Sequence[int]) -> tuple[list[dict[str, Image]], list[list[list[Candidate]]]]:
        """What the network sees of frames, and the candidates of each."""
        from stpn.engine.observation import observe

        assert self._network is not None
        unit, keys = self._network.config.unit, [(self._lightness[key.frame], key.prop) for key in self._keys]
        found = [self.candidates(frame, self.ways(frame)) for frame in frames]
        pictures = []
        for frame, candidates in zip(frames, found, strict=True):
            light, shown = self._lightness[frame], self._shown(frame) if self._shown else None
            pictures.append(observe(candidates, fused_of(candidates, light), light, keys, unit, shown))
        return pictures, found

    def ways(self, frame: int) -> list[tuple[Route, ...]]:
        """The routes from a frame to each key."""
        here = blindness(self._lightness[frame], self._clipped[frame])
        out: list[tuple[Route, ...]] = []
        for key, there, routes in zip(self._keys, self._blind_keys, self._routes, strict=True):
            accumulated = routes[frame]
            direct = self._refine(accumulated, self._guides[frame], self._guides[key.frame])
            out.append((accumulated, direct, bridged(direct, here, there)))
        return out

    def candidates(self, frame: int, ways: list[tuple[Route, ...]]) -> list[list[Candidate]]:
        """What each key gives along each of its routes."""
        light = self._lightness[frame]
        return [
            [candidate(key.prop, self._lightness[key.frame], light, way, abs(frame - key.frame)) for way in routes]
            for key, routes in zip(self._keys, ways, strict=True)
        ]


def fused_of(candidates: Sequence[Sequence[Candidate]], lightness: Image) -> Fused:
    """As `fuse`, but that nothing is filled by lightness: what clips is as light as anything else that does."""
    fused = fuse([one for routes in candidates for one in routes], lightness)
    return replace(fused, spread=fused.blend)
