"""Training of the networks for masks: cut-outs, samples, tasks, adaptation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stpn.engine.carriers import Key
from stpn.engine.properties.mask_network import MaskConfig, MaskRefiner
from stpn.engine.properties.mask_segmentation import MaskSegmentation, SegmentationConfig
from stpn.engine.training.cutout_clips import MovingCutout, with_motion
from stpn.engine.training.cutout_shapes import body, grabbed, random_cutout, regions
from stpn.engine.training.cutouts import cutout_clip, held_out_part, in_painted, lucid_clip, training_part
from stpn.engine.training.mask_adaptation import adapt_mask_network
from stpn.engine.training.mask_samples import corrupted, draw
from stpn.engine.training.mask_seg_task import SegmentationTask
from stpn.engine.training.mask_task import MaskOptions, MaskTask, make, mask_loss
from stpn.engine.training.recipe import RecipeError, Stage, find_recipe, load_recipe, parse_recipe
from stpn.engine.weights import load_mask, load_mask_segmentation

Array = np.ndarray[Any, Any]
SIZE = (64, 96)
STAGE = Stage("vd", 1, 2, 48)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def photos() -> list[Array]:
    """Smooth color noise, uint8 BGR."""
    import cv2

    rng = np.random.default_rng(0)
    small = [rng.integers(0, 255, (9, 13, 3)).astype(np.uint8) for _ in range(4)]
    return [cv2.resize(one, (160, 120), interpolation=cv2.INTER_CUBIC) for one in small]


@pytest.fixture(scope="module")
def clips(photos: list[Array]) -> list[MovingCutout]:
    return [with_motion(cutout_clip(photos, [], np.random.default_rng(i), 5, SIZE)) for i in range(2)]


@pytest.fixture
def network() -> MaskRefiner:
    torch.manual_seed(0)
    return MaskRefiner(MaskConfig((4, 8, 8, 8, 12), 8))


def test_a_clip_follows_from_its_seed(photos: list[Array]) -> None:
    first, again, other = (cutout_clip(photos, [], np.random.default_rng(seed), 3, SIZE) for seed in (4, 4, 5))
    assert first.frames.shape == (3, *SIZE, 3)
    assert np.array_equal(first.frames, again.frames)
    assert np.array_equal(first.mattes, again.mattes)
    assert not np.array_equal(first.frames, other.frames)


def test_the_matte_is_where_the_object_is(photos: list[Array]) -> None:
    """Cut out of a picture and put back by its matte, an object is where the picture has changed."""
    picture = np.full((*SIZE, 3), 60, np.uint8)
    matte = np.zeros(SIZE, np.float32)
    picture[20:40, 30:60], matte[20:40, 30:60] = 230, 1
    assert in_painted(picture, matte).max() < 90
    for seed in range(4):
        made = lucid_clip(
            picture, matte, [np.full((*SIZE, 3), 60, np.uint8)], np.arange(3), 0.4, np.random.default_rng(seed)
        )
        bright = made.frames.min(axis=3).astype(float)
        assert bright[made.mattes > 250].mean() > bright[made.mattes < 5].mean() + 80


def test_shapes_are_neither_nothing_nor_all(photos: list[Array]) -> None:
    rng = np.random.default_rng(1)
    found = [body(SIZE, rng), *(made for made in (grabbed(photos[0]), regions(photos[0], rng)) if made is not None)]
    for shape in found:
        assert set(np.unique(shape)) == {0, 1}
    cover = random_cutout(photos[1], rng).cover
    assert cover.max() > 0.5
    assert max(cover[0].max(), cover[-1].max(), cover[:, 0].max(), cover[:, -1].max()) < 0.5


def test_held_out_photographs_are_not_trained_on() -> None:
    names = [str(number) for number in range(25)]
    assert sorted(training_part(names) + held_out_part(names)) == list(range(25))
    assert held_out_part(names) == [0, 10, 20]


def test_a_sample_follows_from_its_seed(clips: list[MovingCutout]) -> None:
    first, again = (draw(clips, np.random.default_rng(3), 48, 3, 1.0) for _ in range(2))
    assert first.keys() == again.keys()
    for name, value in first.items():
        assert np.array_equal(value, again[name]), name
        assert np.isfinite(value).all()
    assert first["planes1"].shape == (10, 48, 48)
    assert {"known2", "known3", "truth3"} <= first.keys()


def test_mirrored_samples_move_mirrored(clips: list[MovingCutout]) -> None:
    """Wherever a sample is drawn from, moving the frame before along the flow gives the plane that says so."""
    from stpn.engine.alignment import warp

    for seed in range(6):
        sample = draw(clips, np.random.default_rng(seed), 48)
        flow = np.ascontiguousarray(np.moveaxis(sample["flow1"], 0, 2))
        moved = warp(np.ascontiguousarray(sample["before_mask"][0]), flow)
        inside = slice(12, 36), slice(12, 36)
        assert np.abs(moved - sample["planes1"][3])[inside].mean() < 0.05


def test_corrupted_masks_stay_masks() -> None:
    mask = np.zeros(SIZE, np.float32)
    mask[20:40, 30:60] = 1
    made = [corrupted(mask, np.random.default_rng(seed)) for seed in range(20)]
    assert all(one.shape == SIZE and one.min() >= 0 and one.max() <= 1 for one in made)
    assert sum(not np.array_equal(one, mask) for one in made) > 8


def test_every_module_learns(clips: list[MovingCutout], network: MaskRefiner) -> None:
    task = MaskTask(1, network, {"vd": MaskOptions(steps=2)}, {"vd": clips})
    batch = task.batch(STAGE, 0)
    assert all(torch.equal(value, task.batch(STAGE, 0)[name]) for name, value in batch.items())
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    losses = []
    for _ in range(8):
        loss, _numbers = task.loss(network, batch, STAGE)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name
    with torch.no_grad():
        assert task.picture(network.eval(), batch).dtype == np.uint8


def test_weights_come_back(tmp_path: Path, clips: list[MovingCutout], network: MaskRefiner) -> None:
    MaskTask(1, network, {}, {}).save(tmp_path / "mask.safetensors", network, {})
    loaded = load_mask(tmp_path / "mask.safetensors")
    assert loaded.config == network.config
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in network.state_dict().items())
    paper = MaskSegmentation(SegmentationConfig(guidance_widths=(4, 4), refine_widths=(4,)))
    task = SegmentationTask(1, paper, {"vd": clips})
    loss, numbers = task.loss(paper, task.batch(STAGE, 0), STAGE)
    assert torch.isfinite(loss)
    assert numbers.keys() == {"t", "ts"}
    task.save(tmp_path / "seg.safetensors", paper, {})
    assert load_mask_segmentation(tmp_path / "seg.safetensors").config == paper.config


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("{ clips = 0 }", "clips"),
        ("{ steps = 8 }", "steps"),
        ("{ changed = 2.0 }", "changed"),
        ("{ clip = 3 }", "clip"),
    ],
)
def test_options_out_of_range_are_told(options: str, told: str) -> None:
    text = 'task = "mask"\n[data]\nsources = ["x"]\n[[stage]]\nname = "vd"\nsteps = 1\nbatch = 1\ncrop = 64\n'
    text += f"options = {options}\n"
    with pytest.raises(RecipeError, match=told):
        make(parse_recipe(text, "r.toml"), None)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["mask", "mask_seg"])
def test_shipped_recipes_leave_out_what_is_measured_on(name: str) -> None:
    recipe = load_recipe(find_recipe(name))
    assert recipe.carried == "mask"
    assert recipe.data.exclude_lists == ("../yardstick/validation.json",)
    assert not any("research" in source for source in recipe.data.sources)


def test_adapting_changes_a_copy_and_follows_from_its_seed(
    network: MaskRefiner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stpn.engine.training.mask_adaptation._DREAMS", 2)
    rng = np.random.default_rng(0)
    picture = np.full((64, 96, 3), 0.3, np.float32) + rng.normal(0, 0.02, (64, 96, 3)).astype(np.float32)
    matte = np.zeros((64, 96, 1), np.float32)
    picture[20:44, 30:60], matte[20:44, 30:60] = [0.9, 0.5, 0.2], 1
    before = {name: value.clone() for name, value in network.state_dict().items()}
    said: list[str] = []
    adapted = adapt_mask_network(network, [Key(0, matte)], {0: picture}, steps=6, said=said.append)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert any(not torch.equal(value, before[name]) for name, value in adapted.state_dict().items())
    assert said[-1].startswith("step 6 of 6")
    again = adapt_mask_network(network, [Key(0, matte)], {0: picture}, steps=6)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in adapted.state_dict().items())


def test_adapting_stops_when_told_and_bears_an_empty_key(network: MaskRefiner) -> None:
    picture = np.full((64, 96, 3), 0.3, np.float32)
    nothing = Key(0, np.zeros((64, 96, 1), np.float32))
    for adapted in (
        adapt_mask_network(network, [nothing], {0: picture}, steps=2),
        adapt_mask_network(network, [Key(0, nothing.prop + 0.9)], {0: picture}, steps=2, cancelled=lambda: True),
    ):
        assert all(torch.equal(value, adapted.state_dict()[name]) for name, value in network.state_dict().items())


def test_a_lost_object_costs_more_than_a_found_one(clips: list[MovingCutout], network: MaskRefiner) -> None:
    batch = MaskTask(1, network, {"vd": MaskOptions()}, {"vd": clips}).batch(STAGE, 0)
    batch["truth1"], batch["truth2"] = ((batch[f"truth{step}"] > 0.5).float() for step in (1, 2))
    found = {**batch, "planes1": batch["planes1"].clone()}
    lost = {**batch, "planes1": batch["planes1"].clone()}
    found["planes1"][:, 3:4], lost["planes1"][:, 3:4] = batch["truth1"], 1 - batch["truth1"]
    with torch.no_grad():
        assert mask_loss(network, found)[0] < mask_loss(network, lost)[0]
