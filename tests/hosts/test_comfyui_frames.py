"""The node of ComfyUI for pictures: which keys serve a frame, what is asked of the worker, what comes out."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from typing import Any

import comfyui_setup as shared
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stpn.plugin import keys as stpn_keys
from stpn.plugin import node

stand_in, SOURCE = shared.stand_in, shared.SOURCE
Comfy, comfy, host = shared.Comfy, shared.comfy, shared.host


def tensor(*shape: int, seed: int = 0) -> torch.Tensor:
    """Pictures with values below 0 and above 1."""
    return torch.from_numpy(np.random.default_rng(seed).normal(0.5, 1, shape).astype(np.float32))


# which keys serve a frame


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", (0,)), ("0-80x20,93", (0, 20, 40, 60, 80, 93)), (" 5 , 3-1", (1, 2, 3, 5)), ("10-0x5", (0, 5, 10))],
)
def test_ranges(comfy: Comfy, text: str, expected: tuple[int, ...]) -> None:
    assert comfy.module("batch_keys").frames_of(text, 100) == expected


@pytest.mark.parametrize("text", ["", "a", "1-", "-1", "1-5x0", "100", "0-999999999", "1,,2", "1-5y2", "٣"])
def test_ranges_that_make_no_sense(comfy: Comfy, text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        comfy.module("batch_keys").frames_of(text, 100)


def settings(**given: Any) -> dict[str, Any]:
    return {one.name: one.default for one in node.PARAMETERS} | given


@pytest.mark.parametrize(
    ("given_settings", "keys", "expected"),
    [
        ({}, 5, (0, 20, 40, 60, 80)),
        ({}, 2, (0, 20)),
        ({"interval": 30, "first_key": "7"}, 3, (7, 37, 67)),
        ({"interval": 30, "first_key": "7", "key_frames": "0-80x40"}, 3, (0, 40, 80)),
    ],
)
def test_where_keys_stand(comfy: Comfy, given_settings: dict[str, Any], keys: int, expected: tuple[int, ...]) -> None:
    assert comfy.module("batch_keys").key_frames(settings(**given_settings), 81, keys) == expected


@pytest.mark.parametrize(
    ("given_settings", "keys", "message"),
    [
        ({}, 6, "at most 5 pictures"),
        ({"first_key": "90"}, 1, "at most 0 pictures"),
        ({"first_key": "-1"}, 1, "First key"),
        ({"first_key": "one"}, 1, "First key"),
        ({"key_frames": "0-80x40"}, 2, "each of 3 key frames, got 2"),
    ],
)
def test_keys_that_do_not_fit(comfy: Comfy, given_settings: dict[str, Any], keys: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        comfy.module("batch_keys").key_frames(settings(**given_settings), 81, keys)


@given(
    st.integers(0, 40),
    st.sets(st.integers(0, 40), min_size=1),
    st.sampled_from(["both", "previous", "next"]),
)
def test_keys_serve_as_they_do_everywhere(frame: int, keys: set[int], used: str) -> None:
    numbers = shared.loaded(SOURCE / "batch_keys.py")
    ordered = sorted(keys)
    expected = tuple(key for key in stpn_keys.serving(frame, ordered, used) if key is not None)
    if frame in keys:
        assert numbers.serving(frame, ordered, used) == (frame,)
    elif expected:
        assert numbers.serving(frame, ordered, used) == expected
    else:
        with pytest.raises(ValueError, match="set Keys used"):
            numbers.serving(frame, ordered, used)


def test_the_farthest_frame_comes_first_where_one_key_serves() -> None:
    numbers = shared.loaded(SOURCE / "batch_keys.py")
    served = [numbers.serving(frame, (2, 4), "both") for frame in range(8)]
    assert numbers.order(served) == [0, 1, 2, 3, 4, 7, 6, 5]
    served = [numbers.serving(frame, (0, 3), "previous") for frame in range(6)]
    assert numbers.order(served) == [0, 3, 2, 1, 5, 4]


# pictures


class Worker:
    """In place of the worker: gives the nearest key of a job, and a confidence of its frame."""

    def __init__(self, comfy: Comfy, monkeypatch: pytest.MonkeyPatch) -> None:
        self.jobs: list[Any] = []
        self.devices: list[str] = []
        self.channels = "RGB"
        self.meanwhile: Callable[[], None] = lambda: None
        self._result = comfy.module("worker_client").Result
        self._cancelled = comfy.module("worker_client").Cancelled
        monkeypatch.setattr(comfy.module("frames_node"), "_client", self._client)

    def _client(self, device: str) -> Worker:
        self.devices.append(device)
        return self

    def render(self, job: Any, progress: Any = None, cancelled: Any = lambda: False) -> Any:
        self.jobs.append(job)
        self.meanwhile()
        if progress is not None:
            progress(0.5, "motion")
        if cancelled():
            raise self._cancelled
        if job.parameters["output"] == "confidence":
            pixels = np.full((*next(iter(job.sources.values())).pixels.shape[:2], 3), job.frame / 10, np.float32)
            return self._result(pixels, "RGB", 0.5, 0.0, ())
        nearest = min(job.keys, key=lambda key: abs(key - job.frame))
        pixels = job.keys[nearest].pixels[..., : len(self.channels)]
        return self._result(pixels, self.channels, 0.5, 0.1, ("a note",))


@pytest.fixture
def worker(comfy: Comfy, monkeypatch: pytest.MonkeyPatch) -> Worker:
    return Worker(comfy, monkeypatch)


def test_pictures_go_through_as_they_are(comfy: Comfy, worker: Worker) -> None:
    source, keys = tensor(7, 4, 6, 3), tensor(2, 4, 6, 3, seed=1)
    image, confidence = comfy.frames.execute(source, keys, interval=4, device="CPU").args
    nearest = [0, 0, 0, 1, 1, 1, 1]
    assert torch.equal(image, keys[nearest])
    assert image.dtype == confidence.dtype == torch.float32
    expected = torch.tensor([1.0, 0.1, 0.2, 0.3, 1.0, 0.5, 0.6]).reshape(7, 1, 1).expand(7, 4, 6)
    assert torch.equal(confidence, expected)
    assert worker.devices == ["cpu"]
    ((total, bar),) = comfy.host.bars
    assert total == bar[-1] == 7000
    assert bar == sorted(bar)


def test_jobs_are_what_the_worker_expects(comfy: Comfy, worker: Worker) -> None:
    source, keys = tensor(6, 4, 6, 3), tensor(2, 4, 6, 3, seed=1)
    matte = tensor(6, 4, 6, seed=2)
    comfy.frames.execute(source, keys, matte, interval=3, mix=0.5, property="Color", keys_used="Both sides")
    results = {job.frame: job for job in worker.jobs if job.parameters["output"] == "result"}
    sure = {job.frame: job for job in worker.jobs if job.parameters["output"] == "confidence"}
    assert {frame: sorted(job.sources) for frame, job in results.items()} == {
        0: [0], 1: [0, 1, 2, 3], 2: [0, 1, 2, 3], 3: [3], 4: [3, 4], 5: [3, 4, 5],
    }  # fmt: skip
    assert {frame: sorted(job.keys) for frame, job in results.items()} == {
        0: [0], 1: [0, 3], 2: [0, 3], 3: [3], 4: [3], 5: [3],
    }  # fmt: skip
    for frame, job in results.items():
        assert set(job.parameters) == {one.name for one in node.PARAMETERS if not one.files_only} - {
            "interval", "first_key", "key_frames",
        }  # fmt: skip
        assert job.parameters["mix"] == 0.5
        assert (job.parameters["property"], job.parameters["keys_used"]) == ("color", "both")
        np.testing.assert_array_equal(job.matte.pixels[..., 0], matte[frame])
        np.testing.assert_array_equal(job.sources[frame].pixels, source[frame])
        assert (job.colorspace, job.keys_colorspace) == ("sRGB - Texture", "sRGB - Texture")
        assert job.want == ("float", "RGB")
    assert sorted(sure) == [1, 2, 4, 5]
    for job in sure.values():
        assert (job.parameters["mix"], job.matte) == (1.0, None)


def test_the_space_that_is_meant_is_in_the_config() -> None:
    from stpn.ocio.config import load_config

    text = (SOURCE / "frames_node.py").read_text("utf-8")
    name = next(
        ast.literal_eval(one.value)
        for one in ast.parse(text).body
        if isinstance(one, ast.Assign) and getattr(one.targets[0], "id", "") == "COLORSPACE"
    )
    assert load_config(None).space(name).encoding == "sdr-video"


def test_hdr_keys_are_not_srgb(comfy: Comfy, worker: Worker) -> None:
    comfy.frames.execute(tensor(2, 4, 6, 3), tensor(1, 4, 6, 3), property="HDR radiance")
    assert {(job.colorspace, job.keys_colorspace) for job in worker.jobs} == {("sRGB - Texture", "")}


@pytest.mark.parametrize(
    ("of_source", "of_keys", "made"), [(4, 3, "RGB"), (3, 4, "RGBA"), (4, 4, "RGBA"), (3, 1, "RGB")]
)
def test_alpha_comes_from_where_it_is(comfy: Comfy, worker: Worker, of_source: int, of_keys: int, made: str) -> None:
    worker.channels = made
    source, keys = tensor(2, 4, 6, of_source), tensor(1, 4, 6, of_keys, seed=1)
    image, _ = comfy.frames.execute(source, keys).args
    wanted = "RGBA" if 4 in (of_source, of_keys) else "RGB"
    assert worker.jobs[0].want == ("float", wanted)
    assert image.shape == (2, 4, 6, len(wanted))
    np.testing.assert_array_equal(image[0, ..., :3], keys[0, ..., :3].expand(4, 6, 3))
    if wanted == "RGBA":
        np.testing.assert_array_equal(image[0, ..., 3], keys[0, ..., 3] if made == "RGBA" else source[0, ..., 3])


@pytest.mark.parametrize(
    ("source", "keys", "matte", "given_settings", "message"),
    [
        (tensor(3, 4, 6, 3), tensor(1, 4, 5, 3), None, {}, "Keys: expected the Source's size 6 x 4, got 5 x 4"),
        (tensor(3, 4, 6, 3), tensor(1, 4, 6, 2), None, {}, "Keys: expected pictures"),
        (tensor(3, 4, 6), tensor(1, 4, 6, 3), None, {}, "Source: expected pictures"),
        (tensor(3, 4, 6, 3), tensor(1, 4, 6, 3), tensor(2, 4, 6), {}, "Matte: expected 1 or 3 masks of 6 x 4"),
        (tensor(3, 4, 6, 3), tensor(1, 4, 6, 3), None, {"keys_used": "Next only"}, "none for frame 1 with keys at 0"),
        (tensor(3, 4, 6, 3), tensor(2, 4, 6, 3), None, {}, "at most 1 pictures"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_asked(
    comfy: Comfy, worker: Worker, source: Any, keys: Any, matte: Any, given_settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        comfy.frames.execute(source, keys, matte, **given_settings)
    assert worker.jobs == []


def test_one_mask_is_that_of_all(comfy: Comfy, worker: Worker) -> None:
    comfy.frames.execute(tensor(3, 4, 6, 3), tensor(1, 4, 6, 3), tensor(4, 6))
    mattes = [job.matte for job in worker.jobs if job.matte is not None]
    assert len(mattes) == 3
    assert len({id(matte) for matte in mattes}) == 1


@pytest.mark.parametrize("where", ["in progress", "while waiting"])
def test_interruption(comfy: Comfy, worker: Worker, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    def interrupt() -> None:
        comfy.host.interrupted = len(worker.jobs) == 3

    worker.meanwhile = interrupt
    if where == "while waiting":
        monkeypatch.setattr(sys.modules["comfy.utils"].ProgressBar, "update_absolute", lambda bar, value: None)
    with pytest.raises(stand_in.InterruptProcessingException):
        comfy.frames.execute(tensor(5, 4, 6, 3), tensor(1, 4, 6, 3))
    assert len(worker.jobs) == 3
    assert not comfy.host.interrupted
