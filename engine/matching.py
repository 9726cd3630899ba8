"""Matching at coarse scale: where in a key frame is what the target frame shows here?

Attention from every 8 x 8 block of the target to every block of a key, by features of lightness and by how near a block
lies to where motion leads. It finds what motion has lost: fast, blurred and re-appearing things.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import (
    avg_pool2d,
    interpolate,
    leaky_relu,
    normalize,
    pixel_unshuffle,
    scaled_dot_product_attention,
)

if TYPE_CHECKING:
    from stpn.engine.aligned_network import Inputs

BLOCK = 8

# nothing that spreads is farther from 0 than this, in units of the property
FURTHEST = 3.0


@dataclass(frozen=True)
class Matched:
    """Attributes:
    values: (B, K * heads, C, H / 8, W / 8) property that the matching offers.
    features: (B, K * out_channels, H / 8, W / 8) the same and how good the matches look; zero for a missing key.
    there: (B, K * heads, 1, 1) 0 for a missing key, else 1.
    """

    values: Tensor
    features: Tensor
    there: Tensor


class Matching(nn.Module):
    """One attention a key and head, all heads with a reach of their own."""

    def __init__(self, heads: int, channels: int, carried: int) -> None:
        """Args: carried: channels of the property."""
        super().__init__()
        self.heads, self.channels, self.carried = heads, channels, carried
        self.out_channels = heads * (carried + 2)
        self.encode = nn.ModuleList(
            [
                nn.Conv2d(8, 24, 3, padding=1),
                nn.Conv2d(24, 32, 3, stride=2, padding=1),
                nn.Conv2d(32, 48, 3, stride=2, padding=1),
                nn.Conv2d(48, 48, 3, padding=1),
            ]
        )
        self.around = nn.ModuleList([nn.Conv2d(48, 64, 3, stride=2, padding=1), nn.Conv2d(64, 64, 3, padding=1)])
        self.embed = nn.Conv2d(48 + 64, heads * channels, 1)
        # from the whole picture to the nearest blocks
        self.reach = nn.Parameter(torch.linspace(-5.0, -1.0, heads))
        self.sharpness = nn.Parameter(torch.full((heads,), 2.0))

    def forward(self, x: Inputs) -> Matched:
        """Attends from the target to each key."""
        keys = x.key_lightness.shape[1]
        target = self._embedded(x.lightness)
        out, features, theres = [], [], []
        routes = x.values.shape[1] // keys
        for k in range(keys):
            weight = x.weights[:, k * routes : (k + 1) * routes]
            there = (weight.amax(dim=(1, 2, 3, 4)) > 0).float()[:, None, None, None]
            flow = (weight * x.flow[:, k * routes : (k + 1) * routes]).sum(dim=1) / weight.sum(dim=1).clamp(min=1e-8)
            key = self._embedded(x.key_lightness[:, k])
            known = torch.cat([x.key_values[:, k].clamp(-FURTHEST, FURTHEST), x.key_lightness[:, k]], dim=1)
            theres.extend([there] * self.heads)
            light = _pooled(x.lightness)
            for values, quality in self._attend(target, key, _pooled(flow) / BLOCK, _pooled(known)):
                offered, seen = values[:, : self.carried], values[:, self.carried :]
                out.append(offered)
                features.append(torch.cat([offered * 2, 10 * (seen - light), quality], dim=1) * there)
        return Matched(torch.stack(out, dim=1), torch.cat(features, dim=1), torch.cat(theres, dim=1))

    def _embedded(self, lightness: Tensor) -> Tensor:
        """(B, heads, channels, h, w), unit length."""
        light = lightness - 0.5
        local = pixel_unshuffle(light, 2)
        # the same without its level: lights change, shapes do not
        flat = 4 * (local - interpolate(avg_pool2d(light, 16, ceil_mode=True), size=local.shape[-2:], mode="bilinear"))
        x = torch.cat([local, flat], dim=1)
        for layer in self.encode:
            x = leaky_relu(layer(x), 0.1)
        wide = x
        for layer in self.around:
            wide = leaky_relu(layer(wide), 0.1)
        wide = interpolate(wide, size=x.shape[-2:], mode="bilinear", align_corners=False)
        features = self.embed(torch.cat([x, wide], dim=1)).float()
        return normalize(split_axis(features, 1, self.heads, self.channels), dim=2)

    def _attend(self, target: Tensor, key: Tensor, flow: Tensor, known: Tensor) -> list[tuple[Tensor, Tensor]]:
        """What each head finds of `known`, and how alike it is, (B, 1, h, w)."""
        batch, heads, channels, height, width = target.shape
        q, k = (t.flatten(3).transpose(2, 3) for t in (target, key))
        rows = torch.arange(height, dtype=q.dtype, device=q.device)[:, None].expand(height, width)
        columns = torch.arange(width, dtype=q.dtype, device=q.device).expand(height, width)
        place = torch.stack([columns, rows]).flatten(1).T - place_centre(height, width, q)
        led = (place + flow.flatten(2).transpose(1, 2))[:, None].expand(-1, heads, -1, -1)
        place = place.expand(batch, heads, -1, -1)
        # -beta |led - place|^2 as a scalar product, but for what is the same for all blocks of the key
        beta = self.reach.exp()[None, :, None, None]
        sharpness = self.sharpness.exp()[None, :, None, None]
        ones = torch.ones_like(place[..., :1])
        size = -(channels + 3) % 8
        query = torch.cat([sharpness * q, 2 * beta * led, -beta * ones, *[0 * ones] * size], dim=3)
        token = torch.cat([k, place, (place**2).sum(dim=3, keepdim=True), *[0 * ones] * size], dim=3)
        value = torch.cat(
            [known.flatten(2).transpose(1, 2)[:, None].expand(-1, heads, -1, -1), k, *[0 * ones] * size], dim=3
        )
        found = _attention(query, token, value)
        count = known.shape[1]
        alike = (found[..., count : count + channels] * q).sum(dim=3, keepdim=True)
        planes = split_axis(torch.cat([found[..., :count], alike], dim=3).transpose(2, 3), 3, height, width)
        return [(planes[:, h, :count], planes[:, h, count:]) for h in range(heads)]


def split_axis(x: Tensor, axis: int, *sizes: int) -> Tensor:
    """One axis as several, of these sizes."""
    out: Tensor = x.unflatten(axis, sizes)  # type: ignore[no-untyped-call]
    return out


def place_centre(height: int, width: int, like: Tensor) -> Tensor:
    """Places are counted from the centre, where the numbers are smallest."""
    # filled in on the device: a CUDA graph holds no copy from the processor's memory
    x, y = (torch.full((), (side - 1) / 2, dtype=like.dtype, device=like.device) for side in (width, height))
    return torch.stack([x, y])


def _attention(query: Tensor, token: Tensor, value: Tensor) -> Tensor:
    """In float32 on a CPU: squares of places do not fit bfloat16, which is no faster here either."""
    if not torch.is_autocast_enabled("cpu"):
        return scaled_dot_product_attention(query, token, value, scale=1.0)
    with torch.autocast("cpu", enabled=False):
        return scaled_dot_product_attention(query, token, value, scale=1.0)


def _pooled(x: Tensor) -> Tensor:
    return avg_pool2d(x, BLOCK, ceil_mode=True, count_include_pad=False)
