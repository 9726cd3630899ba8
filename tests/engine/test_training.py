"""The training loop: it learns, it goes on after a kill as if it had not stopped, it overwrites nothing."""

from __future__ import annotations

import csv
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from stpn.engine.network import SwitchableTPN
from stpn.engine.training import task as tasks
from stpn.engine.training.checkpoint import FolderError
from stpn.engine.training.data import DataError, DataFolders
from stpn.engine.training.loop import Moment, Pace, TrainingError, fit
from stpn.engine.training.prefetch import prefetched
from stpn.engine.training.recipe import Recipe, RecipeError, Stage, parse_recipe
from stpn.engine.weights import load_network

RECIPE = """
task = "color"
seed = 7
average_decay = 0.9
[data]
sources = ["clips/*.mp4", "photos/*.png"]
[network]
hidden_channels = 8
guidance_widths = [8, 12]
[optimizer]
learning_rate = 4e-3
warm_up = 5
[[stage]]
name = "im"
steps = 6
batch = 2
crop = 32
options = { pairs = "photos" }
[[stage]]
name = "vd"
steps = 6
batch = 2
crop = 32
options = { pairs = "clips", relative = true, occluder = 0.5, grain = 2.0, jpeg = 0.5, exposure = 0.5 }
"""


def picture(shift: int = 0) -> Any:
    """A colored pattern, 64 x 80, uint8 BGR, moved to the right by `shift`."""
    y, x = np.mgrid[0:64, 0:80].astype(np.float32)
    x = x - shift
    waves = [np.sin(x / 7) + np.cos(y / 9), np.sin((x + y) / 11), np.cos(x / 13) * np.sin(y / 5)]
    return np.clip(127 + 60 * np.dstack(waves), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of one clip and one photograph, with sources that are never read because they are in it."""
    root = tmp_path_factory.mktemp("material")
    for folder in ("data/clips", "data/photos", "cache/clips", "cache/photos"):
        (root / folder).mkdir(parents=True)
    (root / "data/clips/waves.mp4").touch()
    (root / "data/photos/waves.png").touch()
    np.save(root / "cache/clips/waves.npy", np.stack([picture(2 * t) for t in range(12)]))
    np.save(root / "cache/photos/waves.npy", picture())
    return root


def train(root: Path, out: Path, text: str = RECIPE, start: Path | None = None, **options: Any) -> bool:
    """`fit` on one thread, as it is called everywhere here."""
    torch.set_num_threads(1)
    recipe = parse_recipe(text, "test.toml")
    data = DataFolders(root / "data", root / "cache", recipe.data)
    pace = options.pop("pace", Pace(curves=4, samples=0))
    return fit(tasks.make_task(recipe, data, start), recipe, out, pace=pace, **options)


def same_weights(first: Path, second: Path) -> bool:
    ours, theirs = load_file(first / "weights.safetensors"), load_file(second / "weights.safetensors")
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def rows(out: Path) -> list[dict[str, str]]:
    """The curves without the seconds, which differ from run to run."""
    with (out / "curves.csv").open(newline="") as file:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def whole(folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training in one run."""
    out = tmp_path_factory.mktemp("whole") / "run"
    assert train(folders, out, pace=Pace(curves=4, samples=5))
    return out


def test_a_killed_training_goes_on_to_the_same_weights(folders: Path, whole: Path, tmp_path: Path) -> None:
    code = f"""
import importlib.util, os, pathlib, signal, sys
spec = importlib.util.spec_from_file_location("training_test", {__file__!r})
test = importlib.util.module_from_spec(spec)
spec.loader.exec_module(test)
def report(moment):
    if moment.step == 8:
        os.kill(os.getpid(), signal.SIGKILL)
pace = test.Pace(curves=4, samples=0, checkpoint=0)
test.train(pathlib.Path({str(folders)!r}), pathlib.Path({str(tmp_path / "run")!r}), report=report, pace=pace)
"""
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert finished.returncode == -signal.SIGKILL, finished.stderr
    assert not (tmp_path / "run/weights.safetensors").exists()
    steps: list[int] = []
    assert train(folders, tmp_path / "run", resume=True, report=lambda moment: steps.append(moment.step))
    assert steps == [8, 9, 10, 11, 12], "step 8 was killed before it was saved"
    assert same_weights(tmp_path / "run", whole)
    assert rows(tmp_path / "run") == rows(whole)


@pytest.mark.parametrize("optimizer", ['name = "sgd"\nlearning_rate = 1e-2\nschedule = "linear"', "clip = 0.0"])
def test_a_stopped_training_goes_on_whatever_the_optimizer(folders: Path, tmp_path: Path, optimizer: str) -> None:
    text = RECIPE.replace("[optimizer]\nlearning_rate = 4e-3", f"[optimizer]\n{optimizer}").replace(
        "steps = 6", "steps = 3"
    )
    assert train(folders, tmp_path / "whole", text)
    # between two rows of the curves
    stops = iter([False, True])
    assert not train(folders, tmp_path / "run", text, stop=lambda: next(stops))
    assert train(folders, tmp_path / "run", text, resume=True, pace=Pace(curves=4, samples=0, threads=2))
    assert same_weights(tmp_path / "run", tmp_path / "whole")
    assert rows(tmp_path / "run") == rows(tmp_path / "whole")


def test_what_is_written(whole: Path) -> None:
    assert sorted(p.name for p in whole.iterdir()) == [
        "checkpoint.safetensors",
        "curves.csv",
        "samples",
        "weights.safetensors",
    ]
    assert [row["step"] for row in rows(whole)] == ["4", "6", "8", "12"]
    assert [row["stage"] for row in rows(whole)] == ["im", "im", "vd", "vd"]
    assert all(row["there"] and row["back"] for row in rows(whole))
    assert sorted(p.name for p in (whole / "samples").iterdir()) == [f"step-{s:06d}.png" for s in (5, 10, 12)]
    sheet = cv2.imread(str(whole / "samples/step-000012.png"))
    assert sheet is not None
    assert sheet.shape == (2 * 32, 4 * 32, 3)
    with safe_open(whole / "weights.safetensors", "pt") as file:
        metadata = file.metadata()
    assert (metadata["property"], metadata["seed"], metadata["steps"]) == ("color", "7", "12")
    assert parse_recipe(metadata["recipe"], "weights") == parse_recipe(RECIPE, "test.toml")
    assert {"commit", "minutes", "torch", "config"} <= metadata.keys()
    assert load_network(whole / "weights.safetensors").config.hidden_channels == 8


def test_a_short_training_learns(folders: Path, tmp_path: Path) -> None:
    options = '{ pairs = "clips", longest_gap = 1 }'
    stage = f'[[stage]]\nname = "vd"\nsteps = 60\nbatch = 2\ncrop = 48\noptions = {options}'
    text = RECIPE[: RECIPE.index("[[stage]]")].replace("4e-3", "1e-2").replace("[8, 12]", "[16, 24]") + stage
    losses: list[float] = []
    train(folders, tmp_path / "run", text, report=lambda moment: losses.append(moment.loss))
    recipe = parse_recipe(text, "test.toml")
    untrained = tasks.make_task(recipe, DataFolders(folders / "data", folders / "cache", recipe.data))
    trained = load_network(tmp_path / "run/weights.safetensors")
    # pairs that no step has drawn
    batches = [untrained.batch(recipe.stages[0], 10_000 + i) for i in range(8)]
    before, after = (
        sum(float(untrained.loss(network, batch, recipe.stages[0])[0].detach()) for batch in batches)
        for network in (untrained.network, trained)
    )
    assert after < 0.85 * before
    assert np.mean(losses[-20:]) < np.mean(losses[:20])


def test_the_average_is_what_comes_out(folders: Path, whole: Path, tmp_path: Path) -> None:
    last = load_file(whole / "checkpoint.safetensors")
    weights = load_file(whole / "weights.safetensors")
    assert all(torch.equal(weights[name], last[f"average.{name}"]) for name in weights)
    assert any(not torch.equal(weights[name], last[f"network.{name}"]) for name in weights)
    train(folders, tmp_path / "run", RECIPE.replace("average_decay = 0.9", "average_decay = 0"))
    last, weights = load_file(tmp_path / "run/checkpoint.safetensors"), load_file(tmp_path / "run/weights.safetensors")
    assert all(torch.equal(weights[name], last[f"network.{name}"]) for name in weights)


def test_start_weights_are_gone_on_from(folders: Path, whole: Path, tmp_path: Path) -> None:
    text = RECIPE.replace("learning_rate = 4e-3", "learning_rate = 1e-30")
    train(folders, tmp_path / "run", text, start=whole / "weights.safetensors")
    assert same_weights(tmp_path / "run", whole)
    with pytest.raises(RecipeError, match=r"test\.toml: start: expected weights of the same sizes in .*weights"):
        train(
            folders,
            tmp_path / "other",
            text.replace("channels = 8", "channels = 12"),
            start=whole / "weights.safetensors",
        )


def test_a_folder_that_holds_a_training_is_refused(folders: Path, whole: Path) -> None:
    before = (whole / "checkpoint.safetensors").read_bytes()
    with pytest.raises(FolderError, match=r"run: holds checkpoint\.safetensors already; go on with --resume, or name"):
        train(folders, whole)
    with pytest.raises(FolderError, match=r"holds a training by another recipe \(seed: 8 against 7\)"):
        train(folders, whole, RECIPE.replace("seed = 7", "seed = 8"), resume=True)
    with pytest.raises(FolderError, match=r"its sources were None, now 3 clips; expected the same"):
        train(folders, whole, resume=True, provenance={"sources": "3 clips"})
    assert (whole / "checkpoint.safetensors").read_bytes() == before


def test_resuming_nothing_and_a_damaged_checkpoint_are_refused(folders: Path, tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="to go on from, found none; leave --resume out to start"):
        train(folders, tmp_path / "run", resume=True)
    assert not (tmp_path / "run").exists()
    (tmp_path / "checkpoint.safetensors").write_bytes(b"half")
    with pytest.raises(FolderError, match=r"expected a checkpoint \(safetensors\), got"):
        train(folders, tmp_path, resume=True)


def test_a_loss_that_is_no_number_ends_the_training(folders: Path, tmp_path: Path) -> None:
    text = RECIPE.replace("learning_rate = 4e-3", "learning_rate = 1e15").replace("bf16", "fp32")
    with pytest.raises(TrainingError, match=r"step \d+: expected a finite loss, got (nan|inf); lower learning_rate"):
        train(folders, tmp_path / "run", text)
    assert not (tmp_path / "run/weights.safetensors").exists()


def test_batches_follow_from_seed_and_step_on_any_thread(folders: Path) -> None:
    recipe = parse_recipe(RECIPE, "test.toml")
    task = tasks.make_task(recipe, DataFolders(folders / "data", folders / "cache", recipe.data))
    drawn = []
    for threads in (1, 3):
        with prefetched(task.batch, recipe.stage_of, range(3, 9), threads) as batches:
            drawn.append([(step, stage.name, batch) for step, stage, batch in batches])
    assert [(step, name) for step, name, _ in drawn[0]] == [(s, "im" if s < 6 else "vd") for s in range(3, 9)]
    for (_, _, ours), (_, _, theirs) in zip(*drawn, strict=True):
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert not torch.equal(drawn[0][0][2]["key_guide"], drawn[0][1][2]["key_guide"])


def test_an_error_while_drawing_comes_out_at_its_step() -> None:
    stage = Stage("s", 5, 1, 1)

    def draw(_: Stage, step: int) -> dict[str, torch.Tensor]:
        if step == 2:
            raise DataError("no more")
        return {}

    with prefetched(draw, lambda _: stage, range(5), 1) as batches:
        assert [next(batches)[0] for _ in range(2)] == [0, 1]
        with pytest.raises(DataError, match="no more"):
            next(batches)


def test_unknown_tasks_name_what_there_is(folders: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"test\.toml: task: expected one of color, aligned, .*, got 'colour'"):
        train(folders, tmp_path / "run", RECIPE.replace('task = "color"', 'task = "colour"'))


def test_moments_tell_the_time_left() -> None:
    assert Moment(step=10, steps=40, stage="im", loss=0.0, rate=2.0).seconds_left == 15


def test_the_basic_network_has_no_way_back(folders: Path) -> None:
    text = RECIPE.replace('pairs = "photos"', 'pairs = "photos", switch_weight = 0')
    recipe: Recipe = parse_recipe(text, "test.toml")
    task = tasks.make_task(recipe, DataFolders(folders / "data", folders / "cache", recipe.data))
    assert isinstance(task.network, SwitchableTPN)
    assert task.loss(task.network, task.batch(recipe.stages[0], 0), recipe.stages[0])[1].keys() == {"there"}
    assert task.loss(task.network, task.batch(recipe.stages[1], 0), recipe.stages[1])[1].keys() == {"there", "back"}
