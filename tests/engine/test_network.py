"""The network: sizes, the untrained start, the switch in the loss, weights in and out."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from stpn.engine.network import NetworkConfig, SwitchableTPN, switchable_loss
from stpn.engine.weights import WeightsError, load_network, save_network, shipped

SMALL = NetworkConfig(hidden_channels=8, guidance_widths=(8, 12, 16))


@pytest.fixture
def network() -> SwitchableTPN:
    torch.manual_seed(0)
    return SwitchableTPN(SMALL)


def smooth(channels: int, height: int, width: int) -> torch.Tensor:
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    return torch.stack([0.3 * (x + (c + 1) * y) - 0.2 for c in range(channels)])[None]


@pytest.mark.parametrize(("height", "width"), [(8, 8), (1, 1), (33, 47), (64, 7)])
def test_any_size_comes_out_as_it_went_in(network: SwitchableTPN, height: int, width: int) -> None:
    out = network(smooth(2, height, width), smooth(1, height, width), smooth(1, height, width))
    assert out.shape == (1, 2, height, width)
    assert out.isfinite().all()


def test_the_untrained_network_copies_the_key(network: SwitchableTPN) -> None:
    prop = smooth(2, 64, 64)
    out = network(prop, smooth(1, 64, 64), smooth(1, 64, 64).flip(-1))
    assert (out - prop)[..., 8:-8, 8:-8].abs().max() < 0.02


def test_hidden_property_is_a_quarter_and_gates_are_stable(network: SwitchableTPN) -> None:
    gates = network.gates(torch.randn(2, 1, 30, 41), torch.randn(2, 1, 30, 41))
    assert [tuple(g.shape) for g in gates] == [(2, 4, 1, 3, 8, 12)] * 2
    with torch.no_grad():
        network.guidance.gates.weight.mul_(1e6)
    for unit in network.gates(torch.randn(2, 1, 30, 41), torch.randn(2, 1, 30, 41)):
        assert unit.abs().sum(dim=3).max() <= 1 + 1e-5


def test_every_parameter_learns(network: SwitchableTPN) -> None:
    torch.manual_seed(1)
    maps = [torch.randn(1, c, 32, 32) for c in (2, 2, 1, 1)]
    switchable_loss(network, *maps)[0].backward()
    still = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not still


def test_the_loss_is_equation_8(network: SwitchableTPN) -> None:
    torch.manual_seed(2)
    key, target, key_guide, target_guide = (torch.randn(1, c, 32, 32) for c in (2, 2, 1, 1))
    with torch.no_grad():
        network.guidance.gates.weight.mul_(300)
        gates = network.gates(key_guide, target_guide)
        first = (network.carry(key, gates) - target).square().mean()
        second = (network.carry_back(target, gates) - key).square().mean()
        without_switch = (network.carry(target, gates) - key).square().mean()
        loss, there, back = switchable_loss(network, key, target, key_guide, target_guide)
        basic = switchable_loss(network, key, target, key_guide, target_guide, weight=0)
        halved = switchable_loss(
            network, key, target, key_guide, target_guide, 2, lambda a, b: (a - b).square().mean() / 2
        )
    torch.testing.assert_close(loss, first + 0.1 * second)
    torch.testing.assert_close((there, back), (first, second))
    torch.testing.assert_close(basic[0], first)
    assert basic[2] is None
    torch.testing.assert_close(halved[0], first / 2 + second)
    assert (second - without_switch).abs() > 1e-4


def test_weights_come_back_as_they_were_saved(network: SwitchableTPN, tmp_path: Path) -> None:
    save_network(tmp_path / "w.safetensors", network, {"property": "color"})
    back = load_network(tmp_path / "w.safetensors")
    assert back.config == network.config
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), back.parameters(), strict=True))


def test_a_file_that_is_no_safetensors_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match="expected weights of this version in safetensors"):
        load_network(tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    "config",
    [None, "{}", "not json", json.dumps({**dataclasses.asdict(SMALL), "hidden_channels": 16}), '{"surprise": 1}'],
    ids=["none", "empty", "no JSON", "of another size", "with an unknown key"],
)
def test_weights_with_a_config_that_does_not_fit_are_refused(
    network: SwitchableTPN, tmp_path: Path, config: str | None
) -> None:
    metadata = None if config is None else {"config": config}
    save_file(network.state_dict(), tmp_path / "w.safetensors", metadata)
    with pytest.raises(WeightsError, match=r"w\.safetensors: expected weights of this version"):
        load_network(tmp_path / "w.safetensors")


def test_unknown_shipped_weights_name_what_there_is() -> None:
    with pytest.raises(WeightsError, match=r"no shipped weights for 'colour': expected one of \['aligned', 'color', "):
        shipped("colour")


def test_shipped_color_weights_load_and_carry() -> None:
    network = load_network(shipped("color"))
    out = network(smooth(2, 40, 56), smooth(1, 40, 56), smooth(1, 40, 56))
    assert (out - smooth(2, 40, 56))[..., 8:-8, 8:-8].abs().max() < 0.05
