"""What the fusion network is trained for: the PSNR of pictures, and to know where it is wrong."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, binary_cross_entropy_with_logits

from stpn.engine.aligned_network import Inputs, Outputs, length

# an ab error above this counts as wrong; in units of 100
WRONG = 0.05


def aligned_loss(x: Inputs, out: Outputs, truth: Tensor) -> tuple[Tensor, dict[str, float]]:
    """The loss of a batch and its parts.

    Args:
        x, out: what the network saw and gave.
        truth: (B, 2, H, W) ab / 100.
    """
    picture = to_srgb(x.lightness, truth)
    main = log_error(picture, to_srgb(x.lightness, out.values))
    fused = log_error(picture, to_srgb(x.lightness, out.fused))
    by_hand = log_error(picture, to_srgb(x.lightness, x.by_hand))
    # what is offered must be good where it is wanted
    wanted = 1.02 - avg_pool2d(x.confidence, 2)
    small = avg_pool2d(truth, 2)
    fills = ((out.fills - small[:, None]).abs().sum(dim=2) * wanted).mean() / wanted.mean()
    coarse, wanted8 = avg_pool2d(truth, 8), avg_pool2d(wanted, 4)
    there = (x.key_values.abs().amax(dim=(2, 3, 4)) > 0).float()
    there = there.repeat_interleave(out.matches.shape[1] // there.shape[1], dim=1)[:, :, None, None]
    matches = ((out.matches - coarse[:, None]).abs().sum(dim=2) * wanted8 * there).mean() / wanted.mean()
    wrong = (length(out.values.detach() - truth) > WRONG).float()
    doubt = binary_cross_entropy_with_logits(out.unsure, avg_pool2d(wrong, 2))
    # the head of confidence has weights of its own; its share here only keeps its gradient from ruling the clipping
    loss = main.mean() + 0.2 * fused.mean() + 2 * fills + 2 * matches + 0.02 * doubt
    decibels = 10 / torch.log(torch.tensor(10.0))
    return loss, {
        "gain_db": float((by_hand - main).detach().mean() * decibels),
        "fused_db": float((by_hand - fused).detach().mean() * decibels),
        "fills": float(fills.detach()),
        "matches": float(matches.detach()),
        "doubt": float(doubt.detach()),
    }


def log_error(truth: Tensor, found: Tensor) -> Tensor:
    """ln of the mean squared error of each picture, in 8-bit steps, plus one."""
    return torch.log((255 * (truth - found)).square().mean(dim=(1, 2, 3)) + 1)


def to_srgb(lightness: Tensor, ab: Tensor) -> Tensor:
    """sRGB (B, 3, H, W), 0..1 in gamut and beyond it outside, from L / 100 and ab / 100 (D65)."""
    fy = (100 * lightness[:, 0] + 16) / 116
    f = torch.stack([fy + ab[:, 0] / 5, fy, fy - ab[:, 1] / 2], dim=1)
    delta = 6 / 29
    xyz = torch.where(f > delta, f**3, 3 * delta**2 * (f - 4 / 29))
    xyz = xyz * xyz.new_tensor([0.950456, 1.0, 1.088754])[:, None, None]
    matrix = xyz.new_tensor(
        [[3.240479, -1.53715, -0.498535], [-0.969256, 1.875991, 0.041556], [0.055648, -0.204043, 1.057311]]
    )
    linear = torch.einsum("ij,bjhw->bihw", matrix, xyz)
    curve = 1.055 * linear.clamp(min=0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(linear > 0.0031308, curve, 12.92 * linear)
