"""Matching for masks: does what the target frame shows here look like the object of another frame, or like what
surrounded it?

Every 8 x 8 block of the target is compared with every block of the other frame by learned features: the likest block of
the object, the likest beside it, and the mask that all blocks together vote for. Blocks far from where motion leads can
count less.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, leaky_relu, normalize

BLOCK = 8
# planes that a comparison gives
FEATURES = 3


class MaskMatching(nn.Module):
    """Features of pictures, and comparisons by them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        widths = (12, 24, 48)
        self.encode = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in zip((3, *widths[:-1]), widths, strict=True)
        )
        self.deepen = nn.ModuleList(nn.Conv2d(widths[-1], widths[-1], 3, padding=d, dilation=d) for d in (1, 2))
        self.embed = nn.Conv2d(widths[-1], channels, 1)
        self.sharpness = nn.Parameter(torch.tensor([2.3, 2.3]))
        # how fast blocks farther from where motion leads count less, of the frame before; those of the key count alike
        self.nearness = nn.Parameter(torch.tensor(-3.0))

    def features(self, picture: Tensor) -> Tensor:
        """(B, N, channels) of unit length, of a picture (B, 3, H, W), about -0.5..0.5; H and W multiples of 16."""
        x = picture
        for layer in self.encode:
            x = leaky_relu(layer(x), 0.1)
        for layer in self.deepen:
            x = x + leaky_relu(layer(x), 0.1)
        return normalize(self.embed(x).float().flatten(2).transpose(1, 2), dim=2)

    def with_key(self, target: Tensor, key: Tensor, mask: Tensor) -> Tensor:
        """Compares all blocks with all blocks of the key.

        Args:
            target, key: (B, N, channels), of `features`.
            mask: (B, 1, H, W) of the key, 0..1.

        Returns:
            (B, 3, H / 8, W / 8).
        """
        likeness = target @ key.transpose(1, 2)
        return _compared(likeness, likeness * self.sharpness[0].exp(), mask)

    def with_before(self, target: Tensor, before: Tensor, mask: Tensor, flow: Tensor) -> Tensor:
        """Compares with the frame before, as `with_key`, by preference near to where motion leads.

        Args:
            flow: (B, 2, H, W), pixels, from the target to the frame before.
        """
        height, width = (side // BLOCK for side in mask.shape[-2:])
        rows = torch.arange(height, dtype=torch.float32, device=flow.device)[:, None].expand(height, width)
        columns = torch.arange(width, dtype=torch.float32, device=flow.device).expand(height, width)
        place = torch.stack([columns, rows]).flatten(1).T[None]
        led = place + avg_pool2d(flow.float(), BLOCK).flatten(2).transpose(1, 2) / BLOCK
        apart = torch.cdist(led, place.expand_as(led)).square()
        likeness = target @ before.transpose(1, 2) - (self.nearness.exp() * apart).clamp(max=4.0)
        return _compared(likeness, likeness * self.sharpness[1].exp(), mask)


def _compared(likeness: Tensor, votes: Tensor, mask: Tensor) -> Tensor:
    """From the likeness (B, N, M) of blocks to those of a frame with this mask."""
    height, width = (side // BLOCK for side in mask.shape[-2:])
    inside = avg_pool2d(mask.float(), BLOCK).flatten(1)[:, None]
    # a block that is not of a side by half or more is hardly counted on it
    best = [(likeness - 2 * (1 - side).square()).amax(dim=2) for side in (inside, 1 - inside)]
    voted = (votes.softmax(dim=2) * inside).sum(dim=2)
    planes = torch.stack([*[one.clamp(min=-1.5) for one in best], 2 * voted - 1], dim=1)
    return planes.reshape(planes.shape[0], FEATURES, height, width)
