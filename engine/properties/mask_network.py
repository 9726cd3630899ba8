"""The network that decides where the object is now: it corrects the mask that motion brings from the frame before.

It sees the picture, the mask moved along, how far motion is to be trusted, the mask as it comes from the key directly,
what colors say, and what matching with key and frame before says. What it gives are corrections in log-odds, which
start at zero, and gates of a spatial propagation that carries what is sure into
what is not, up to the picture's edges.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, leaky_relu

from stpn.engine.propagation import normalize_gates, propagate
from stpn.engine.properties.mask_matching import FEATURES, MaskMatching

PLANES = 10
"""Of `Observed.planes`, see there."""

MULTIPLE = 16
"""Height and width are multiples of it."""

# keeps the log-odds of a mask of 0 and 1 finite
_LEAST = 0.01
# corrections are as large as log-odds are from the first steps on
_GAIN = 2.0


@dataclass(frozen=True)
class MaskConfig:
    """Every size of the network.

    Attributes:
        widths: channels a level, from full resolution downwards.
        match_channels: of the features by which blocks are compared.
    """

    widths: tuple[int, ...] = (12, 28, 48, 64, 96)
    match_channels: int = 32


@dataclass(frozen=True)
class Observed:
    """What the network sees of a frame, one entry of the batch an object.

    Attributes:
        planes: (B, 10, H, W) float32: the picture's R, G, B (less 0.5); the mask moved from the frame before; the mask
            carried from the key; trust in the motion from the frame before; how the picture differs from the frame
            before, and from the key, both moved; how much its colors speak for the object; the moved mask snapped to
            colors. All 0..1 but the first.
        flow: (B, 2, H, W), pixels, to the frame before.
        before_mask: (B, 1, H, W), 0..1, of the frame before.
        key_mask: (B, 1, H, W), 0..1.
        here, before, key: (B, N, channels) of `MaskRefiner.features` of the three frames.
    """

    planes: Tensor
    flow: Tensor
    before_mask: Tensor
    key_mask: Tensor
    here: Tensor
    before: Tensor
    key: Tensor


@dataclass(frozen=True)
class Decided:
    """What the network says.

    Attributes:
        odds: (B, 1, H, W) float32, log-odds of the mask, to be read by `mask_of`.
        sure: (B, 1, H, W) float32, log-odds of being right.
        matched: (B, 6, H / 8, W / 8) float32, what matching with the key and with the frame before found.
    """

    odds: Tensor
    sure: Tensor
    matched: Tensor


class MaskRefiner(nn.Module):
    """U-Net with a spatial propagation at its end."""

    def __init__(self, config: MaskConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or MaskConfig()
        widths = tuple(c.widths)
        self.matching = MaskMatching(c.match_channels)
        self.first = nn.Conv2d(PLANES, widths[0], 3, padding=1)
        pairs = list(pairwise(widths))
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairs)
        self.same = nn.ModuleList(nn.Conv2d(b, b, 3, padding=1) for _, b in pairs)
        self.join = nn.Conv2d(widths[3] + 2 * FEATURES, widths[3], 3, padding=1)
        self.wide = nn.ModuleList(nn.Conv2d(widths[-1], widths[-1], 3, padding=d, dilation=d) for d in (2, 4))
        self.up = nn.ModuleList(nn.Conv2d(a + b, a, 3, padding=1) for a, b in reversed(pairs))
        self.correct = nn.Conv2d(widths[0], 1, 3, padding=1)
        self.gates = nn.Conv2d(widths[0], 12, 3, padding=1)
        self.sure = nn.Conv2d(widths[0], 1, 3, padding=1)
        for head in (self.correct, self.gates):
            nn.init.normal_(head.weight, std=1e-3)
            nn.init.zeros_(head.get_parameter("bias"))

    def features(self, picture: Tensor) -> Tensor:
        """What blocks of a picture (B, 3, H, W), 0..1, are compared by: (B, N, channels)."""
        out: Tensor = self.matching.features(picture - 0.5)
        return out

    def forward(self, x: Observed) -> Decided:
        """Decides."""
        matched = torch.cat(
            [
                self.matching.with_key(x.here, x.key, x.key_mask),
                self.matching.with_before(x.here, x.before, x.before_mask, x.flow),
            ],
            dim=1,
        )
        # centred, as the picture is
        planes = torch.cat([x.planes[:, :3], 2 * x.planes[:, 3:] - 1], dim=1)
        h = leaky_relu(self.first(planes), 0.1)
        levels = [h]
        for index, (down, same) in enumerate(zip(self.down, self.same, strict=True)):
            h = leaky_relu(down(h), 0.1)
            h = h + leaky_relu(same(h), 0.1)
            if index == 2:
                h = h + leaky_relu(self.join(torch.cat([h, matched], dim=1)), 0.1)
            levels.append(h)
        for layer in self.wide:
            h = h + leaky_relu(layer(h), 0.1)
        for up, skip in zip(self.up, reversed(levels[:-1]), strict=True):
            h = interpolate(h, scale_factor=2, mode="bilinear", align_corners=False)
            h = leaky_relu(up(torch.cat([h, skip], dim=1)), 0.1)
        odds = log_odds(x.planes[:, 3:4]) + _GAIN * self.correct(h).float()
        gates = normalize_gates(self.gates(h).float().unflatten(1, (4, 1, 3)))
        # of both signs, so that neither side is preferred by the maximum
        carried = 0.5 * (propagate(odds, gates) - propagate(-odds, gates))
        return Decided(carried, self.sure(h).float(), matched)


def log_odds(mask: Tensor) -> Tensor:
    """Of a mask of 0..1, finite."""
    return torch.logit(_LEAST + (1 - 2 * _LEAST) * mask)


def mask_of(odds: Tensor) -> Tensor:
    """The mask, 0..1, from the log-odds of `log_odds`."""
    return ((torch.sigmoid(odds) - _LEAST) / (1 - 2 * _LEAST)).clamp(0, 1)
