"""The guidance network: a U-Net with skip links that reads both frames and gives the gates of every propagation
unit."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, relu


class Guidance(nn.Module):
    """U-Net from the two guides, side by side as channels, to raw gates at the resolution of the hidden property.

    Args:
        in_channels: channels of both guides together.
        out_channels: gates of a hidden pixel, all units together.
        widths: channels a level, from 1/2 resolution downwards.
        out_level: how many times the output is halved: 0 full resolution, 2 a quarter.

    Source: Switchable Temporal Propagation Network, section 5.1: symmetric, U-shaped, light-weight, skip links.
    """

    def __init__(self, in_channels: int, out_channels: int, widths: Sequence[int], out_level: int) -> None:
        super().__init__()
        if not 1 <= out_level <= len(widths):
            raise ValueError(f"out_level: expected 1..{len(widths)} (the number of widths), got {out_level}")
        self.out_level = out_level
        inputs = [in_channels, *widths[:-1]]
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in zip(inputs, widths, strict=True))
        self.same = nn.ModuleList(nn.Conv2d(b, b, 3, padding=1) for b in widths[1:])
        self.up = nn.ModuleList(
            nn.Conv2d(widths[level] + widths[level - 1], widths[level - 1], 3, padding=1)
            for level in range(len(widths) - 1, out_level - 1, -1)
        )
        self.gates = nn.Conv2d(widths[out_level - 1], out_channels, 3, padding=1)
        # gates of zero carry nothing: training starts from a property that stays where it is
        nn.init.normal_(self.gates.weight, std=1e-3)
        nn.init.zeros_(self.gates.get_parameter("bias"))

    def forward(self, key_guide: Tensor, target_guide: Tensor) -> Tensor:
        """Gates before normalisation.

        Args:
            key_guide, target_guide: (B, in_channels / 2, H, W) float32 about -0.5..0.5; H and W multiples of
                2 ** len(widths).

        Returns:
            (B, out_channels, H / 2 ** out_level, W / 2 ** out_level).
        """
        x = torch.cat([key_guide, target_guide], dim=1)
        levels = []
        for index, down in enumerate(self.down):
            x = relu(down(x))
            if index > 0:
                x = relu(self.same[index - 1](x))
            levels.append(x)
        for up, skip in zip(self.up, reversed(levels[self.out_level - 1 : -1]), strict=True):
            x = interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = relu(up(torch.cat([x, skip], dim=1)))
        gates: Tensor = self.gates(x)
        return gates
