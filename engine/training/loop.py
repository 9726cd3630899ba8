"""The training loop: steps, moving average, curves, samples, checkpoints; knows no task in particular."""

from __future__ import annotations

import copy
import math
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import torch
from torch import nn

from stpn.engine.training.checkpoint import (
    WEIGHTS,
    Progressed,
    check_folder,
    load_checkpoint,
    save_checkpoint,
    write_beside,
)
from stpn.engine.training.curves import Curves
from stpn.engine.training.prefetch import prefetched
from stpn.engine.training.recipe import Recipe, Stage
from stpn.engine.training.schedule import average_weight, learning_rate, make_optimizer
from stpn.engine.training.task import Task


class TrainingError(Exception):
    """Training cannot go on; the message says at which step, why, and what to do."""


@dataclass(frozen=True)
class Pace:
    """How often something is written.

    Attributes:
        curves: steps from row to row.
        samples: steps from picture to picture; 0: none.
        checkpoint: seconds from checkpoint to checkpoint.
        threads: that draw batches ahead.
    """

    curves: int = 50
    samples: int = 500
    checkpoint: float = 180.0
    threads: int = 1


@dataclass(frozen=True)
class Moment:
    """Where a training stands, for whoever watches.

    Attributes:
        step: steps done, of `steps`.
        loss: of this step.
        rate: steps a second in this run.
    """

    step: int
    steps: int
    stage: str
    loss: float
    rate: float

    @property
    def seconds_left(self) -> float:
        """At the rate so far."""
        return (self.steps - self.step) / max(self.rate, 1e-9)


def fit(
    task: Task,
    recipe: Recipe,
    folder: Path,
    *,
    device: torch.device | str = "cpu",
    resume: bool = False,
    report: Callable[[Moment], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
    pace: Pace = Pace(),
    provenance: Mapping[str, str] | None = None,
) -> bool:
    """Trains until the recipe's steps are done, or until `stop` says so after a step.

    Into `folder` go weights.safetensors (the moving average, at the end), checkpoint.safetensors, curves.csv and
    samples/. A training that was stopped or killed and gone on with gives on the same machine, on the CPU and with as
    many threads, the same weights to the last bit as one in a single run.

    Args:
        task: what is trained; its network is moved to `device` and changed in place.
        recipe: how.
        folder: made where missing.
        resume: go on from the folder's checkpoint.
        report: called after every step.
        stop: asked after every step; where true, a checkpoint is written and the training ends.
        pace: how often something is written.
        provenance: what the weights come from beside the recipe (the material); kept with them, and a training is not
            gone on with on another.

    Returns:
        Whether all steps are done.

    Raises:
        FolderError: see `check_folder`; nothing is written then.
        TrainingError: the loss is no number any more.
    """
    device, provenance = torch.device(device), provenance or {}
    check_folder(folder, recipe, provenance, resume=resume)
    run = _Run(task, recipe, folder, device, provenance)
    (folder / "samples").mkdir(parents=True, exist_ok=True)
    done = run.go_on() if resume else run.start()
    began = time.monotonic()
    saved = began
    with prefetched(task.batch, recipe.stage_of, range(done, recipe.steps), pace.threads) as batches:
        for step, stage, batch in batches:
            loss = run.step(step, stage, {name: value.to(device) for name, value in batch.items()})
            done = step + 1
            now = time.monotonic()
            report(Moment(done, recipe.steps, stage.name, loss, (done - run.first) / max(now - began, 1e-9)))
            # no row holds steps of two stages, whose losses may not compare
            if done % pace.curves == 0 or done == recipe.steps or recipe.stage_of(done) is not stage:
                run.row(done, stage)
            if pace.samples and (done % pace.samples == 0 or done == recipe.steps):
                run.sample(done, stage)
            stopped = done < recipe.steps and stop()
            if stopped or done == recipe.steps or now - saved >= pace.checkpoint:
                saved = now
                run.save(done)
            if stopped:
                return False
    run.finish()
    return True


class _Run:
    """What a run holds: the network, its average, the optimizer, the curves, the clock."""

    def __init__(
        self, task: Task, recipe: Recipe, folder: Path, device: torch.device, provenance: Mapping[str, str]
    ) -> None:
        self.task, self.recipe, self.folder, self.device = task, recipe, folder, device
        self.network: nn.Module = task.network.to(device).train()
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.optimizer = make_optimizer(self.network.parameters(), recipe.optimizer)
        self.curves = Curves(folder / "curves.csv")
        self.metadata = {
            "property": recipe.carried,
            "task": recipe.task,
            "recipe": recipe.text,
            "seed": str(recipe.seed),
            "commit": _commit(),
            "torch": torch.__version__,
            **provenance,
        }
        self.first = 0
        self.rate = 0.0
        self.began = time.monotonic()

    def start(self) -> int:
        """Starts at step 0."""
        torch.manual_seed(self.recipe.seed)
        self.curves.clear()
        return 0

    def go_on(self) -> int:
        """Puts the checkpoint's state back and returns the number of steps done."""
        progressed = load_checkpoint(self.folder, self.network, self.average, self.optimizer)
        self.curves.restore(progressed.curves, progressed.step)
        self.first = progressed.step
        self.began = time.monotonic() - progressed.seconds
        return progressed.step

    def step(self, step: int, stage: Stage, batch: dict[str, torch.Tensor]) -> float:
        """One step of the optimizer and of the average; the loss."""
        recipe = self.recipe
        self.rate = learning_rate(recipe.optimizer, step, recipe.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate
        with torch.autocast(self.device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
            loss, numbers = self.task.loss(self.network, batch, stage)
        value = loss.item()
        if not math.isfinite(value):
            raise TrainingError(
                f"step {step + 1}: expected a finite loss, got {value}; lower learning_rate in {recipe.origin} "
                "(the last checkpoint is as it was)"
            )
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if recipe.optimizer.clip:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), recipe.optimizer.clip)
        self.optimizer.step()
        self._follow(average_weight(recipe.average_decay, step))
        self.curves.add(value, numbers)
        return value

    @torch.no_grad()
    def _follow(self, kept: float) -> None:
        for slow, fast in zip(self.average.parameters(), self.network.parameters(), strict=True):
            slow.lerp_(fast, 1 - kept)
        for kept_buffer, buffer in zip(self.average.buffers(), self.network.buffers(), strict=True):
            kept_buffer.copy_(buffer)

    def row(self, done: int, stage: Stage) -> None:
        """A row of the curves."""
        self.curves.row(done, stage.name, self.rate, self.seconds())

    @torch.no_grad()
    def sample(self, done: int, stage: Stage) -> None:
        """A picture of the average's work, always on the first batch of the stage."""
        first = next(step for step in range(self.recipe.steps) if self.recipe.stage_of(step) == stage)
        batch = {name: value.to(self.device) for name, value in self.task.batch(stage, first).items()}
        sheet = cv2.cvtColor(self.task.picture(self.average, batch), cv2.COLOR_RGB2BGR)
        encoded = cv2.imencode(".png", sheet)[1].tobytes()
        write_beside(self.folder / "samples" / f"step-{done:06d}.png", lambda part: _write(part, encoded))

    def save(self, done: int) -> None:
        """A checkpoint."""
        progressed = Progressed(done, self.seconds(), self.curves.state())
        save_checkpoint(self.folder, self.network, self.average, self.optimizer, progressed, self.metadata)

    def finish(self) -> None:
        """The weights."""
        metadata = {**self.metadata, "steps": str(self.recipe.steps), "minutes": f"{self.seconds() / 60:.1f}"}
        network = self.average.to("cpu")
        write_beside(self.folder / WEIGHTS, lambda part: self.task.save(part, network, metadata))

    def seconds(self) -> float:
        """Of training, all runs together."""
        return time.monotonic() - self.began


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _commit() -> str:
    """The commit of the code that trains, with a plus where files were changed; `unknown` outside a checkout."""
    checkout = Path(__file__).resolve().parents[2]
    if not (checkout / ".git").exists():
        # an environment can lie inside the checkout of something else
        return "unknown"
    command = [
        "git",
        "--no-optional-locks",
        "-C",
        str(checkout),
        "describe",
        "--always",
        "--abbrev=12",
        "--dirty=+",
        "--exclude=*",
    ]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"
