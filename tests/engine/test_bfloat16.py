"""Which type a network computes in, on processors with and without bfloat16."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from stpn.engine import device
from stpn.engine.aligned_network import AlignedFusion
from stpn.engine.backends.onnx_export import example_inputs
from stpn.engine.device import inference
from stpn.engine.observation import inputs


@pytest.fixture
def asked_anew() -> Iterator[None]:
    device.fast_bfloat16.cache_clear()
    yield
    device.fast_bfloat16.cache_clear()


@pytest.mark.usefixtures("asked_anew")
@pytest.mark.parametrize(
    ("capabilities", "fast"),
    [
        ({"avx2": True}, False),
        ({"avx2": True, "avx512_f": True, "avx512_vnni": True}, False),
        ({"avx512_f": True, "avx512_bf16": True}, True),
        ({"amx_bf16": True}, True),
        ({}, False),
    ],
    ids=["AVX2", "AVX-512 without bfloat16", "AVX-512 with it", "AMX", "another kind"],
)
def test_bfloat16_is_for_processors_that_multiply_it(
    capabilities: dict[str, Any], fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert device.fast_bfloat16() == fast


def test_without_bfloat16_everything_is_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network = AlignedFusion().eval()
    given = inputs(example_inputs(network, 64, 96))
    kinds = set()
    network.same4.register_forward_hook(lambda _, __, out: kinds.add(out.dtype))
    with inference(network, fast=False):
        plain = network(given)
    monkeypatch.setattr(device, "fast_bfloat16", lambda: False)
    with inference(network):
        fallen_back = network(given)
    assert kinds == {torch.float32}
    assert torch.equal(fallen_back.values, plain.values)
    assert torch.equal(fallen_back.unsure, plain.unsure)


def test_bfloat16_stays_near_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network = AlignedFusion().eval()
    for parameter in network.parameters():  # what starts at zero hides what lies behind it
        torch.nn.init.normal_(parameter, std=0.05)
    given = inputs(example_inputs(network, 64, 96))
    with inference(network, fast=False):
        plain = network(given)
    monkeypatch.setattr(device, "fast_bfloat16", lambda: True)  # slow where the processor has none, but right
    with inference(network):
        fast = network(given)
    assert not torch.equal(fast.values, plain.values)
    # a hundredth of a unit of ab in the mean
    assert (fast.values - plain.values).abs().mean() < 1e-4
