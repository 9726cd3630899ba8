"""Material and loss of the networks for HDR."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stpn.engine.aligned_network import AlignedConfig, AlignedFusion
from stpn.engine.observation import collate, inputs
from stpn.engine.properties.hdr import UNIT
from stpn.engine.training import hdr_episodes, hdr_pairs_task
from stpn.engine.training.hdr_data import draw_hdr, hdr_chances
from stpn.engine.training.hdr_episodes import HdrEpisodes, build_hdr_episodes, load_hdr_episodes
from stpn.engine.training.hdr_loss import hdr_loss
from stpn.engine.training.hdr_shots import draw_camera, draw_shot

Array = np.ndarray[Any, Any]


def panoramas(textures: Any) -> list[Array]:
    return [np.exp(np.dstack([textures(64, 128, seed + c, 2).moved(0, 0) for c in range(3)])) for seed in (1, 5)]


@pytest.fixture(scope="module")
def episodes(textures: Any, tmp_path_factory: Any) -> list[HdrEpisodes]:
    folder = tmp_path_factory.mktemp("hdr")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(hdr_episodes, "LONGEST", 7)
        for index in range(2):
            build_hdr_episodes(panoramas(textures), index, 2, [3, index], folder / str(index))
        build_hdr_episodes(panoramas(textures), 0, 2, [3, 0], folder / "again")
    return [load_hdr_episodes(folder / name) for name in ("0", "1", "again")]


@pytest.mark.parametrize("seed", range(9))
def test_a_camera_can_be_inverted(seed: int) -> None:
    camera = draw_camera(np.random.default_rng(seed))
    light = np.linspace(0, 1, 50, dtype=np.float32)
    shown = camera.curve(light)
    assert (np.diff(shown) > 0).all()
    assert shown[-1] == pytest.approx(1, abs=1e-5)
    assert np.abs(camera.inverse(shown) - light).max() < 1e-4
    assert camera.curve(light + 1) == pytest.approx(1, abs=1e-5)


def test_a_shot_moves_and_clips(textures: Any) -> None:
    shot = draw_shot(panoramas(textures), 1, 3, np.random.default_rng(4))
    assert shot.scene.shape == shot.ldr.shape == (3, *hdr_episodes.SIZE, 3)
    assert 0.003 < (shot.ldr.max(axis=3) >= 254).mean() < 0.3
    assert shot.scene.max() > 1
    assert np.abs(shot.scene[0] - shot.scene[2]).mean() > 1e-3


def test_episodes_follow_from_the_seed_alone(episodes: list[HdrEpisodes]) -> None:
    first, other, again = episodes
    for name in ("frames", "scene", "ldr", "routes"):
        assert (getattr(first, name) == getattr(again, name)).all()
    assert not (first.ldr == other.ldr).all()
    assert first.frames[0] == 0
    assert all(0 < frame < first.frames[1] for frame in first.frames[2:])


def test_crops_follow_from_the_seed_alone(episodes: list[HdrEpisodes]) -> None:
    chances = hdr_chances(episodes)
    one, same, other = (draw_hdr(episodes, chances, np.random.default_rng(seed), 96) for seed in (7, 7, 8))
    assert all((one[name] == same[name]).all() for name in one)
    assert not all((one[name] == other[name]).all() for name in one)
    assert one["truth"].shape == one["shown"].shape == one["lost"].shape == (3, 96, 96)
    assert 0 <= one["lost"].min() <= one["lost"].max() <= 1
    # where the camera loses nothing, what it shows is what is there, but for its noise
    kept = (one["blind"].max(axis=0) == 0) & (one["truth"].min(axis=0) > np.log(0.2) / 2)
    assert np.abs(one["shown"] - one["truth"]).mean(axis=0)[kept].mean() < 0.05


def test_the_network_starts_at_motions_answer_and_learns(episodes: list[HdrEpisodes]) -> None:
    torch.manual_seed(0)
    network = AlignedFusion(AlignedConfig(channels=3, unit=UNIT, observed=True))
    chances = hdr_chances(episodes)
    batch = collate([draw_hdr(episodes, chances, np.random.default_rng(seed), 96) for seed in (1, 2)])
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3)
    losses = []
    for step in range(10):
        seen = inputs(batch)
        loss, parts = hdr_loss(seen, network(seen), batch["truth"], batch["lost"])
        if step == 0:
            assert abs(parts["gain"]) < 0.1
            assert parts["fused_gain"] == pytest.approx(0, abs=1e-4)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.02


@pytest.mark.parametrize("pairs", ["views", "frames"])
def test_pairs_for_the_papers_network(episodes: list[HdrEpisodes], pairs: str) -> None:
    first, second = hdr_pairs_task._pair(episodes, np.random.default_rng(2), 64, pairs)
    again = hdr_pairs_task._pair(episodes, np.random.default_rng(2), 64, pairs)
    assert first.shape == (64, 64, 6)
    assert (again[0] == first).all()
    assert not np.allclose(first, second, atol=1e-3)


def test_nothing_is_left_of_a_shot_that_failed(tmp_path: Path) -> None:
    with pytest.raises(IndexError):
        build_hdr_episodes([], 0, 2, [1], tmp_path / "0")
    assert not (tmp_path / "0").exists()
