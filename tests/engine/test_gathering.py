"""The recurrence whose four directions are added: against its definition, values and gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import pad

from stpn.engine.propagation import Direction
from stpn.engine.propagation.gathering import gather


def definition(x: Tensor, w: Tensor) -> Tensor:
    """The loop of the module's docstring, a row at a time."""
    out = x
    for direction in Direction:
        source, gates = x, w[:, direction]
        if direction.horizontal:
            source, gates = source.transpose(-1, -2), gates.transpose(-1, -2)
        if direction.reverse:
            source, gates = source.flip(-2), gates.flip(-2)
        rows = [torch.zeros_like(source[..., 0, :])]
        for i in range(1, source.shape[-2]):
            held = pad(rows[-1] + source[..., i - 1, :], (1, 1))
            rows.append(sum(gates[:, None, j, i] * held[..., j : j + source.shape[-1]] for j in range(3)))
        arrived = torch.stack(rows, dim=-2)
        if direction.reverse:
            arrived = arrived.flip(-2)
        out = out + (arrived.transpose(-1, -2) if direction.horizontal else arrived)
    return out


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 5), (6, 1), (2, 2), (7, 9), (16, 33)])
def test_values_and_gradients_are_those_of_the_definition(height: int, width: int) -> None:
    torch.manual_seed(height * 100 + width)
    x = torch.randn(2, 3, height, width, requires_grad=True)
    w = (torch.rand(2, 4, 3, height, width) / 3).requires_grad_()
    upstream = torch.randn(2, 3, height, width)
    found, expected = gather(x, w), definition(x, w)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    # of a single pixel nothing depends on the gates
    gradients = [
        torch.autograd.grad((result * upstream).sum(), (x, w), materialize_grads=True) for result in (found, expected)
    ]
    for mine, theirs, name in zip(*gradients, ("sources", "gates"), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}")


def test_gates_of_zero_leave_every_pixel_what_it_holds() -> None:
    x = torch.randn(1, 3, 5, 6)
    assert torch.equal(gather(x, torch.zeros(1, 4, 3, 5, 6)), x)


def test_a_ratio_of_gathered_values_is_a_weighted_mean() -> None:
    torch.manual_seed(3)
    value, trust = torch.rand(1, 2, 9, 11), torch.rand(1, 1, 9, 11)
    gates = torch.rand(1, 4, 3, 9, 11) / 3
    gathered = gather(torch.cat([value * trust, trust], dim=1), gates)
    mean = gathered[:, :2] / gathered[:, 2:]
    assert value.min() <= mean.min()
    assert mean.max() <= value.max()
    assert (mean - value).abs().max() > 0.05
    one = gather(torch.cat([0.3 * trust, trust], dim=1), gates)
    torch.testing.assert_close(one[:, :1] / one[:, 1:], torch.full((1, 1, 9, 11), 0.3))
