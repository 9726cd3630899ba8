"""The network of `--method aligned`: where it starts, what it accepts, what it is trained for."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch

from stpn.engine import aligned
from stpn.engine.aligned_network import AlignedConfig, AlignedFusion, Inputs
from stpn.engine.alignment import Route
from stpn.engine.carriers import AlignedCarrier, FlowCarrier, Key
from stpn.engine.fusion import candidate, fuse
from stpn.engine.observation import collate, inputs, observe
from stpn.engine.training.aligned_loss import aligned_loss, to_srgb

Array = np.ndarray[Any, Any]
SMALL = AlignedConfig(candidate_channels=4, widths=(8, 8, 8, 8), spreads=2, heads=2, match_channels=4)


def noise(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def smooth(*shape: int, seed: int = 0) -> Array:
    import cv2

    return np.asarray(cv2.GaussianBlur(noise(*shape, seed=seed), (0, 0), 3), np.float32)


def shot(height: int, width: int, keys: int = 2) -> dict[str, Any]:
    light = 50 + 200 * smooth(height, width, seed=1)
    pictures = [
        (light + 100 * smooth(height, width, seed=2 + k), 200 * smooth(height, width, 2, seed=5 + k))
        for k in range(keys)
    ]
    candidates = []
    for k, (key_light, prop) in enumerate(pictures):
        routes = [
            Route(30 * smooth(height, width, 2, seed=8 + r), 30 * smooth(height, width, 2, seed=9 + r))
            for r in (k, k + 2)
        ]
        candidates.append([candidate(prop, key_light, light, route, 5 + k) for route in routes])
    fused = fuse([one for routes in candidates for one in routes], light)
    return {"candidates": candidates, "fused": fused, "lightness": light, "keys": pictures}


def network(seed: int = 1) -> AlignedFusion:
    torch.manual_seed(seed)
    return AlignedFusion(SMALL).eval()


@pytest.mark.parametrize("keys", [1, 2])
def test_an_untrained_network_weighs_as_flow_does(keys: int) -> None:
    seen = shot(64, 96, keys)
    out = network()(inputs(collate([observe(**seen)])))
    torch.testing.assert_close(
        100 * out.fused[0].permute(1, 2, 0), torch.from_numpy(seen["fused"].blend), rtol=1e-3, atol=1e-2
    )
    # the hand-made fill has the larger share at first
    assert out.shares[:, 0].min() > 0.7
    assert np.abs(100 * out.values[0].detach().permute(1, 2, 0).numpy() - seen["fused"].filled).mean() < 2


@pytest.mark.parametrize(("height", "width"), [(33, 47), (64, 64), (70, 37), (120, 100)])
def test_any_size_gives_a_property_and_a_confidence_of_that_size(
    height: int, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # so that the largest is shown to the network at half its size
    monkeypatch.setattr(aligned, "LONG_SIDE", 60)
    seen = shot(height, width)
    prop, confidence = aligned.carry_aligned(network(), **seen)
    assert (prop.shape, confidence.shape, prop.dtype, confidence.dtype) == (
        (height, width, 2), (height, width), np.float32, np.float32
    )  # fmt: skip
    assert np.isfinite(prop).all()
    assert ((confidence >= 0) & (confidence <= 1)).all()
    assert np.abs(prop - seen["fused"].filled).mean() < 2


def test_a_missing_key_has_no_say() -> None:
    one = observe(**shot(64, 64, 1))
    changed = {name: plane.copy() for name, plane in one.items()}
    for name in ("values", "warped", "error", "flow"):
        changed[name][2:] = 7
    for name in ("key_lightness", "key_values"):
        changed[name][1] = 0.3
    first, second = (network()(inputs(collate([planes]))) for planes in (one, changed))
    torch.testing.assert_close(first.values, second.values, rtol=1e-4, atol=1e-5)


def test_every_weight_is_trained() -> None:
    net = network().train()
    x = inputs(collate([observe(**shot(64, 64)), observe(**shot(64, 64))]))
    for parameter in net.parameters():  # what starts at zero hides what lies behind it
        torch.nn.init.normal_(parameter, std=0.05)
    loss, _ = aligned_loss(x, net(x), torch.from_numpy(noise(2, 2, 64, 64)))
    loss.backward()
    idle = [name for name, parameter in net.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    assert idle == []


def test_the_loss_is_lower_for_the_truth() -> None:
    x = inputs(collate([observe(**shot(64, 64))]))
    out = network()(x)
    right, _ = aligned_loss(x, out, out.values.detach())
    wrong, _ = aligned_loss(x, out, out.values.detach() + 0.1)
    assert right + 1 < wrong


def test_srgb_is_that_of_opencv() -> None:
    import cv2

    rgb = np.random.default_rng(0).uniform(0, 1, (8, 9, 3)).astype(np.float32)
    lab = torch.from_numpy(cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB)).permute(2, 0, 1)[None] / 100
    np.testing.assert_allclose(to_srgb(lab[:, :1], lab[:, 1:])[0].permute(1, 2, 0), rgb, atol=4e-3)


def test_the_carrier_is_flow_with_a_network_on_top(textures: Any) -> None:
    light, color = textures(64, 96, 1, 5), textures(64, 96, 2, 9)
    frames = {n: (50 + 15 * light.moved(2.0 * n, 0)).astype(np.float32) for n in range(5)}
    keys = [Key(n, np.dstack([20 * color.moved(2.0 * n, 0)] * 2).astype(np.float32)) for n in (0, 4)]
    mine, confidence = AlignedCarrier(keys, frames, [2], network()).carry(2)
    theirs, _ = FlowCarrier(keys, frames, [2]).carry(2)
    assert np.abs(mine - theirs).mean() < 1
    assert confidence.shape == (64, 96)
    alone, _ = AlignedCarrier(keys, frames, [1, 2, 3], network()).carry(2)
    assert (alone == mine).all()


def test_inputs_are_all_that_observe_gives() -> None:
    seen = shot(32, 32)
    planes = observe(**seen, shown=(seen["fused"].blend, seen["fused"].blend))
    assert {field.name for field in fields(Inputs)} == set(planes)
    assert set(planes) - set(observe(**seen)) == {"shown", "blind"}
    assert all(plane.dtype == np.float32 for plane in planes.values())
    assert replace(inputs(collate([planes]))).weights.shape == (1, 4, 1, 32, 32)
