"""What a frame would give to the frames around it: sure where motion leads back to it, unsure where it is lost."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from stpn.engine import expected_confidence as module
from stpn.engine.carriers import FlowCarrier, Key
from stpn.engine.expected_confidence import Reach, expected_confidence

Array = np.ndarray[Any, Any]
SIZE = (48, 64)


def reaches(lightness: list[Array], keys: list[int], parallel: Any = map) -> dict[int, Reach]:
    return dict(expected_confidence(dict(enumerate(lightness)), range(len(lightness)), keys, parallel))


def means(reach: Reach) -> Array:
    return reach.maps.mean(axis=1) / 255


@pytest.fixture(scope="module")
def moving(textures: Any) -> list[Array]:
    """Lightness of twelve frames that move by two pixels each."""
    texture = textures(*SIZE, seed=3)
    return [(50 + 15 * texture.moved(2.0 * t, 0.5 * t)).astype(np.float32) for t in range(12)]


def test_what_stands_still_is_sure(moving: list[Array]) -> None:
    reach = reaches([moving[0]] * 5, [2])[2]
    assert (reach.first, reach.maps.dtype, reach.maps.shape) == (0, np.uint8, (5, 24 * 32))
    assert reach.shape == (24, 32)
    assert (means(reach) > 0.99).all()


def test_motion_is_followed_and_tells_less_the_further_away(moving: list[Array]) -> None:
    inside = np.zeros((24, 32), bool)
    inside[4:-4, 4:-4] = True
    maps = reaches(moving, [4])[4].maps[:, inside.reshape(-1)].mean(axis=1) / 255
    assert maps[4] == 1
    assert (maps[2:7] > 0.9).all()
    assert means(reaches(moving, [0])[0])[[1, 6, 11]].tolist() == sorted(
        means(reaches(moving, [0])[0])[[1, 6, 11]], reverse=True
    )


def test_what_is_new_is_unsure_where_it_is(moving: list[Array]) -> None:
    # from frame 3 on something else covers the right half
    frames = [moving[0]] * 6
    covered = moving[0].copy()
    covered[:, 32:] = moving[9][::-1, 32:]
    frames[3:] = [covered] * 3
    found = reaches(frames, [0, 5])
    left = np.zeros((24, 32), bool)
    left[:, :14] = True
    right = np.zeros((24, 32), bool)
    right[:, 18:] = True
    for key, there, gone in ((0, (1, 2), (3, 4, 5)), (5, (3, 4), (0, 1, 2))):
        maps = found[key].maps.reshape(6, 24, 32)
        assert maps[list(there)].min() > 250
        assert maps[list(gone)][:, left].mean() > 245
        assert maps[list(gone)][:, right].mean() < 150


def test_nothing_is_known_out_of_reach(moving: list[Array], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REACH", 3)
    reach = reaches(moving, [5])[5]
    assert (reach.first, len(reach.maps)) == (2, 7)
    assert reach.maps.min() >= 1
    found = reach.maps_of(range(12))
    assert found.shape == (12, reach.maps.shape[1])
    assert (found.max(axis=1) > 0).tolist() == [False] * 2 + [True] * 7 + [False] * 3
    assert reach.maps_of(range(9, 12)).max() == 0
    assert reach.maps_of(range(5, 5)).shape == (0, reach.maps.shape[1])
    assert reaches(moving, [0])[0].first == 0


def test_blocks_threads_and_company_do_not_change_a_bit(moving: list[Array], monkeypatch: pytest.MonkeyPatch) -> None:
    alone = {key: reaches(moving, [key])[key].maps for key in range(12)}
    monkeypatch.setattr(module, "_BLOCK", 5)
    with ThreadPoolExecutor(3) as pool:
        together = reaches(moving, list(range(12)), pool.map)
    assert list(together) == list(range(12))
    assert all((together[key].maps == alone[key]).all() for key in range(12))


def test_frame_numbers_are_the_plates_own(moving: list[Array]) -> None:
    shifted = {frame + 1001: light for frame, light in enumerate(moving)}
    ((key, reach),) = expected_confidence(shifted, range(1003, 1009), [1004])
    assert (key, reach.first, len(reach.maps)) == (1004, 1003, 6)


def test_it_foresees_the_true_error_of_a_real_shot(shared: Path) -> None:
    video = cv2.VideoCapture(str(shared / "data" / "clips" / "sam2_juggle.mp4"))
    frames = [cv2.resize(video.read()[1], (160, 90), interpolation=cv2.INTER_AREA) for _ in range(25)]
    lab = [cv2.cvtColor(frame.astype(np.float32) / 255, cv2.COLOR_BGR2LAB) for frame in frames]
    light = [np.ascontiguousarray(image[..., 0]) for image in lab]
    colors = [np.ascontiguousarray(image[..., 1:]) for image in lab]
    foreseen, error = [], []
    for key, targets in ((0, (2, 8, 16, 24)), (12, (0, 4, 8, 11))):
        sure = means(reaches(light, [key])[key])
        carrier = FlowCarrier([Key(key, colors[key])], dict(enumerate(light)), targets)
        for target in targets:
            error.append(np.square(carrier.carry(target)[0] - colors[target]).mean())
            foreseen.append(1 - sure[target])
    ranks = [np.argsort(np.argsort(values)) for values in (foreseen, error)]
    assert np.corrcoef(*ranks)[0, 1] > 0.8
