"""`stpn propagate --property mask --adapt`: what is refused, what is learned, the same in every chunk."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import OpenImageIO as oiio
import pytest
import torch

from stpn.engine import weights
from stpn.engine.properties.mask_network import MaskConfig, MaskRefiner
from stpn.engine.training import mask_adaptation
from stpn.plugin.adaptation_plan import MaskPlan
from stpn.plugin.progress import Status
from stpn.plugin.shot import check

Array = np.ndarray[Any, Any]
KEYS = (1001, 1003, 1005)
STEPS = (
    "--adapt: expected steps with --property mask, 1 to 100000, such as 80steps, got {!r}: every chunk of a farm "
    "adapts by itself and must come to the same weights, which minutes do not tell; name steps"
)


@pytest.fixture(autouse=True)
def _shipped(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A small network in place of the one that is shipped, and few dreams and large steps, so that seconds suffice."""
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("weights") / "mask.safetensors"
    weights.save_network(path, MaskRefiner(MaskConfig((4, 8, 8, 8, 12), 8)), {})
    honest = weights.shipped
    monkeypatch.setattr(weights, "shipped", lambda name: path if name == "mask" else honest(name))
    monkeypatch.setattr(mask_adaptation, "_DREAMS", 1)
    monkeypatch.setattr(mask_adaptation, "_LEARNING_RATE", 2e-2)
    before = torch.get_num_threads(), cv2.getNumThreads()
    yield
    torch.set_num_threads(before[0])
    cv2.setNumThreads(before[1])


def thing(frame: int) -> Array:
    """The matte (48, 64) of a square that moves with the scene."""
    matte = np.zeros((48, 64), np.float16)
    top, left = 18 - (frame - 1001), 30 - 2 * (frame - 1001)
    matte[top : top + 16, left : left + 18] = 1
    return matte


@pytest.fixture
def shot(studio: Any) -> Any:
    """A plate of 1001-1005 in which a bright square moves; every second frame is a key."""
    studio.shape = (48, 64)
    for frame in range(1001, 1006):
        studio.write(f"plate.{frame}.exr", studio.channels(studio.light(frame) * 0.5 + thing(frame)))
    for frame in KEYS:
        studio.write(f"key.{frame}.exr", {"A": thing(frame)})
    return studio


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, Any]]:
    """Keys and result of all adaptations from now on."""
    found: list[tuple[Any, Any]] = []
    honest = mask_adaptation.adapt_mask_network

    def adapt(network: Any, keys: Any, *args: Any) -> Any:
        found.append((keys, honest(network, keys, *args)))
        return found[-1][1]

    monkeypatch.setattr(mask_adaptation, "adapt_mask_network", adapt)
    return found


def options(**more: Any) -> dict[str, Any]:
    return {"property": "mask", "cuts": "none", "threads": 1, **more}


def run(shot: Any, *more: str) -> Any:
    return shot.run("--property", "mask", "--cuts", "none", "--threads", "1", *more)


def test_every_chunk_learns_from_all_keys_and_is_as_the_whole(shot: Any, made: list[Any]) -> None:
    shot.render(**options(output="plain.####.exr"))
    plain = shot.contents("plain.")
    done = run(shot, "--adapt", "2steps")
    assert done.code == 0
    said = done.err.splitlines()
    assert "adapt: 2 steps on keys 1001, 1003, 1005" in said
    assert any(line.startswith("adapting: key 1001, object 1: dream 1 of 1") for line in said)
    whole = shot.contents("out.")
    assert {name for name in plain if whole[name] != plain[name]} == {"1002.exr", "1004.exr"}
    assert whole.keys() == plain.keys()  # and no file of weights

    for frames, threads in (("1002", 2), ("1004-1005", 1)):
        shot.render(**options(adapt="2steps", frames=frames, threads=threads, output="a/out.####.exr"))
    parts = shot.contents("a/out.")
    assert sorted(parts) == ["1002.exr", "1004.exr", "1005.exr"]
    assert all(whole[name] == data for name, data in parts.items())
    assert [[key.frame for key in keys] for keys, _ in made] == [[*KEYS]] * 3
    first, *others = (network.state_dict() for _, network in made)
    assert all(torch.equal(value, other[name]) for other in others for name, value in first.items())


def test_the_keys_are_those_of_the_request(shot: Any) -> None:
    def plan(**more: Any) -> MaskPlan:
        right = check(shot.request(**options(adapt="1step", frames="1002", **more)))
        assert isinstance(right.adaptation, MaskPlan)
        assert right.decisions[-1] == right.adaptation.said
        return right.adaptation

    assert plan().keys == KEYS
    assert plan(interval=4).keys == (1001, 1005)
    assert plan(key_frames="1003").keys == (1003,)
    (shot.folder / "plate.1005.exr").unlink()
    assert plan().said == "adapt: 1 step on keys 1001, 1003; no plate frame for 1005"
    (shot.folder / "key.1001.exr").unlink()
    assert shot.refused(**options(adapt="1step", frames="1002", key_frames="1001,1003", keys_used="next")) == (
        "key.####.exr: expected key frames 1001, not found; there are 1003, 1005; --adapt learns from every key of the "
        "shot",
    )


def test_keys_that_serve_no_frame_are_checked_too(shot: Any) -> None:
    shot.write("key.1005.exr", {"A": 3 * thing(1005)})
    check(shot.request(**options(frames="1002")))
    assert shot.refused(**options(frames="1002", adapt="1step")) == (
        "key.1005.exr: frame 1005, channel A: expected a matte of 0 to 1, found values of 0 to 3; scale or clamp it",
    )


def test_object_numbers_are_learned_one_by_one(shot: Any, made: list[Any]) -> None:
    for frame in (1001, 1003):
        numbers = np.where(thing(frame) > 0, 3, 0).astype(np.uint8)
        numbers[:6, :6] = 7 if frame == 1003 else 0
        spec = oiio.ImageSpec(64, 48, 1, oiio.UINT8)
        output = oiio.ImageOutput.create(str(shot.folder / f"n.{frame}.png"))
        output.open(str(shot.folder / f"n.{frame}.png"), spec)
        output.write_image(numbers[..., None])
        output.close()
    names: dict[str, Any] = {"keys": "n.####.png", "output": "o.####.png", "mask_labels": True}
    shot.render(**options(**names, adapt="1step", frames="1002"))
    ((keys, _),) = made
    assert [key.prop.shape for key in keys] == [(48, 64, 2)] * 2
    assert [key.prop[2, 2].tolist() for key in keys] == [[0, 0], [0, 1]]
    assert np.array_equal(keys[0].prop[..., 0], thing(1001))


@pytest.mark.parametrize("amount", ["5", "0.5", "0steps", "100001steps", "soon"])
def test_anything_but_steps_is_refused(shot: Any, amount: str) -> None:
    assert shot.refused(**options(adapt=amount)) == (STEPS.format(amount),)


def test_flow_has_nothing_to_adapt(shot: Any) -> None:
    assert shot.refused(**options(adapt="2steps", method="flow")) == (
        "--adapt: expected --method aligned, got flow; leave one of them out",
    )
    assert run(shot, "--adapt", "2steps", "--method", "flow").code == 2


@pytest.mark.parametrize("at", ["key 1003, object 1", "step 1 of"])
def test_ctrl_c_leaves_nothing(shot: Any, at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = shot.files()
    honest = Status.show

    def show(self: Status, text: str) -> None:
        honest(self, text)
        if at in text:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Status, "show", show)
    done = run(shot, "--adapt", "3steps")
    assert done.code == 130
    assert done.err.splitlines()[-1] == "stpn propagate: cancelled; the frames that are there are whole"
    assert shot.files() == before


def test_nothing_is_learned_where_nothing_is_to_be_carried(shot: Any, made: list[Any]) -> None:
    shot.render(**options(adapt="1step", frames="1001,1003", output="keys.####.exr"))
    assert made == []
    shot.render(**options())
    shot.render(**options(adapt="1step", skip_existing=True))  # what is there was made with other weights
    assert len(made) == 1
    before = shot.files()
    shot.render(**options(adapt="1step", skip_existing=True))
    assert len(made) == 1
    assert shot.files() == before
    (shot.folder / "out.1004.exr").unlink()
    shot.render(**options(adapt="1step", skip_existing=True))
    assert len(made) == 2
    assert {name: data for name, (_, _, data) in shot.files().items()} == {n: d for n, (_, _, d) in before.items()}


def test_where_no_object_is_large_enough_it_is_said(shot: Any) -> None:
    shot.write("key.1001.exr", {"A": 0 * thing(1001)})
    done = run(shot, "--adapt", "1step", "--key-frames", "1001", "--frames", "1002")
    assert done.code == 0
    said = "adapt: nothing on the keys is large enough to learn from, so the weights stay as they were"
    assert said in done.err.splitlines()


def test_a_frame_that_cannot_be_read_is_named(shot: Any) -> None:
    path: Path = shot.folder / "plate.1005.exr"
    broken = bytearray(path.read_bytes())
    broken[-60:] = bytes(60)
    path.write_bytes(broken)
    done = run(shot, "--adapt", "1step", "--frames", "1002")
    assert done.code == 1
    assert done.err.splitlines()[-1].startswith(f"stpn propagate: frame 1005: {path}: ")
    assert not shot.contents("out.")
