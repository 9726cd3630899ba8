"""What the fusion network of HDR is trained for: the light that the plate lost, and to know where it is wrong."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, binary_cross_entropy_with_logits

from stpn.engine.aligned_network import Inputs, Outputs, length

# an error above this counts as wrong: 0.1 in ln(H + 0.01)
WRONG = 0.05
# what does not clip counts so much, because there the plate itself is taken
_ELSEWHERE = 0.02
# in units of the property, squared: below this an error is good enough
_ENOUGH = 1e-4


def hdr_loss(x: Inputs, out: Outputs, truth: Tensor, lost: Tensor) -> tuple[Tensor, dict[str, float]]:
    """The loss of a batch and its parts.

    Args:
        x, out: what the network saw and gave.
        truth: (B, 3, H, W) ln(H + 0.01) / 2.
        lost: (B, 3, H, W) how far what is carried counts.
    """
    weight = lost + _ELSEWHERE
    main = _log_error(_clamped(x, out.values), truth, weight)
    fused = _log_error(_clamped(x, out.fused), truth, weight)
    by_hand = _log_error(_clamped(x, x.by_hand), truth, weight)
    wanted = avg_pool2d(weight.mean(dim=1, keepdim=True), 2)
    small = avg_pool2d(truth, 2)
    fills = ((out.fills - small[:, None]).abs().mean(dim=2) * wanted).mean() / wanted.mean()
    coarse, wanted8 = avg_pool2d(truth, 8), avg_pool2d(wanted, 4)
    there = (x.key_values.abs().amax(dim=(2, 3, 4)) > 0).float()
    there = there.repeat_interleave(out.matches.shape[1] // there.shape[1], dim=1)[:, :, None, None]
    matches = ((out.matches - coarse[:, None]).abs().mean(dim=2) * wanted8 * there).mean() / wanted.mean()
    wrong = (length(out.values.detach() - truth) > WRONG).float()
    doubt = binary_cross_entropy_with_logits(out.unsure, avg_pool2d(wrong, 2), weight=wanted / wanted.mean())
    loss = main.mean() + 0.2 * fused.mean() + 0.2 * fills + 0.2 * matches + 0.02 * doubt
    # half of the difference of ln(squared error) is that of ln(error)
    return loss, {
        "gain": float(0.5 * (by_hand - main).detach().mean()),
        "fused_gain": float(0.5 * (by_hand - fused).detach().mean()),
        "fills": float(fills.detach()),
        "matches": float(matches.detach()),
        "doubt": float(doubt.detach()),
    }


def _clamped(x: Inputs, values: Tensor) -> Tensor:
    """What clips is at least as bright as it is shown."""
    assert x.shown is not None
    return torch.maximum(values, x.shown)


def _log_error(found: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """ln of the weighted mean squared error of each picture."""
    squared = (weight * (found - truth).square()).sum(dim=(1, 2, 3)) / weight.sum(dim=(1, 2, 3))
    return torch.log(squared + _ENOUGH)
