"""The learned part of `--method aligned`: what several keys say of one pixel, weighed, matched and filled in.

It starts equal to `flow` and learns corrections: other weights for the candidates, colors that are matched in the keys
where motion failed, and a propagation, guided by both frames, that carries sure values into unsure regions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import grid_sample, interpolate, leaky_relu, pad, pixel_unshuffle, softmax

from stpn.engine.candidate_mixing import fill_in, weigh
from stpn.engine.matching import FURTHEST, Matched, Matching, split_axis
from stpn.engine.pooling import halved
from stpn.engine.propagation.gathering import gather

# planes of one candidate, and of the target frame, beside those of the property
_CANDIDATE, _TARGET = 5, 6

# what an absurd value, such as a broken pixel of a key, may count for at most
_MOST = 30.0

# a channel that is off must be able to come back
_SLOPE = 0.1


@dataclass(frozen=True)
class AlignedConfig:
    """Every size of the network; stored beside its weights.

    Attributes:
        candidate_channels: channels that describe one candidate at half resolution.
        widths: channels of the trunk at 1/2, 1/4, 1/8, 1/16 of the resolution.
        spreads: propagations side by side, each with gates and confidences of its own.
        heads: heads of the matching.
        match_channels: channels of a head's features.
        channels: of the property: 2 of ab, 3 of HDR.
        unit: of the property, in its own terms: 100 of ab, 2 of ln(H + 0.01).
        observed: whether the plate shows the property itself where it does not clip, as it does HDR.
    """

    candidate_channels: int = 16
    widths: tuple[int, ...] = (16, 48, 64, 96)
    spreads: int = 2
    heads: int = 2
    match_channels: int = 12
    channels: int = 2
    unit: float = 100.0
    observed: bool = False


@dataclass(frozen=True)
class Inputs:
    """What the network sees; H and W even. The property (C channels) in units of the config, L in units of 100.

    Attributes:
        lightness: (B, 1, H, W) of the target frame.
        values: (B, N, C, H, W) property of every candidate.
        warped: (B, N, 1, H, W) lightness of every candidate.
        weights: (B, N, 1, H, W) hand-made weights, 0 where there is no such candidate.
        error: (B, N, 2, H, W) where going to the key and back ends, minus where it began, pixels.
        flow: (B, N, 2, H, W) target -> key, pixels.
        blend: (B, C, H, W) their mean under the hand-made weights.
        spread: (B, C, H, W) what its sure pixels spread over all by hand-made gates.
        confidence: (B, 1, H, W) how sure `flow` is.
        distance: (B, N) frames to the key / 40.
        key_lightness: (B, K, 1, H, W) of the keys.
        key_values: (B, K, C, H, W) their property.
        shown: (B, C, H, W) the property that the plate shows; None where it shows none.
        blind: (B, C, H, W) how far it does not, 0..1, because it clips; None likewise.
    """

    lightness: Tensor
    values: Tensor
    warped: Tensor
    weights: Tensor
    error: Tensor
    flow: Tensor
    blend: Tensor
    spread: Tensor
    confidence: Tensor
    distance: Tensor
    key_lightness: Tensor
    key_values: Tensor
    shown: Tensor | None = None
    blind: Tensor | None = None

    @property
    def by_hand(self) -> Tensor:
        """(B, C, H, W) what `flow` makes of it."""
        return self.blend + (1 - self.confidence) * (self.spread - self.blend)


@dataclass(frozen=True)
class Outputs:
    """What comes out.

    Attributes:
        values: (B, C, H, W) property.
        fused: the same before the in-fill.
        corrections: (B, N, H / 2, W / 2) of the logarithm of the candidates' weights.
        fills: (B, S, C, H / 2, W / 2) what each propagation offers.
        doubts: (B, 1, H / 2, W / 2) correction of the log-odds of needing a fill.
        shares: (B, 1 + S, H / 2, W / 2) of the hand-made fill and of each of the others.
        matches: (B, K * heads, C, H / 8, W / 8) what each matching offers.
        unsure: (B, 1, H / 2, W / 2) log-odds of being wrong.
    """

    values: Tensor
    fused: Tensor
    corrections: Tensor
    fills: Tensor
    doubts: Tensor
    shares: Tensor
    matches: Tensor
    unsure: Tensor


class AlignedFusion(nn.Module):
    """Fusion, matching, in-fill and confidence; any even size."""

    def __init__(self, config: AlignedConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or AlignedConfig()
        w2, w4, w8, w16 = c.widths
        each = c.candidate_channels
        self.describe = nn.ModuleList([_conv(_CANDIDATE + c.channels + c.observed, each), _conv(each, each)])
        seen = _TARGET + 2 * c.channels * (1 + c.observed)
        self.enter = _conv(seen + 2 * each, w2)
        self.same2 = _conv(w2, w2)
        self.down4, self.same4 = _conv(w2, w4, 2), _conv(w4, w4)
        self.matching = Matching(c.heads, c.match_channels, c.channels)
        self.down8, self.same8 = _conv(w4, w8, 2), _conv(w8 + 2 * self.matching.out_channels, w8)
        self.down16, self.same16 = _conv(w8, w16, 2), nn.ModuleList([_conv(w16, w16), _conv(w16, w16)])
        self.up8, self.up4, self.up2 = _conv(w16 + w8, w8), _conv(w8 + w4, w4), _conv(w4 + w2, w2)
        self.weigh_one, self.weigh_all = nn.Conv2d(each, each, 3, padding=1), nn.Conv2d(w2, each, 3, padding=1)
        self.weigh = _zero_conv(each, 1)
        # of each propagation: 12 gates, how sure the fused values are, how sure each matching is, and its share
        self.per_spread = 12 + 1 + 2 * c.heads + 1
        self.steer = _zero_conv(w2, 1 + c.spreads * self.per_spread)
        self.judge = nn.ModuleList([_conv(w2 + 6 + c.channels, 24), _conv(24, 16), _zero_conv(16, 1)])

    def forward(self, x: Inputs) -> Outputs:
        """See `Inputs` and `Outputs`."""
        batch, count = x.values.shape[:2]
        total = x.weights.sum(dim=1, keepdim=True)
        share = x.weights / total
        present = (x.weights.amax(dim=(2, 3, 4)) > 0).float()[:, :, None, None, None]

        described = self._described(x, share, batch, count)
        mean = (described * split_axis(halved(share.flatten(0, 1)), 0, batch, count)).sum(dim=1)
        most = (described * present.to(described.dtype)).amax(dim=1)
        spread = ((x.values - x.blend[:, None]) ** 2 * share).sum(dim=(1, 2))[:, None].add(1e-6).sqrt()
        soft = torch.cat([x.blend, 10 * (x.by_hand - x.blend), x.confidence, 10 * spread], dim=1).clamp(-_MOST, _MOST)
        if x.shown is not None and x.blind is not None:
            soft = torch.cat([soft, x.shown, x.blind], dim=1)
        target = torch.cat([pixel_unshuffle(x.lightness - 0.5, 2), halved(soft), mean, most], dim=1)
        e2 = self.same2(self.enter(target))
        e4 = self.same4(self.down4(e2))
        matched = self.matching(x)
        e8 = self.down8(e4)
        e8 = self.same8(torch.cat([e8, _fit(matched.features, e8)], dim=1))
        e16 = self.down16(e8)
        for layer in self.same16:
            e16 = e16 + layer(e16)
        d8 = self.up8(torch.cat([_fit(e16, e8), e8], dim=1))
        d4 = self.up4(torch.cat([_fit(d8, e4), e4], dim=1))
        d2 = self.up2(torch.cat([_fit(d4, e2), e2], dim=1))

        context = self.weigh_all(d2)[:, None]
        each = leaky_relu(split_axis(self.weigh_one(described.flatten(0, 1)), 0, batch, count) + context, _SLOPE)
        correction = split_axis(self.weigh(each.flatten(0, 1)).float(), 0, batch, count)[:, :, 0]
        fused = weigh(x.weights, x.values, correction)
        fills, doubts, shares = self._filled(x, fused, d2, matched)
        values = fill_in(fused, x.spread, x.confidence, fills, doubts, shares)
        taken = (1 - shares[:, :1]).detach()
        unsure = self._unsure(x, values.detach(), fused.detach(), taken, d2.detach(), present)
        return Outputs(values, fused, correction, fills, doubts, shares, matched.values, unsure)

    def _filled(self, x: Inputs, fused: Tensor, d2: Tensor, matched: Matched) -> tuple[Tensor, Tensor, Tensor]:
        """What spreads from the sure, and from the matches; where a fill is needed, and which."""
        c = self.config
        steer = self.steer(d2).float()
        doubts, steer = steer[:, :1], split_axis(steer[:, 1:], 1, c.spreads, self.per_spread)
        planes = x.lightness, x.confidence, fused.clamp(-FURTHEST, FURTHEST)
        light, sure, small = (halved(plane) for plane in planes)
        offers = interpolate(matched.values.flatten(1, 2), size=small.shape[-2:], mode="bilinear", align_corners=False)
        offers = split_axis(offers, 1, -1, c.channels)
        sure = torch.logit(sure.clamp(1e-3, 1 - 1e-3))
        sources, gates = [], []
        for s in range(c.spreads):
            trust = torch.sigmoid(steer[:, s, 12:13] + sure)
            trusts = torch.sigmoid(steer[:, s, 13:-1] - 5) * matched.there
            values = trust * small + (trusts[:, :, None] * offers).sum(dim=1)
            sources.append(torch.cat([values, trust + trusts.sum(dim=1, keepdim=True) + 1e-4], dim=1))
            gates.append(make_gates(light, steer[:, s, :12]))
        gathered = split_axis(gather(torch.cat(sources), torch.cat(gates)), 0, c.spreads, -1).transpose(0, 1)
        # the hand-made fill has the larger share at first
        shares = torch.cat([torch.full_like(steer[:, :1, -1], 2), steer[:, :, -1]], dim=1)
        return gathered[:, :, :-1] / gathered[:, :, -1:], doubts, softmax(shares, dim=1)

    def _described(self, x: Inputs, share: Tensor, batch: int, count: int) -> Tensor:
        difference = (x.warped - x.lightness[:, None]).clamp(-0.5, 0.5)
        size = x.lightness.shape[-2:]
        off = []
        if x.shown is not None and x.blind is not None:
            # what clips may be brighter than it is shown, never darker
            more = (x.values - x.shown[:, None]).clamp(min=0) * x.blind[:, None]
            off = [(10 * (x.values - x.shown[:, None] - more).abs().mean(dim=2, keepdim=True)).clamp(max=_MOST)]
        planes = torch.cat(
            [
                share.clamp(min=1e-4).log() / 4,
                10 * difference,
                torch.exp(-0.25 * (x.error**2).sum(dim=2, keepdim=True)),
                (10 * (x.values - x.blend[:, None])).clamp(-_MOST, _MOST),
                x.distance[:, :, None, None, None].expand(-1, -1, 1, *size),
                (0.02 * (x.flow**2).sum(dim=2, keepdim=True)).add(1e-6).sqrt().clamp(max=4),
                *off,
            ],
            dim=2,
        )
        out: Tensor = self.describe[1](self.describe[0](halved(planes.flatten(0, 1))))
        return split_axis(out, 0, batch, count)

    def _unsure(self, x: Inputs, values: Tensor, fused: Tensor, taken: Tensor, d2: Tensor, present: Tensor) -> Tensor:
        """Carries the result back to the keys along each route and compares it with the truth there."""
        batch, count = x.values.shape[:2]
        small = halved(values)
        height, width = small.shape[-2:]
        error = halved(x.error.flatten(0, 1)) / 2
        rows = torch.arange(height, device=small.device, dtype=small.dtype)[:, None].expand(height, width)
        columns = torch.arange(width, device=small.device, dtype=small.dtype).expand(height, width)
        at = torch.stack(
            [(columns + error[:, 0] + 0.5) * 2 / width - 1, (rows + error[:, 1] + 0.5) * 2 / height - 1], dim=3
        )
        back = grid_sample(small.repeat_interleave(count, dim=0), at, padding_mode="border", align_corners=False)
        off = split_axis(length(back - halved(x.values.flatten(0, 1))), 0, batch, count)
        cues = torch.cat(
            [
                10 * (off + 10 * (1 - present)).amin(dim=1),
                10 * ((off * present).sum(dim=1) / present.sum(dim=1).clamp(min=1)),
                10 * length(small - halved(fused)),
                halved(x.confidence),
                taken,
                3 * small,
                halved(x.lightness),
            ],
            dim=1,
        )
        # what is far off is wrong; how far does not matter
        cues = cues.clamp(-2, 2)
        hidden = self.judge[1](self.judge[0](torch.cat([d2, cues], dim=1)))
        logits: Tensor = self.judge[2](hidden)
        return logits.float()


def make_gates(lightness: Tensor, raw: Tensor) -> Tensor:
    """(B, 4, 3, H, W): a softmax over "stop" and the three neighbours; it starts at exp(-|L_p - L_q|), L in 0..100, for
    the neighbour straight behind and next to nothing for the others."""
    across = 100 * (lightness[..., :, 1:] - lightness[..., :, :-1]).abs()
    along = 100 * (lightness[..., 1:, :] - lightness[..., :-1, :]).abs()
    steps = [pad(across, (1, 0)), pad(across, (0, 1)), pad(along, (0, 0, 1, 0)), pad(along, (0, 0, 0, 1))]
    straight = torch.cat([-torch.log(torch.expm1(step.clamp(0.02, 20))) for step in steps], dim=1)
    start = torch.stack([torch.full_like(straight, -4), straight, torch.full_like(straight, -4)], dim=2)
    logits = start + split_axis(raw, 1, 4, 3)
    return softmax(torch.cat([torch.zeros_like(logits[:, :, :1]), logits], dim=2), dim=2)[:, :, 1:]


class _conv(nn.Conv2d):
    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, 3, stride=stride, padding=1)
        nn.init.kaiming_normal_(self.weight, a=_SLOPE)

    def forward(self, x: Tensor) -> Tensor:
        return leaky_relu(super().forward(x), _SLOPE)


def _zero_conv(inputs: int, outputs: int) -> nn.Conv2d:
    conv = nn.Conv2d(inputs, outputs, 3, padding=1)
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(conv.get_parameter("bias"))
    return conv


def length(vectors: Tensor) -> Tensor:
    """Length along axis 1, which stays."""
    return vectors.square().sum(dim=1, keepdim=True).add(1e-12).sqrt()


def _fit(x: Tensor, like: Tensor) -> Tensor:
    return interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)
