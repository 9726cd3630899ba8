"""Whether propagation keeps the style of a property, and how near its matrices come to being orthogonal.

Theorem 1 of the paper: the Gram matrix of the property is kept exactly where G is orthogonal, and then the switched
propagation is the inverse of the propagation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

WINDOW = 12
"""Side of the maps that G is written out on, hidden pixels."""


@dataclass(frozen=True)
class Style:
    """A property against its key's.

    Attributes:
        energy: ||U_t|| / ||U_k||, Frobenius; the root of the ratio of the traces of U^T U. 1: kept, below: faded.
        loss: ||U_t^T U_t - U_k^T U_k|| / ||U_k^T U_k||, Frobenius: equation (6), relative.
    """

    energy: float
    loss: float


def style(target_property: NDArray[np.float32], key_property: NDArray[np.float32]) -> Style | None:
    """Style of a map against the key's it was carried from; None where the key has no color at all.

    Args:
        target_property, key_property: (H, W, C) float32, U_t and U_k, in the same unit.

    Source: Switchable Temporal Propagation Network, section 3.2, equation (6), all channels in one Gram matrix.
    """
    target, key = (u.reshape(-1, u.shape[2]).astype(np.float64) for u in (target_property, key_property))
    of_target, of_key = target.T @ target, key.T @ key
    if not of_key.any():
        return None
    return Style(
        float(np.sqrt(np.trace(of_target) / np.trace(of_key))),
        float(np.linalg.norm(of_target - of_key) / np.linalg.norm(of_key)),
    )


@dataclass(frozen=True)
class Orthogonality:
    """How far the matrices of a network are from orthogonal; see `orthogonality`.

    Attributes:
        gram: ||G^T G - I|| / ||I||; 0: orthogonal, 1: about as far as a matrix of zeros.
        inverse: ||S G - I|| / ||I|| with S the switched propagation; 0: it leads back exactly.
    """

    gram: float
    inverse: float


def orthogonality(gates: list[Tensor]) -> Orthogonality:
    """Measures G of one pair of frames, written out on windows of the hidden map.

    The gates come from the whole picture. Of each unit, `WINDOW` x `WINDOW` hidden pixels are cut out in the middle of
    each quarter of the map (maps up to twice that size: once in their middle, all of it where it is smaller), and
    equation (4) is run over each unit vector of that window, one direction at a time and without the node-wise
    maximum, which is not linear. The results are the columns of G, one matrix a direction, window and unit; with the
    gates switched, and so run the other way, those of S. The first column of a window is taken whole, as at the border
    of a picture. Given are the means of the Frobenius norms, each over that of I (12), over all matrices. Encoding and
    decoding are left out.

    Args:
        gates: of each unit, (1, 4, 1, 3, h, w), normalised; what `SwitchableTPN.gates` gives.
    """
    import torch

    from stpn.engine.propagation import Direction, switch

    gram, inverse = [], []
    for unit in gates:
        for window in _windows(unit):
            eye = torch.eye(window.shape[-1] * window.shape[-2], dtype=window.dtype)
            for direction in Direction:
                forward = one_way_matrix(window, direction)
                back = one_way_matrix(switch(window), direction.opposite)
                gram.append(float(torch.linalg.norm(forward.T @ forward - eye) / torch.linalg.norm(eye)))
                inverse.append(float(torch.linalg.norm(back @ forward - eye) / torch.linalg.norm(eye)))
    return Orthogonality(float(np.mean(gram)), float(np.mean(inverse)))


def one_way_matrix(gates: Tensor, direction: int) -> Tensor:
    """G of one direction.

    Args:
        gates: (1, 4, 1, 3, h, w).
        direction: a `Direction`.

    Returns:
        (h w, h w), pixels in row-major order: column j is what becomes of the unit vector j.
    """
    import torch

    from stpn.engine.propagation import Direction
    from stpn.engine.propagation.reference import propagate_one_way

    height, width = gates.shape[-2:]
    units = torch.eye(height * width, dtype=gates.dtype).reshape(1, -1, height, width)
    return propagate_one_way(units, gates, Direction(direction)).reshape(height * width, -1).T


def _windows(gates: Tensor) -> list[Tensor]:
    height, width = gates.shape[-2:]
    if min(height, width) < 2 * WINDOW:
        centres = [(height // 2, width // 2)]
    else:
        centres = [(height * i // 4, width * j // 4) for i in (1, 3) for j in (1, 3)]
    windows = []
    for y, x in centres:
        top, left = max(y - WINDOW // 2, 0), max(x - WINDOW // 2, 0)
        windows.append(gates[..., top : top + WINDOW, left : left + WINDOW])
    return windows
