"""`stpn train` as typed: exit codes, what is refused before anything is written, stopping and going on."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from stpn.plugin.cli import main

RECIPE = """# Tiny.
task = "color"
[data]
sources = ["photos/*.png"]
[network]
hidden_channels = 8
guidance_widths = [8, 8]
[[stage]]
name = "im"
steps = 3
batch = 1
crop = 16
options = { pairs = "photos" }
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Data of one photograph that is in the cache, and a recipe."""
    for name in ("data/photos", "cache/photos"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "data/photos/noise.png").touch()
    np.save(tmp_path / "cache/photos/noise.npy", np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8))
    (tmp_path / "tiny.toml").write_text(RECIPE)
    torch.set_num_threads(1)
    return tmp_path


def arguments(folder: Path, *more: str, recipe: str = "tiny.toml", out: str = "run") -> list[str]:
    named = ["--data", str(folder / "data"), "--cache", str(folder / "cache"), "--out", str(folder / out)]
    return ["train", str(folder / recipe), *named, "--threads", "1", "--device", "cpu", *more]


def test_trains_and_says_where_the_weights_are(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(folder)) == 0
    said = capsys.readouterr()
    assert said.out.strip() == str(folder / "run/weights.safetensors")
    assert "data: 0 clips, 1 photos" in said.err
    assert "im step 3/3  loss " in said.err
    assert "0:00:00 left" in said.err
    with safe_open(folder / "run/weights.safetensors", "pt") as file:
        assert file.metadata()["recipe"] == RECIPE
    assert main(arguments(folder)) == 2
    assert "holds checkpoint.safetensors already; go on with --resume, or name another" in capsys.readouterr().err
    assert main(arguments(folder, "--resume")) == 0, "a training that is done is done"


def test_shipped_recipes_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("color ") and "paper's network" in line for line in lines)
    assert sum(line.startswith("ablation_") for line in lines) == 5


def test_wrong_requests_write_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "wrong.toml").write_text(RECIPE.replace("steps = 3", 'steps = "3"'))
    (folder / "option.toml").write_text(RECIPE.replace("pairs =", "pears ="))
    (folder / "start.toml").write_text(RECIPE.replace("[data]", 'start = "im/weights.safetensors"\n[data]'))
    (folder / "list.toml").write_text(RECIPE.replace("[network]", 'exclude_lists = ["v.json"]\n[network]'))
    before = sorted(folder.rglob("*"))
    for recipe, message in (
        ("none.toml", "none.toml: expected a recipe file or one of ablation_btpn_btpn, "),
        ("wrong.toml", "wrong.toml: stage[0]: steps: expected a whole number, got '3'"),
        ("option.toml", "option.toml: stage 'im': options: pears: expected one of "),
        ("start.toml", f"start: expected weights at {folder / 'im/weights.safetensors'}, found none; train them first"),
        ("list.toml", "exclude_lists: expected JSON lists of sources in "),
    ):
        assert main(arguments(folder, recipe=recipe)) == 2
        assert message in capsys.readouterr().err
    assert main(arguments(folder, out="tiny.toml")) == 2
    assert "tiny.toml: expected a folder, found a file" in capsys.readouterr().err
    assert main(arguments(folder, "--resume")) == 2
    assert "leave --resume out to start" in capsys.readouterr().err
    assert main(["train"]) == 2
    said = capsys.readouterr().err
    assert all(words in said for words in ("RECIPE: expected a file", "--data: expected", "--out: expected"))
    assert sorted(folder.rglob("*")) == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_device_that_is_not_there_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(folder, "--device", "cuda")) == 2
    assert "--device cuda: expected an NVIDIA GPU" in capsys.readouterr().err


def test_failing_while_working_is_exit_code_1(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "cache/photos/noise.npy").unlink()
    assert main(arguments(folder)) == 1
    said = capsys.readouterr().err
    assert "noise.png: skipped: expected a PNG or JPEG picture" in said
    assert "stpn train: no photos to train on" in said


def test_start_weights_lie_beside_the_folder(folder: Path) -> None:
    assert main(arguments(folder, out="im")) == 0
    text = RECIPE.replace("[data]", 'start = "im/weights.safetensors"\n[data]')
    (folder / "start.toml").write_text(text + "[optimizer]\nlearning_rate = 1e-30\n")
    assert main(arguments(folder, recipe="start.toml", out="vd")) == 0
    first, second = (load_file(folder / name / "weights.safetensors") for name in ("im", "vd"))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_finish_the_step_and_save(
    folder: Path, number: signal.Signals, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "tiny.toml").write_text(RECIPE.replace("steps = 3", "steps = 1000000"))
    curves = folder / "run/curves.csv"

    def interrupt() -> None:
        deadline = time.monotonic() + 60
        while not curves.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    sender = threading.Thread(target=interrupt)
    sender.start()
    assert main(arguments(folder)) == code
    sender.join()
    assert signal.getsignal(number) is before
    assert "stopped after a checkpoint; go on with --resume" in capsys.readouterr().err
    with safe_open(folder / "run/checkpoint.safetensors", "pt") as file:
        assert int(file.metadata()["step"]) >= 50
    assert not (folder / "run/weights.safetensors").exists()
