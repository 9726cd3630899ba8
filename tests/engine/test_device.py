"""Where networks lie: the layout of their convolutions on a GPU, which changes no result."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from stpn.engine.aligned_network import AlignedConfig, AlignedFusion
from stpn.engine.backends.onnx_export import example_inputs
from stpn.engine.device import inference, place
from stpn.engine.graphs import _tensors
from stpn.engine.network import NetworkConfig, SwitchableTPN
from stpn.engine.observation import inputs


def made(name: str) -> tuple[Any, Any]:
    """A network and what it is given, without the device."""
    torch.manual_seed(0)
    if name == "stpn":
        paper = SwitchableTPN(NetworkConfig(hidden_channels=8, guidance_widths=(8, 12, 16))).eval()
        return paper, tuple(example_inputs(paper, 37, 52, batch=2).values())
    aligned = AlignedFusion(AlignedConfig(channels=3, observed=True)).eval()
    return aligned, (inputs(example_inputs(aligned, 32, 48, batch=2)),)


def convolutions(network: nn.Module) -> list[nn.Conv2d]:
    return [one for one in network.modules() if isinstance(one, nn.Conv2d)]


@pytest.mark.parametrize("name", ["stpn", "aligned"])
def test_channels_last_gives_what_channels_first_gives(name: str) -> None:
    network, given = made(name)
    with inference(network, fast=False):
        for layer in convolutions(network):
            layer.weight.data = layer.weight.data.contiguous()
        first = _tensors(network(*given))
        network.to(memory_format=torch.channels_last)
        last = _tensors(network(*given))
    for one, other in zip(first, last, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["stpn", "aligned"])
def test_on_a_gpu_convolutions_are_channels_last(name: str) -> None:
    network, _ = made(name)
    assert place(network, "cpu") is network
    assert place(network, "meta") is network  # another device than the CPU that every machine has
    layers = convolutions(network)
    assert layers
    for layer in layers:
        assert layer.weight.device.type == "meta"
        assert layer.weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["stpn", "aligned"])
def test_a_gpu_gives_what_a_cpu_gives(name: str) -> None:
    network, given = made(name)
    with inference(network, fast=False):
        here = _tensors(network(*given))
    place(network, "cuda")
    moved = tuple(one.cuda() if isinstance(one, torch.Tensor) else inputs(on_gpu(one)) for one in given)
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        with inference(network, fast=False):
            there = _tensors(network(*moved))
    finally:
        torch.backends.cudnn.allow_tf32 = before
    for one, other in zip(here, there, strict=True):
        torch.testing.assert_close(other.cpu(), one, rtol=1e-3, atol=1e-3 * float(one.abs().max()))


def on_gpu(given: Any) -> dict[str, torch.Tensor]:
    return {name: plane.cuda() for name, plane in vars(given).items() if plane is not None}
