"""`stpn propagate --adapt` and `--weights`: what is refused, what is learned, what lies beside the output then."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

from stpn.engine import weights, working_size
from stpn.engine.aligned_network import AlignedConfig, AlignedFusion
from stpn.engine.network import NetworkConfig, SwitchableTPN
from stpn.engine.training.adaptation import Settings
from stpn.ocio.sequence import Sequence
from stpn.plugin import adaptation
from stpn.plugin.adaptation_plan import parse_amount
from stpn.plugin.adapted_file import Record, adapted_path, digest, options_of, read_record, write_adapted
from stpn.plugin.progress import Status
from stpn.plugin.request import RequestError
from stpn.plugin.shot import check

KEYS = (1001, 1003, 1005, 1007, 1009)
ADAPTED = "out.adapted.safetensors"
NEEDS = (
    "--adapt: expected 3 keys or more in one shot, so that one can be predicted from those around it, got keys {}; "
    "paint more keys, or leave --adapt out"
)


def make_weights(path: Path, *, spoiled: bool = True, seed: int = 1) -> Path:
    """A small network that is close to `flow`; spoiled, it takes fills everywhere, and not the best of them."""
    torch.manual_seed(seed)
    made = AlignedFusion(AlignedConfig(4, (8, 8, 8, 8), spreads=2, heads=2, match_channels=4))
    if spoiled:
        with torch.no_grad():
            made.steer.bias[0] = 3
            made.steer.bias[made.per_spread :: made.per_spread] = 4
    weights.save_network(path, made, {})
    return path


@pytest.fixture(autouse=True)
def shipped(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Small weights in place of those that are shipped, and short trainings."""
    path = make_weights(tmp_path_factory.mktemp("weights") / "aligned.safetensors")
    honest = weights.shipped
    monkeypatch.setattr(weights, "shipped", lambda name: path if name == "aligned" else honest(name))
    learn_at(2e-2, monkeypatch)
    # so small pictures are slower on several
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    return path


def learn_at(rate: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adaptation, "SETTINGS", Settings(learning_rate=rate, batch=1, crop=48))


@pytest.fixture
def shot(studio: Any) -> Any:
    """Nine frames, every second one a key."""
    studio.shape = (40, 48)
    studio.plate(range(1001, 1010))
    studio.keys(KEYS)
    return studio


def tensors(path: Path) -> dict[str, bytes]:
    with safe_open(path, "np") as file:
        return {name: file.get_tensor(name).tobytes() for name in file.keys()}  # noqa: SIM118 - no mapping


def spy(monkeypatch: pytest.MonkeyPatch, after: Callable[[Any], None] = lambda _: None) -> list[Any]:
    """The results of all adaptations from now on."""
    made: list[Any] = []
    honest = adaptation.adapt

    def adapt(*args: Any, **options: Any) -> Any:
        made.append(honest(*args, **options))
        after(made[-1])
        return made[-1]

    monkeypatch.setattr(adaptation, "adapt", adapt)
    return made


def test_a_shot_is_adapted_to_rendered_and_not_adapted_to_again(
    shot: Any, shipped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = spy(monkeypatch)
    assert shot.run().code == 0
    plain = shot.contents("out.")
    done = shot.run("--adapt", "8steps", "--threads", "2")
    assert done.code == 0
    said = done.err.splitlines()
    assert f"adapt: learns from keys 1003, 1007, held aside 1005, 8 steps, into {ADAPTED}" in said
    (verdict,) = [line for line in said if "dB" in line]
    assert verdict.startswith("adapt: ")
    assert verdict.endswith(f" dB on keys held aside (1005), 8 steps: kept; {shot.folder}/{ADAPTED}")
    assert any(line.startswith("adapting: motion around key 1003, 1 of 3") for line in said)

    record = read_record(shot.folder / ADAPTED)
    assert record == Record(
        base=digest(shipped),
        plate="plate.####.exr",
        keys={key: digest(shot.folder / f"key.{key}.exr") for key in KEYS},
        options={"colorspace": "auto", "keys_colorspace": "auto", "working": "linear", "keys_used": "both"},
        steps=8,
        before=made[0].before,
        after=made[0].after,
        kept=True,
    )
    assert record.after[1005] > record.before[1005] + 0.3
    assert (shot.folder / ADAPTED).stat().st_mode == (shot.folder / "out.1002.exr").stat().st_mode
    assert tensors(shot.folder / ADAPTED) != tensors(shipped)
    whole = shot.contents("out.")
    changed = {name for name in plain if whole[name] != plain[name]}
    assert changed == {f"{frame}.exr" for frame in (1002, 1004, 1006, 1008)}

    again = shot.run("--adapt", "5")
    assert len(made) == 1
    assert f"adapt: {ADAPTED} fits and is used ({record.verdict}); remove it to adapt again" in again.err.splitlines()
    assert shot.contents("out.") == whole
    # and without --adapt it is as if it had never been
    shot.run()
    assert {name: data for name, data in shot.contents("out.").items() if name in plain} == plain


def test_a_larger_plate_is_learned_at_the_working_size(shot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(working_size, "LONG_SIDE", 24)
    triples: list[Any] = []
    honest = adaptation._triple
    monkeypatch.setattr(adaptation, "_triple", lambda *args: triples.append(honest(*args)) or triples[-1])
    made = spy(monkeypatch)
    shot.render(adapt="2steps", frames="1002")
    assert [triple.frame for triple in triples] == [1003, 1005, 1007]
    for triple in triples:
        assert triple.reduced
        assert {light.shape for light in triple.lightness.values()} == {(20, 24)}
        assert {prop.shape for prop in triple.props.values()} == {(20, 24, 2)}
    assert list(made[0].before) == [1005]
    assert made[0].before[1005] > 20


def test_chunks_with_the_same_file_are_the_same_as_one_run(shot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = spy(monkeypatch)
    shot.render(adapt="6steps")
    whole = shot.contents("out.")
    for name in whole:
        if name != ADAPTED.removeprefix("out."):
            (shot.folder / f"out.{name}").unlink()
    shot.render(adapt="6steps", frames="1001-1004")
    # a farm's machine may have no more than its chunk takes
    for frame in (1001, 1002, 1003, 1004):
        (shot.folder / f"plate.{frame}.exr").unlink()
    for key in (1001, 1003):
        (shot.folder / f"key.{key}.exr").unlink()
    shot.render(adapt="0.1", frames="1007-1009", threads=1)
    shot.render(adapt="0.1", frames="1005-1006")
    assert shot.contents("out.") == whole
    assert len(made) == 1


def test_what_is_no_better_is_not_kept_but_remembered(
    shot: Any, shipped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn_at(float("inf"), monkeypatch)
    shot.render(frames="1002")
    plain = shot.image("out.1002.exr")
    made = spy(monkeypatch)
    done = shot.run("--adapt", "1step", "--frames", "1002")
    record = read_record(shot.folder / ADAPTED)
    assert record is not None
    assert not record.kept
    assert not record.after[1005] > 0
    assert "1 step: no better, so the weights stay those it started from" in done.err
    assert tensors(shot.folder / ADAPTED) == tensors(shipped)
    assert (shot.image("out.1002.exr") == plain).all()
    assert "no better, so the weights stay" in shot.run("--adapt", "1step", "--frames", "1002").err
    assert len(made) == 1


def test_other_keys_or_other_weights_are_adapted_to_anew(
    shot: Any, shipped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = spy(monkeypatch)
    shot.render(adapt="1step", frames="1002")
    assert len(made) == 1
    shot.write("key.1009.exr", shot.channels(0.9 * shot.rgb(1009)))
    shot.render(adapt="1step", frames="1002")
    assert len(made) == 2
    shot.keys([1004])
    shot.render(adapt="1step", frames="1002")
    assert len(made) == 3
    shot.render(adapt="1step", frames="1002", key_frames="1001,1003,1004,1005")
    assert len(made) == 4
    make_weights(shipped, seed=2)
    shot.render(adapt="1step", frames="1002", key_frames="1001,1003,1004,1005")
    assert len(made) == 5
    record = read_record(shot.folder / ADAPTED)
    assert record is not None
    assert record.base == digest(shipped)
    assert list(record.keys) == [1001, 1003, 1004, 1005]
    shot.render(adapt="1step", frames="1002", key_frames="1001,1003,1004,1005")
    assert len(made) == 5
    shot.render(adapt="1step", frames="1002", key_frames="1001,1003,1004,1005", working="ACEScct")
    assert len(made) == 6


@pytest.mark.parametrize("used", ["both", "next"])
def test_a_single_key_between_two_is_divided(shot: Any, used: str) -> None:
    right = check(shot.request(adapt="0.5", key_frames="1001,1005,1009", keys_used=used, frames="1002-1009"))
    assert right.adaptation is not None
    assert right.decisions[-1] == (
        "adapt: learns from one half of key 1005, in a checkerboard, the other half held aside, 0.5 min, "
        f"into {ADAPTED}"
    )
    assert right.adaptation.serving == {1005: (1001, 1009) if used == "both" else (1009,)}
    shot.render(adapt="2steps", key_frames="1001,1005,1009", keys_used=used, frames="1006")
    record = read_record(shot.folder / ADAPTED)
    assert record is not None
    assert list(record.after) == [1005]


def test_no_key_is_predicted_across_a_cut(shot: Any) -> None:
    right = check(shot.request(adapt="1", cuts="1004"))
    assert right.adaptation is not None
    assert right.adaptation.serving == {1007: (1005, 1009)}
    (problem,) = shot.refused(adapt="1", cuts="1004,1006")
    assert problem == NEEDS.format("1001, 1003, 1005, 1007, 1009; new shots begin at 1004, 1006")
    # where cuts are looked for, they are looked for between all keys
    for frame in range(1007, 1010):
        shot.write(f"plate.{frame}.exr", shot.channels(np.rot90(shot.light(frame + 60)[:40, :40], 1)[:, ::-1]))
        shot.write(f"key.{frame}.exr", shot.channels(shot.rgb(frame)[:40, :40]))
    for frame in range(1001, 1007):
        shot.write(f"plate.{frame}.exr", shot.channels(shot.light(frame)[:40, :40]))
        shot.write(f"key.{frame}.exr", shot.channels(shot.rgb(frame)[:40, :40]))
    found = check(shot.request(adapt="1", frames="1002", key_frames="1001,1003,1005,1007,1009"))
    assert found.cuts == (1007,)
    assert found.adaptation is not None
    assert found.adaptation.serving == {1003: (1001, 1005)}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"key_frames": "1001,1005"}, NEEDS.format("1001, 1005")),
        ({"key_frames": "1001,1005", "frames": "1002"}, NEEDS.format("1001, 1005")),
        *(
            ({"adapt": text}, f"--adapt: expected minutes above 0, such as 5, or steps, such as 300steps, got {text!r}")
            for text in ("soon", "-1", "0", "nan", "0steps", "1e9")
        ),
        ({"method": "flow"}, "--adapt: expected --method aligned, got flow; leave one of them out"),
        ({"method": "stpn"}, "--adapt: expected --method aligned, got stpn; leave one of them out"),
        (
            {"interval": 2, "frames": "1002", "first_key": 1001, "plate": "some.####.exr"},
            "some.####.exr: expected plate frames 1004-1005, not found; there are 1001-1003, 1006-1009; --adapt learns "
            f"from every key of the shot: adapt where all is there, and bring {ADAPTED} along",
        ),
        (
            {"interval": 1, "frames": "1002"},
            "key.####.exr: expected key frames 1002, 1004, 1006, 1008, not found; there are 1001, 1003, 1005, 1007, "
            f"1009; --adapt learns from every key of the shot: adapt where all is there, and bring {ADAPTED} along",
        ),
    ],
    ids=str,
)
def test_what_cannot_be_adapted_to_is_refused(shot: Any, options: dict[str, Any], message: str) -> None:
    for frame in (1001, 1002, 1003, 1006, 1007, 1008, 1009):
        shutil.copy(shot.folder / f"plate.{frame}.exr", shot.folder / f"some.{frame}.exr")
    if options.get("interval") == 1:
        options = {**options, "frames": "1001"}
    assert message in shot.refused(**{"adapt": "1", **options})
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in options.items() if name != "plate"]
    if "plate" not in options:
        assert shot.run(*(["--adapt=1"] if "adapt" not in options else []), *arguments).code == 2


def test_files_that_must_stay_are_not_overwritten(shot: Any, shipped: Path) -> None:
    for content in (b"anything", shipped.read_bytes()):
        (shot.folder / ADAPTED).write_bytes(content)
        (problem,) = shot.refused(adapt="1")
        assert problem.startswith(f"{ADAPTED}: expected weights that --adapt wrote, since it writes there, got another")
        assert problem.endswith("move it away or name another --output")
    assert shot.refused(adapt="1", weights=str(shot.folder / ADAPTED)) == (
        f"--weights {ADAPTED}: expected another file than the one that --adapt writes; leave one of them out",
    )


def test_weights_of_ones_own(shot: Any, tmp_path: Path) -> None:
    other = make_weights(tmp_path / "other.safetensors", seed=7)
    small = tmp_path / "stpn.safetensors"
    weights.save_network(small, SwitchableTPN(NetworkConfig()), {})
    shot.render(frames="1002")
    plain = shot.contents("out.")
    for method, path in (("aligned", other), ("stpn", small)):
        assert check(shot.request(method=method, weights=str(path))).decisions[-1] == f"weights: {path}, by --weights"
        shot.render(method=method, weights=str(path), frames="1002")
        assert shot.contents("out.") != plain
    shot.render(method="aligned", weights=str(other), frames="1002", adapt="1step")
    record = read_record(shot.folder / ADAPTED)
    assert record is not None
    assert record.base == digest(other)


def test_weights_that_do_not_fit_are_refused(shot: Any, shipped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = shot.folder / "stpn.safetensors"
    weights.save_network(small, SwitchableTPN(NetworkConfig(property_channels=3)), {})
    fits = "expected weights of this version in safetensors, got: "
    assert shot.refused(weights=str(small)) == (
        f"--method aligned: stpn.safetensors: {fits}those of SwitchableTPN, not of AlignedFusion",
    )
    assert shot.refused(method="stpn", weights=str(shipped)) == (
        f"--method stpn: {shipped}: {fits}those of AlignedFusion, not of SwitchableTPN",
    )
    assert shot.refused(method="stpn", weights=str(small)) == (
        "--method stpn: stpn.safetensors: expected a network for color, property of 2 channels and guide of 1, "
        "got 3 and 1",
    )
    (problem,) = shot.refused(weights=str(shot.folder / "nothing.safetensors"))
    assert problem.startswith(f"--method aligned: nothing.safetensors: {fits}")
    (problem,) = shot.refused(weights=str(shot.folder / "nothing.safetensors"), adapt="1")
    assert problem == "nothing.safetensors: expected a file that can be read, got: No such file or directory"
    assert shot.refused(method="flow", weights=str(shipped)) == (
        "--weights: expected a method with a network, aligned or stpn, got --method flow; leave one of them out",
    )


def test_a_method_without_shipped_weights_is_refused(shot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Path:
        raise weights.WeightsError(f"no shipped weights for {name!r}: expected one of ['color']")

    monkeypatch.setattr(weights, "shipped", missing)
    message = "no shipped weights for {!r}: expected one of ['color']; name others with --weights FILE"
    assert shot.refused() == (f"--method aligned: {message.format('aligned')}",)
    assert shot.refused(method="stpn") == (f"--method stpn: {message.format('color')}",)
    assert shot.refused(adapt="1") == (f"--method aligned: {message.format('aligned')}",)
    assert check(shot.request(method="flow")).network is None


@pytest.mark.parametrize("at", ["motion around key 1003", "step 3/", "checking on keys held aside, 2 of 2"])
def test_ctrl_c_leaves_nothing(shot: Any, at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = shot.files()
    honest = Status.show

    def show(self: Status, text: str) -> None:
        honest(self, text)
        if at in text:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Status, "show", show)
    done = shot.run("--adapt", "4steps")
    assert done.code == 130
    assert done.err.splitlines()[-1] == "stpn propagate: cancelled; the frames that are there are whole"
    assert shot.files() == before


def test_a_frame_that_cannot_be_read_is_named(shot: Any) -> None:
    broken = bytearray((shot.folder / "plate.1006.exr").read_bytes())
    broken[-60:] = bytes(60)
    (shot.folder / "plate.1006.exr").write_bytes(broken)
    done = shot.run("--adapt", "1step", "--cuts", "none", "--frames", "1002")
    assert done.code == 1
    assert done.err.splitlines()[-1].startswith(f"stpn propagate: frame 1006: {shot.folder}/plate.1006.exr: ")
    assert not shot.contents("out.")


def test_of_two_runs_at_once_the_second_takes_the_weights_of_the_first(
    shot: Any, shipped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {key: digest(shot.folder / f"key.{key}.exr") for key in KEYS}
    options = options_of(shot.request())
    first = Record(digest(shipped), "plate.####.exr", keys, options, 3, {1005: 1.0}, {1005: 2.0}, True)
    network = weights.load_aligned(make_weights(shot.folder / "first.safetensors", seed=5))
    spy(monkeypatch, after=lambda _: write_adapted(shot.folder / ADAPTED, network, first))
    done = shot.run("--adapt", "1step", "--frames", "1002")
    said = f"adapt: another run wrote {ADAPTED} meanwhile, which is used ({first.verdict})"
    assert said in done.err.splitlines()
    assert read_record(shot.folder / ADAPTED) == first
    mine = shot.contents("out.")["1002.exr"]
    shot.run("--adapt", "1step", "--frames", "1002")
    assert shot.contents("out.")["1002.exr"] == mine


def test_nothing_is_learned_where_nothing_is_to_be_carried(shot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = spy(monkeypatch)
    shot.render(adapt="1step", frames="1001,1003", output="keys.####.exr")
    assert made == []
    shot.render()
    shot.render(adapt="1step", skip_existing=True)  # what is there was made with other weights
    assert len(made) == 1
    before = shot.files()
    shot.render(adapt="1step", skip_existing=True)
    assert len(made) == 1
    assert shot.files() == before


@pytest.mark.parametrize("shape", [(1, 1), (5, 40), (31, 33)], ids=str)
def test_frames_of_any_size_go_through_the_network(studio: Any, shape: tuple[int, int]) -> None:
    studio.shape = shape
    studio.plate(range(1001, 1004))
    studio.keys((1001, 1003))
    studio.render()
    light = studio.pixels("plate.1002.exr")["R"]
    assert studio.luminance_error(studio.image("out.1002.exr"), light) < 1e-3


def test_json_on_stdout_stays_json(shot: Any) -> None:
    done = shot.run("--adapt", "1step", "--json", "--frames", "1002-1003")
    assert [json.loads(line)["frame"] for line in done.out.splitlines()] == [1002, 1003]


def test_a_terminal_gets_one_line_that_changes() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for stream, expected in (
        (Terminal(), "\r\x1b[Kone\r\x1b[Ktwo\r\x1b[K\r\x1b[Kdone\n"),
        (io.StringIO(), "one\ndone\n"),
    ):
        status = Status(stream)
        status.show("one")
        status.show("two")
        status.close()
        status.say("done")
        assert stream.getvalue() == expected


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("result.####.exr", "result.adapted.safetensors"),
        ("a/result_v01_%04d.exr", "a/result_v01.adapted.safetensors"),
        ("####.exr", "adapted.safetensors"),
        ("r1.%d.dpx", "r1.adapted.safetensors"),
        ("r-@@@.exr", "r.adapted.safetensors"),
    ],
)
def test_where_adapted_weights_lie(output: str, expected: str) -> None:
    assert str(adapted_path(Sequence(output))) == expected


def test_minutes_and_steps() -> None:
    assert [parse_amount(text) for text in ("5", "0.5", ".1", "300steps", "1step", "20 steps")] == [
        (None, 300), (None, 30), (None, 6), (300, None), (1, None), (20, None),
    ]  # fmt: skip
    with pytest.raises(RequestError):
        parse_amount("5minutes")
