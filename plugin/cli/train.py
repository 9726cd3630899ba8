"""`stpn train`: train a network by a recipe."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from stpn.engine.training.loop import Moment

HELP = "train a network by a recipe"

DESCRIPTION = """\
Trains a network by a recipe, a small TOML file or the name of a shipped one.

    stpn train --list
    stpn train color --data DATA --out runs/color
    stpn train color --data DATA --out runs/color --resume

DATA holds what the recipe's sources name: clips/*.mp4, photos/*.tar and so on; it is decoded once into the cache. Into
--out go weights.safetensors, curves.csv, samples/ and checkpoint.safetensors. Ctrl-C and SIGTERM finish the step and
write a checkpoint (exit codes 130 and 143). With --resume the training goes on from the checkpoint as if it had not
stopped, after a kill too. A recipe's `start` (weights to go on from) is looked for beside --out."""

_SECONDS_BETWEEN_LINES = 10.0


def setup(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.add_argument("recipe", nargs="?", metavar="RECIPE", help="a file, or the name of a shipped recipe")
    parser.add_argument("--list", action="store_true", help="list the shipped recipes only")
    parser.add_argument("--data", type=Path, metavar="DATA", help="the folder of training data")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="what comes out; made where missing")
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path(".cache/training"),
        metavar="DIR",
        help="decoded data (default: .cache/training)",
    )
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="(default: auto)")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="at most so many (default: all processors)")


def run(args: argparse.Namespace) -> int:
    """Checks the request, trains, says where the weights are."""
    from stpn.engine.training.recipe import RecipeError, find_recipe, load_recipe, shipped_recipes
    from stpn.plugin.request import RequestError

    if args.list:
        for name, path in shipped_recipes().items():
            print(f"{name:<24} {path.read_text(encoding='utf-8').splitlines()[0].lstrip('# ')}")
        return 0
    missing = [f"--{name}: expected a folder, got nothing" for name in ("data", "out") if getattr(args, name) is None]
    if args.recipe is None:
        missing.insert(0, "RECIPE: expected a file or the name of a shipped recipe; --list names them")
    if args.threads < 0:
        missing.append(f"--threads: expected 0 or more, got {args.threads}")
    if missing:
        raise RequestError(*missing)
    try:
        recipe = load_recipe(find_recipe(args.recipe))
    except RecipeError as error:
        raise RequestError(str(error)) from error

    import cv2
    import torch

    from stpn.engine.training.checkpoint import FolderError, check_folder
    from stpn.engine.training.data import DataError, DataFolders
    from stpn.engine.training.loop import TrainingError, fit
    from stpn.engine.training.task import make_task

    device, why = _device(args.device)
    print(f"device: {why}", file=sys.stderr)
    if args.threads:
        torch.set_num_threads(args.threads)
    # OpenCV decodes and crops on the threads that draw batches; threads of its own would take from the network's
    cv2.setNumThreads(1)
    data = DataFolders(args.data, args.cache, recipe.data, warn=_say)
    try:
        provenance = data.provenance()
        check_folder(args.out, recipe, provenance, resume=args.resume)
        start = args.out.absolute().parent / recipe.start if recipe.start and not args.resume else None
        if start and not start.is_file():
            raise RecipeError(f"{recipe.origin}: start: expected weights at {start}, found none; train them first")
    except (RecipeError, DataError, FolderError) as error:
        raise RequestError(str(error)) from error
    print(f"data: {provenance['sources']}", file=sys.stderr)
    watch = _Watch(sys.stderr)
    try:
        task = make_task(recipe, data, start)
        with _Stop() as stop:
            finished = fit(
                task,
                recipe,
                args.out,
                device=device,
                resume=args.resume,
                report=watch.see,
                stop=lambda: stop.signal != 0,
                provenance=provenance,
            )
    except (RecipeError, FolderError) as error:
        raise RequestError(str(error)) from error
    except (DataError, TrainingError, OSError) as error:
        watch.close()
        print(f"stpn train: {error}", file=sys.stderr)
        if args.debug:
            raise
        return 1
    watch.close()
    if not finished:
        print(f"stpn train: stopped after a checkpoint; go on with --resume --out {args.out}", file=sys.stderr)
        return 128 + stop.signal
    print(args.out / "weights.safetensors")
    return 0


def _device(asked: str) -> tuple[str, str]:
    """The device, and the reason in words; a device that was named and cannot be used is an error."""
    import torch

    from stpn.plugin.request import RequestError

    found = torch.cuda.is_available()
    if asked == "cuda" and not found:
        raise RequestError(f"--device cuda: expected an NVIDIA GPU, torch {torch.__version__} finds none; use cpu")
    if asked == "auto":
        return ("cuda", "cuda, since there is one") if found else ("cpu", "cpu, since torch finds no NVIDIA GPU")
    return asked, f"{asked}, as asked"


def _say(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr, flush=True)


class _Stop:
    """Remembers the first SIGINT or SIGTERM; a second one interrupts at once.

    Attributes:
        signal: its number; 0: none yet.
    """

    def __init__(self) -> None:
        self.signal = 0

    def __enter__(self) -> _Stop:
        self._previous = {number: signal.signal(number, self._heed) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, previous in self._previous.items():
            signal.signal(number, previous)

    def _heed(self, number: int, _: FrameType | None) -> None:
        if self.signal:
            raise KeyboardInterrupt
        self.signal = number


class _Watch:
    """Says where the training stands: one line over and over on a terminal, a line every few seconds elsewhere."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._line = stream, stream.isatty()
        self._spoken, self._loss, self._count = time.monotonic(), 0.0, 0

    def see(self, moment: Moment) -> None:
        """One more step; losses are averaged over the steps since the last line."""
        self._loss, self._count = self._loss + moment.loss, self._count + 1
        now = time.monotonic()
        if now - self._spoken < (0.5 if self._line else _SECONDS_BETWEEN_LINES) and moment.step < moment.steps:
            return
        left = round(moment.seconds_left)
        text = (
            f"{moment.stage} step {moment.step}/{moment.steps}  loss {self._loss / self._count:.5g}  "
            f"{moment.rate:.2f} steps/s  {left // 3600}:{left // 60 % 60:02d}:{left % 60:02d} left"
        )
        self._spoken, self._loss, self._count = now, 0.0, 0
        print(f"\r\x1b[K{text}" if self._line else text, end="" if self._line else "\n", file=self._stream, flush=True)

    def close(self) -> None:
        """Ends the line."""
        if self._line:
            print(file=self._stream, flush=True)
