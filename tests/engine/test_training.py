"""Training: pairs follow from the seed, a short run learns."""

import io
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from stpn.engine.network import SwitchableTPN
from stpn.engine.training import data
from stpn.engine.training.train import Recipe, train

SHORT = Recipe(image_steps=30, video_steps=30, batch=2, crop=48, warm_up=5, learning_rate=2e-3)


def picture(shift: int = 0) -> data.Frames:
    """A colored pattern, 96 x 128, uint8 BGR, moved to the right by `shift`."""
    y, x = np.mgrid[0:96, 0:128].astype(np.float32)
    x = x - shift
    waves = [np.sin(x / 7) + np.cos(y / 9), np.sin((x + y) / 11), np.cos(x / 13) * np.sin(y / 5)]
    return np.clip(127 + 60 * np.dstack(waves), 0, 255).astype(np.uint8)


@pytest.fixture
def clips() -> list[data.Frames]:
    return [np.stack([picture(2 * t) for t in range(12)])]


def test_pairs_follow_from_the_seed(clips: list[data.Frames]) -> None:
    for draw in (lambda rng: data.photo_pair([picture()], rng, 48), lambda rng: data.clip_pair(clips, rng, 48)):
        first, again, other = (draw(np.random.default_rng(seed)) for seed in (5, 5, 6))
        assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
        assert not np.array_equal(first[0], other[0])
        assert all(view.shape == (48, 48, 3) and view.dtype == np.float32 for view in first)


def test_augmentation_turns_hue_but_keeps_both_frames_alike(clips: list[data.Frames]) -> None:
    still = [np.repeat(clips[0][:1], 12, axis=0)]
    first, second = data.clip_pair(still, np.random.default_rng(3), 48)
    np.testing.assert_array_equal(first, second)


def test_a_short_training_learns_and_is_the_same_twice(clips: list[data.Frames]) -> None:
    runs = []
    for _ in range(2):
        lines: list[str] = []
        kept: list[SwitchableTPN] = []
        train(SHORT, [picture()], clips, lines.append, kept.append)
        runs.append([p.detach().clone() for p in kept[-1].parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))
    start = _error(SwitchableTPN(), clips)
    assert _error(kept[-1], clips) < 0.97 * start


def _error(network: SwitchableTPN, clips: list[data.Frames]) -> float:
    """Mean squared error of ab / 100 on pairs that no step has drawn."""
    total = 0.0
    for seed in range(8):
        pair = data.clip_pair(clips, np.random.default_rng([99, seed]), 64)
        key, target = (torch.from_numpy(lab).permute(2, 0, 1)[None] for lab in pair)
        with torch.no_grad():
            out = network(key[:, 1:] / 100, key[:, :1] / 100 - 0.5, target[:, :1] / 100 - 0.5)
        total += float((out - target[:, 1:] / 100).square().mean())
    return total


def test_cache_leaves_out_what_is_for_measuring(tmp_path: Path) -> None:
    source, cache = tmp_path / "data", tmp_path / "cache"
    (source / "clips").mkdir(parents=True)
    (source / "photos").mkdir()
    for name in ("train", "measure"):
        video = cv2.VideoWriter(str(source / "clips" / f"{name}.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 24, (128, 96))
        for t in range(5):
            video.write(picture(t))
        video.release()
    jpeg = cv2.imencode(".jpg", picture())[1].tobytes()
    with tarfile.open(source / "photos" / "photos-000.tar", "w") as tar:
        for name in ("one.jpg", "two.jpg"):
            member = tarfile.TarInfo(name)
            member.size = len(jpeg)
            tar.addfile(member, io.BytesIO(jpeg))
    data.build_cache(source, cache, {"clips/measure.mp4"})
    assert sorted(p.name for p in (cache / "clips").iterdir()) == ["train.npy"]
    assert len(data.load_cache(cache, "photos", set())) == 2
    assert data.load_cache(cache, "clips", set())[0].shape == (5, 96, 128, 3)
    data.build_cache(source, cache, set())
    assert len(data.load_cache(cache, "clips", set())) == 2
    assert len(data.load_cache(cache, "clips", {"clips/measure.mp4"})) == 1


def test_an_empty_cache_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no clips in .*: give a data folder with clips/ in it"):
        data.load_cache(tmp_path, "clips", set())
