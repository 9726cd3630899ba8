"""Means of blocks: as pooling makes them, whatever the size."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import avg_pool2d, pad

from stpn.engine.pooling import block_means, halved


def picture(height: int, width: int) -> torch.Tensor:
    return torch.rand((2, 3, height, width), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("factor", [2, 3, 5])
@pytest.mark.parametrize(("height", "width"), [(60, 90), (61, 83), (7, 3), (1, 1)])
def test_the_last_row_and_column_go_on_to_a_whole_number_of_blocks(factor: int, height: int, width: int) -> None:
    planes = picture(height, width)
    whole = 4 * factor
    padded = pad(planes, (0, -width % whole, 0, -height % whole), mode="replicate")
    made = block_means(planes, factor, multiple=4)
    assert made.shape[-2] % 4 == made.shape[-1] % 4 == 0
    torch.testing.assert_close(made, avg_pool2d(padded, factor))


def test_more_axes_stay_as_they_are() -> None:
    planes = picture(20, 30)
    assert torch.equal(block_means(planes[:, :, None], 2)[:, :, 0], block_means(planes, 2))


def test_halving_is_pooling_where_gradients_are_asked_for() -> None:
    planes = picture(16, 24).requires_grad_()
    made = halved(planes)
    assert torch.equal(made, avg_pool2d(planes, 2))
    made.sum().backward()
    assert planes.grad is not None
    assert torch.equal(planes.grad, torch.full_like(planes, 0.25))


def test_halving_is_the_same_to_rounding_where_they_are_not() -> None:
    planes = picture(16, 24)
    with torch.inference_mode():
        torch.testing.assert_close(halved(planes), avg_pool2d(planes, 2))
        # bfloat16 would be rounded after every sum
        assert torch.equal(halved(planes.bfloat16()), avg_pool2d(planes.bfloat16(), 2))
