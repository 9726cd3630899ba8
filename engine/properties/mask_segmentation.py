"""The paper's two networks for masks: SEG(t), propagation from the key frame, and SEG(t+s), refined by the picture.

Source: Switchable Temporal Propagation Network, section 5.4; Liu et al., Learning Affinity via Spatial Propagation
Networks, NIPS 2017.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from stpn.engine.network import NetworkConfig, SwitchableTPN

# a mask of 0..1 enters as log-odds of -REACH..REACH
REACH = 4.0


@dataclass(frozen=True)
class SegmentationConfig:
    """Every size of both networks.

    Attributes:
        hidden_channels, halvings, units, guidance_widths: of the temporal network, as in `NetworkConfig`.
        smaller: how many times smaller than the pictures it is given it works.
        refine_channels, refine_widths: hidden channels and guidance of the spatial network.
    """

    hidden_channels: int = 16
    halvings: int = 2
    units: int = 2
    guidance_widths: tuple[int, ...] = (24, 48, 64, 96, 128)
    smaller: int = 2
    refine_channels: int = 8
    refine_widths: tuple[int, ...] = (16, 32, 48, 64)


class MaskSegmentation(nn.Module):
    """A mask from a key frame to a target frame; pictures of a long side of about 512."""

    def __init__(self, config: SegmentationConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or SegmentationConfig()
        self.temporal = SwitchableTPN(
            NetworkConfig(1, 3, c.hidden_channels, c.halvings, c.units, tuple(c.guidance_widths))
        )
        self.spatial = SwitchableTPN(NetworkConfig(1, 3, c.refine_channels, 1, 1, tuple(c.refine_widths)))

    def forward(self, key_mask: Tensor, key_picture: Tensor, target_picture: Tensor) -> tuple[Tensor, Tensor]:
        """Log-odds of SEG(t) and of SEG(t+s), (B, 1, H, W) float32 each.

        Args:
            key_mask: (B, 1, H, W) float32, 0..1.
            key_picture, target_picture: (B, 3, H, W) float32, display-referred RGB 0..1.
        """
        coarse = self.propagated(key_mask, key_picture, target_picture)
        return coarse, self.refined(coarse.detach(), target_picture)

    def propagated(self, key_mask: Tensor, key_picture: Tensor, target_picture: Tensor) -> Tensor:
        """Log-odds of SEG(t), (B, 1, H, W)."""
        size = key_mask.shape[-2:]
        mask, key, target = (_reduced(x, self.config.smaller) for x in (key_mask, key_picture, target_picture))
        small = self.temporal(REACH * (2 * mask - 1), key - 0.5, target - 0.5)
        return interpolate(small.float(), size=size, mode="bilinear", align_corners=False)

    def refined(self, coarse: Tensor, picture: Tensor) -> Tensor:
        """Log-odds of SEG(t+s) from those of SEG(t), (B, 1, H, W)."""
        seen = torch.sigmoid(coarse).expand(-1, 3, -1, -1) - 0.5
        out: Tensor = self.spatial(coarse, seen, picture - 0.5)
        return out.float()


def _reduced(x: Tensor, factor: int) -> Tensor:
    return x if factor == 1 else avg_pool2d(x, factor, ceil_mode=True, count_include_pad=False)
