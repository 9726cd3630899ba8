"""The Switchable Temporal Propagation Network: encode the property, propagate twice under guidance, decode."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, mse_loss, pad

from stpn.engine.guidance import Guidance
from stpn.engine.propagation import normalize_gates, propagate, switch


@dataclass(frozen=True)
class NetworkConfig:
    """Every size of a network; stored beside its weights.

    Attributes:
        property_channels: channels of U (color: the 2 of ab).
        guide_channels: channels of V of one frame (color: lightness alone).
        hidden_channels: channels of the property while it is propagated.
        halvings: strided convolutions from property to hidden: 2 makes it a quarter of the picture's size.
        units: cascaded propagation units.
        guidance_widths: channels of the guidance U-Net a level, from 1/2 resolution downwards.
    """

    property_channels: int = 2
    guide_channels: int = 1
    hidden_channels: int = 32
    halvings: int = 2
    units: int = 2
    guidance_widths: tuple[int, ...] = (32, 64, 96, 128, 160)


class SwitchableTPN(nn.Module):
    """U_t = G(V_k, V_t) U_k for one key frame and one target frame; any size.

    Source: Switchable Temporal Propagation Network, sections 3 and 5.
    """

    def __init__(self, config: NetworkConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or NetworkConfig()
        self.guidance = Guidance(2 * c.guide_channels, c.units * 4 * 3, c.guidance_widths, c.halvings)
        widths = [c.property_channels, *[c.hidden_channels >> i for i in reversed(range(c.halvings))]]
        self.encode = nn.Sequential(*(nn.Conv2d(a, b, 4, stride=2, padding=1) for a, b in pairwise(widths)))
        self.decode = nn.Conv2d(c.hidden_channels, c.property_channels, 3, padding=1)
        self._start_as_identity()

    def forward(self, key_property: Tensor, key_guide: Tensor, target_guide: Tensor) -> Tensor:
        """Carries the key frame's property to the target frame.

        Args:
            key_property: (B, property_channels, H, W) float32, in network units (color: ab / 100).
            key_guide, target_guide: (B, guide_channels, H, W) float32, in network units (color: L / 100 - 0.5).

        Returns:
            (B, property_channels, H, W) float32.
        """
        return self.carry(key_property, self.gates(key_guide, target_guide))

    def gates(self, key_guide: Tensor, target_guide: Tensor) -> list[Tensor]:
        """The gates of each unit, normalised: (B, 4, 1, 3, h, w) with h and w the hidden size of the padded picture."""
        raw = self.guidance(self._padded(key_guide), self._padded(target_guide)).float()
        units = raw.unflatten(1, (self.config.units, 4, 1, 3)).unbind(1)
        return [normalize_gates(unit) for unit in units]

    def carry(self, key_property: Tensor, gates: list[Tensor]) -> Tensor:
        """Encodes, propagates through each unit, decodes: (B, property_channels, H, W) in and out."""
        height, width = key_property.shape[-2:]
        hidden = self.encode(self._padded(key_property)).float()
        for unit in gates:
            hidden = propagate(hidden, unit)
        up = interpolate(hidden, scale_factor=2**self.config.halvings, mode="bilinear", align_corners=False)
        out: Tensor = self.decode(up[..., :height, :width])
        return out

    def carry_back(self, target_property: Tensor, gates: list[Tensor]) -> Tensor:
        """The same gates, switched, carry the target's property back to the key frame."""
        return self.carry(target_property, [switch(unit) for unit in reversed(gates)])

    def _padded(self, image: Tensor) -> Tensor:
        multiple = 2 ** len(self.config.guidance_widths)
        height, width = image.shape[-2:]
        return pad(image, (0, -width % multiple, 0, -height % multiple), mode="replicate")

    def _start_as_identity(self) -> None:
        """Pairs of hidden channels start as the averaged property and its negative, and decoding takes half their
        difference: the node-wise maximum of both signs is symmetric, and the untrained network copies the key."""
        with torch.no_grad():
            count = self.config.property_channels
            average = torch.full((4, 4), 1 / 16)
            for index, conv in enumerate(self.encode):
                weight = conv.get_parameter("weight").mul_(0.3)
                conv.get_parameter("bias").zero_()
                for channel in range(2 * count):
                    weight[channel] = 0
                    if index == 0:
                        weight[channel, channel % count] = average * (1 if channel < count else -1)
                    else:
                        weight[channel, channel] = average
            self.decode.weight.mul_(0.1)
            self.decode.get_parameter("bias").zero_()
            for channel in range(count):
                self.decode.weight[channel] = 0
                self.decode.weight[channel, channel, 1, 1] = 0.5
                self.decode.weight[channel, channel + count, 1, 1] = -0.5


def switchable_loss(
    network: SwitchableTPN,
    key_property: Tensor,
    target_property: Tensor,
    key_guide: Tensor,
    target_guide: Tensor,
    weight: float = 0.1,
    error: Callable[[Tensor, Tensor], Tensor] = mse_loss,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """|U_2 - U_2^|^2 + weight |U_1 - U_1^|^2, the second term through the switched gates; weight 0 is the basic
    network's.

    Args:
        network: what is trained.
        key_property, target_property: U_1 and U_2, (B, C, H, W).
        key_guide, target_guide: V_1 and V_2, (B, G, H, W).
        weight: lambda of equation (8).
        error: of what was carried against the truth, a scalar; by default means over pixels and channels in place of
            the sums.

    Returns:
        The loss, a scalar, and its terms before weighting: there, and back (None where weight is 0).

    Source: Switchable Temporal Propagation Network, equation (8).
    """
    gates = network.gates(key_guide, target_guide)
    there = error(network.carry(key_property, gates), target_property)
    if not weight:
        return there, there, None
    back = error(network.carry_back(target_property, gates), key_property)
    return there + weight * back, there, back
