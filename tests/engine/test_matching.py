"""The matching in types of 16 bits: places are counted exactly."""

from __future__ import annotations

import torch
from torch.nn.functional import normalize

from stpn.engine.matching import Matching


def test_attention_is_float32_on_a_cpu_whatever_the_convolutions_are() -> None:
    source = torch.Generator().manual_seed(0)
    matching = Matching(heads=2, channels=12, carried=2)
    target, key = (normalize(torch.randn((1, 2, 12, 36, 64), generator=source), dim=2) for _ in range(2))
    flow, known = torch.randn((1, 2, 36, 64), generator=source), torch.randn((1, 3, 36, 64), generator=source)
    with torch.inference_mode():
        exact = matching._attend(target, key, flow, known)
        with torch.autocast("cpu", torch.bfloat16):
            fast = matching._attend(target, key, flow, known)
            assert (target[0, 0, 0] @ key[0, 0, 0].T).dtype == torch.bfloat16  # the rest is as it was
    for one, other in zip(exact, fast, strict=True):
        assert all(map(torch.equal, one, other))
