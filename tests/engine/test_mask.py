"""Masks and mattes carried to other frames: what a person would be hurt by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from stpn.engine.carriers import Key
from stpn.engine.properties.mask import MaskCarrier, SegmentationCarrier
from stpn.engine.properties.mask_appearance import KeyColors, lab, snapped
from stpn.engine.properties.mask_network import MaskConfig, MaskRefiner, log_odds, mask_of
from stpn.engine.properties.mask_segmentation import MaskSegmentation, SegmentationConfig
from stpn.engine.weights import load_mask, load_mask_segmentation, shipped

Array = np.ndarray[Any, Any]
SMALL = MaskConfig((4, 8, 8, 8, 12), 8)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def network() -> MaskRefiner:
    """Small, its weights random, so that it changes what it is given."""
    torch.manual_seed(0)
    network = MaskRefiner(SMALL)
    torch.nn.init.normal_(network.correct.weight, std=0.05)
    torch.nn.init.normal_(network.gates.weight, std=0.3)
    return network.eval()


class Shot:
    """A disk with a soft edge that moves over a smooth texture."""

    def __init__(
        self, textures: Any, height: int, width: int, frames: int, step: float = 2.0, radius: float = 9
    ) -> None:
        behind, front = textures(2 * height, 2 * width, 1), textures(2 * height, 2 * width, 2)
        rows, columns = np.mgrid[:height, :width]
        self.pictures: dict[int, Array] = {}
        self.mattes: dict[int, Array] = {}
        for frame in range(frames):
            x = width / 3 + step * frame
            matte = np.clip((radius - np.hypot(columns - x, rows - height / 2)) / 3 + 0.5, 0, 1).astype(np.float32)
            shown = front.moved(step * frame, 0)[:height, :width]
            texture = 0.5 + 0.12 * behind.moved(0, 0)[:height, :width]
            inside = np.dstack([0.75 + 0.1 * shown, 0.3 + 0.1 * shown, 0.2 + 0.05 * shown])
            outside = np.dstack([0.5 * texture, 0.8 * texture, texture])
            picture = matte[..., None] * inside + (1 - matte[..., None]) * outside
            self.pictures[frame] = np.clip(picture, 0, 1).astype(np.float32)
            self.mattes[frame] = matte

    def key(self, frame: int) -> Key:
        return Key(frame, self.mattes[frame][..., None])


def overlap(made: Array, truth: Array) -> float:
    return float(np.minimum(made, truth).sum() / np.maximum(made, truth).sum())


@pytest.mark.parametrize("size", [(1, 1), (17, 33), (40, 31), (48, 64)], ids=lambda size: f"{size[0]}x{size[1]}")
def test_any_size_runs(textures: Any, network: MaskRefiner, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    pictures = {frame: rng.random((*size, 3), np.float32) for frame in range(3)}
    key = Key(0, rng.random((*size, 1), np.float32))
    for used in (network, None):
        mattes, sure = MaskCarrier([key], pictures, [1, 2], used).carry(2)
        assert mattes.shape == (*size, 1)
        assert sure.shape == size
        for out in (mattes, sure):
            assert out.dtype == np.float32
            assert out.min() >= 0
            assert out.max() <= 1


@pytest.mark.parametrize("learned", [True, False], ids=["network", "by hand"])
def test_a_still_shot_keeps_the_matte(textures: Any, network: MaskRefiner, learned: bool) -> None:
    shot = Shot(textures, 64, 80, 1)
    pictures = dict.fromkeys(range(8), shot.pictures[0])
    carrier = MaskCarrier([shot.key(0)], pictures, range(1, 8), network if learned else None)
    mattes, sure = carrier.carry(7)
    assert np.abs(mattes[..., 0] - shot.mattes[0]).max() < 2e-3
    assert sure.min() > 0.99


def test_a_still_shot_keeps_the_matte_at_full_size(textures: Any, network: MaskRefiner) -> None:
    """The network works at a quarter of it; a hair of one pixel is still one pixel wide."""
    matte = np.zeros((300, 1400), np.float32)
    matte[100:200, 400:800] = 1
    matte[50:100, 600] = 0.8
    rng = np.random.default_rng(1)
    picture = cv2.resize(rng.random((30, 140, 3), np.float32), (1400, 300), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    carrier = MaskCarrier([Key(5, matte[..., None])], {5: picture, 6: picture}, [6], network)
    assert np.abs(carrier.carry(6)[0][..., 0] - matte).max() < 0.02


def test_large_pictures_get_their_own_edges(textures: Any) -> None:
    """What is carried at half size is no staircase: the edge of the picture leads."""
    shot = Shot(textures, 300, 1024, 2, step=6, radius=90)
    carried = MaskCarrier([shot.key(0)], shot.pictures, [1], None).carry(1)[0][..., 0]
    assert overlap(carried, shot.mattes[1]) > 0.97


def test_a_key_is_returned_as_it_was(textures: Any, network: MaskRefiner) -> None:
    shot = Shot(textures, 48, 64, 3)
    mattes, sure = MaskCarrier([shot.key(0), shot.key(2)], shot.pictures, [0, 1, 2], network).carry(2)
    assert np.array_equal(mattes, shot.key(2).prop)
    assert sure.min() == 1


def test_order_and_company_of_targets_do_not_matter(textures: Any, network: MaskRefiner) -> None:
    shot = Shot(textures, 48, 64, 12)
    keys = [shot.key(0), shot.key(11)]
    together = MaskCarrier(keys, shot.pictures, range(1, 11), network)
    backwards = {frame: together.carry(frame) for frame in (10, 3, 7, 1)}
    for frame, (mattes, sure) in backwards.items():
        alone = MaskCarrier(keys, shot.pictures, [frame], network).carry(frame)
        assert np.array_equal(alone[0], mattes)
        assert np.array_equal(alone[1], sure)


def test_threads_get_what_one_gets(textures: Any, network: MaskRefiner) -> None:
    shot = Shot(textures, 48, 64, 8)
    one = MaskCarrier([shot.key(0)], shot.pictures, range(1, 8), network)
    expected = [one.carry(frame)[0] for frame in range(1, 8)]
    shared = MaskCarrier([shot.key(0)], shot.pictures, range(1, 8), network)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda frame: shared.carry(frame)[0], [*range(7, 0, -1)]))
    for a, b in zip(expected, reversed(found), strict=True):
        assert np.array_equal(a, b)


def test_pictures_are_read_once_a_key(textures: Any) -> None:
    shot, read = Shot(textures, 48, 64, 20), list[int]()

    class Lazy(Mapping[int, Array]):
        def __getitem__(self, frame: int) -> Array:
            read.append(frame)
            return shot.pictures[frame]

        def __iter__(self) -> Iterator[int]:
            return iter(shot.pictures)

        def __len__(self) -> int:
            return len(shot.pictures)

    carrier = MaskCarrier([shot.key(0)], Lazy(), [5, 18], None)
    carrier.carry(5)
    assert max(read) < 18  # what lies far beyond is not read before it is needed
    carrier.carry(18)
    assert sorted(read) == list(range(19))


def test_two_keys_are_joined(textures: Any) -> None:
    """Near a key its word counts: with keys that contradict each other each frame follows the nearer."""
    shot = Shot(textures, 48, 64, 1)
    pictures = dict.fromkeys(range(11), shot.pictures[0])
    nothing = Key(10, np.zeros_like(shot.key(0).prop))
    carrier = MaskCarrier([shot.key(0), nothing], pictures, [1, 9], None)
    inside = shot.mattes[0] > 0.99
    assert carrier.carry(1)[0][..., 0][inside].mean() > 0.8
    assert carrier.carry(9)[0][..., 0][inside].mean() < 0.2


def test_keys_behind_the_target_serve(textures: Any) -> None:
    shot = Shot(textures, 48, 80, 6)
    carried = MaskCarrier([shot.key(5)], shot.pictures, [1], None).carry(1)[0][..., 0]
    assert overlap(carried, shot.mattes[1]) > 0.8


def test_objects_share_what_there_is(textures: Any, network: MaskRefiner) -> None:
    shot = Shot(textures, 48, 64, 4)
    left = np.zeros((48, 64), np.float32)
    left[:, :20] = 1
    both = np.dstack([shot.mattes[0], np.minimum(left, 1 - shot.mattes[0])])
    mattes, _ = MaskCarrier([Key(0, both)], shot.pictures, [3], network).carry(3)
    assert mattes.shape == (48, 64, 2)
    assert mattes.sum(axis=2).max() <= 1 + 2e-3


@pytest.mark.parametrize("share", [0.0, 1.0], ids=["empty", "full"])
def test_masks_without_an_edge_stay_so(textures: Any, share: float) -> None:
    shot = Shot(textures, 48, 64, 4)
    key = Key(0, np.full((48, 64, 1), share, np.float32))
    mattes, _ = MaskCarrier([key], shot.pictures, [3], None).carry(3)
    assert np.abs(mattes - share).max() < 0.05


def test_one_pixel_is_an_object(textures: Any) -> None:
    shot = Shot(textures, 48, 64, 1)
    matte = np.zeros((48, 64, 1), np.float32)
    matte[20, 30] = 1
    mattes, _ = MaskCarrier([Key(0, matte)], dict.fromkeys(range(3), shot.pictures[0]), [2], None).carry(2)
    assert np.abs(mattes - matte).max() < 1e-3


def test_an_object_that_leaves_is_gone(textures: Any) -> None:
    shot = Shot(textures, 64, 96, 16, step=7)
    assert shot.mattes[15].max() == 0
    mattes, _ = MaskCarrier([shot.key(0)], shot.pictures, [15], None).carry(15)
    assert mattes.sum() < 0.05 * shot.mattes[0].sum()


def test_values_outside_of_display_are_clipped(textures: Any) -> None:
    shot = Shot(textures, 48, 64, 2)
    wild = {frame: picture.copy() for frame, picture in shot.pictures.items()}
    tame = {frame: picture.copy() for frame, picture in shot.pictures.items()}
    for pictures, value in ((wild, 40.0), (tame, 1.0)):
        for picture in pictures.values():
            picture[:9] = value
    found = [MaskCarrier([shot.key(0)], pictures, [1], None).carry(1)[0] for pictures in (wild, tame)]
    assert np.array_equal(*found)


def test_a_frame_that_was_not_announced_is_refused(textures: Any) -> None:
    shot = Shot(textures, 48, 64, 3)
    with pytest.raises(KeyError, match="expected one of the targets"):
        MaskCarrier([shot.key(0)], shot.pictures, [1], None).carry(2)


def test_keys_of_two_sizes_are_refused() -> None:
    keys = [Key(0, np.zeros((4, 4, 1), np.float32)), Key(9, np.zeros((4, 5, 1), np.float32))]
    with pytest.raises(ValueError, match="expected keys"):
        MaskCarrier(keys, {}, [1], None)


def test_log_odds_and_back() -> None:
    mask = torch.linspace(0, 1, 101)
    assert torch.isfinite(log_odds(mask)).all()
    torch.testing.assert_close(mask_of(log_odds(mask)), mask, atol=1e-6, rtol=0)


def test_an_untrained_network_takes_motion_at_its_word(textures: Any) -> None:
    torch.manual_seed(0)
    shot = Shot(textures, 48, 64, 2)
    made = MaskCarrier([shot.key(0)], shot.pictures, [1], MaskRefiner(SMALL).eval()).carry(1)[0][..., 0]
    assert overlap(made, shot.mattes[1]) > 0.85


def test_snapping_moves_an_edge_to_the_picture(textures: Any) -> None:
    shot = Shot(textures, 64, 80, 1, radius=16)
    off = np.roll(shot.mattes[0], 4, axis=1)
    moved = snapped(lab(shot.pictures[0]), off)
    truth = shot.mattes[0] > 0.5
    assert overlap(moved > 0.5, truth) > overlap(off > 0.5, truth) + 0.15


def test_colors_of_the_key_speak_for_the_object(textures: Any) -> None:
    shot = Shot(textures, 64, 80, 2)
    model = KeyColors.of(lab(shot.pictures[0]), shot.mattes[0])
    likely = model.likelihood(lab(shot.pictures[1]))
    assert likely[shot.mattes[1] == 1].mean() > 0.9
    assert likely[shot.mattes[1] == 0].mean() < 0.1


def test_the_papers_networks_start_as_a_copy(textures: Any) -> None:
    torch.manual_seed(0)
    network = MaskSegmentation(SegmentationConfig(guidance_widths=(4, 4, 4), refine_widths=(4, 4))).eval()
    shot = Shot(textures, 50, 70, 3, radius=14)
    for refined in (False, True):
        mattes, sure = SegmentationCarrier([shot.key(0)], shot.pictures, network, refined).carry(1)
        assert overlap(mattes[..., 0] > 0.5, shot.mattes[0] > 0.5) > 0.75
        assert sure.shape == (50, 70)


def test_shipped_weights_are_no_worse_than_no_network(textures: Any) -> None:
    shot = Shot(textures, 96, 128, 6, step=3, radius=18)
    scores = []
    for network in (load_mask(shipped("mask")), None):
        made = MaskCarrier([shot.key(0)], shot.pictures, range(1, 6), network)
        scores.append(np.mean([overlap(made.carry(frame)[0][..., 0], shot.mattes[frame]) for frame in range(1, 6)]))
    assert scores[0] > scores[1] - 0.01
    assert scores[0] > 0.85


def test_shipped_weights_of_the_papers_networks_load(textures: Any) -> None:
    shot = Shot(textures, 96, 128, 3, step=2, radius=18)
    network = load_mask_segmentation(shipped("mask_seg"))
    made, _ = SegmentationCarrier([shot.key(0)], shot.pictures, network).carry(2)
    assert overlap(made[..., 0], shot.mattes[2]) > 0.5
