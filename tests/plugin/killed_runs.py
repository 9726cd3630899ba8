"""Runs of `stpn propagate` that are killed, or that work on one shot at once, as real processes that start at once.

Everything is imported once and each run is a fork, so that a run takes as long as its frames do. Called as a program,
because a test's own process has threads, which a fork would lose.

    python killed_runs.py kill FOLDER COUNT SEED     COUNT times: a run, SIGKILL at a random moment, a run to the end
    python killed_runs.py together FOLDER COUNT      COUNT runs at once

FOLDER holds plate.####.exr and key.####.exr. Prints one JSON object.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from stpn.plugin import render, shot  # noqa: F401 - what a run needs, before it is forked
from stpn.plugin.cli import main
from stpn.plugin.properties import color  # noqa: F401 - likewise


def arguments(folder: Path, output: str, *more: str) -> list[str]:
    names = {"plate": "plate", "keys": "key", "output": f"{output}/out", "confidence": f"{output}/sure"}
    files = [f"--{name}={folder}/{stem}.####.exr" for name, stem in names.items()]
    return ["propagate", *files, f"--report={folder}/{output}.json", "--method=flow", "--threads=2", *more]


def started(work: Callable[[], int]) -> int:
    """A process of its own that does some work; its number."""
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        code = work()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def ended(child: int) -> int:
    """Waits for a process; its exit code, or minus the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def wait_for(folder: Path, count: int, until: float) -> None:
    """Waits until there are so many files in a folder, temporary ones included."""
    while count and time.monotonic() < until and not (folder.exists() and len(os.listdir(folder)) >= count):
        time.sleep(0.001)


def undisturbed(folder: Path) -> tuple[dict[str, bytes], float]:
    start = time.monotonic()
    code = ended(started(lambda: main(arguments(folder, "whole"))))
    assert code == 0, f"the run that nobody disturbs ends with {code}"
    return contents(folder / "whole"), time.monotonic() - start


def kill(folder: Path, count: int, seed: int) -> dict[str, object]:
    """Kills runs; each must have left files such that the next run makes the whole, and nothing else."""
    ended(started(lambda: main(arguments(folder, "warm"))))
    whole, seconds = undisturbed(folder)
    chance = random.Random(seed)
    killed, leftovers, complete, wrong = 0, 0, 0, []
    output = folder / "again"
    for number in range(count):
        if output.exists():
            for path in output.iterdir():
                path.unlink()
        # every other one at any moment, start and check included, the others while files are being written
        there, delay = 0, chance.uniform(0, seconds)
        if number % 2:
            there, delay = chance.randrange(len(whole)), chance.uniform(0, 2 * seconds / len(whole))
        child = started(lambda: main(arguments(folder, "again")))
        wait_for(output, there, time.monotonic() + 60)
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
        killed += ended(child) == -signal.SIGKILL
        if output.exists():
            leftovers += any(".partial" in path.name for path in output.iterdir())
            complete += len(contents(output).keys() & whole.keys())
        code = ended(started(lambda: main(arguments(folder, "again", "--skip-existing"))))
        found = contents(output)
        report = json.loads((folder / "again.json").read_text())
        if code != 0 or found != whole or report["status"] != "done":
            differing = sorted(name for name in {*found, *whole} if found.get(name) != whole.get(name))
            wrong.append({"number": number, "there": there, "delay": delay, "code": code, "differing": differing})
    strays = [path.name for path in folder.rglob(".*")]
    return {
        "killed": killed, "seconds": seconds, "leftovers": leftovers, "complete": complete, "wrong": wrong,
        "strays": strays,
    }  # fmt: skip


def together(folder: Path, count: int) -> dict[str, object]:
    """Runs at once, half of them with --skip-existing."""
    whole, _ = undisturbed(folder)
    more = ([], ["--skip-existing"])
    children = [started(lambda i=i: main(arguments(folder, "again", *more[i % 2]))) for i in range(count)]
    codes = sorted({ended(child) for child in children})
    return {"codes": codes, "same": contents(folder / "again") == whole, "strays": [p.name for p in folder.rglob(".*")]}


if __name__ == "__main__":
    where = Path(sys.argv[2])
    found = kill(where, *map(int, sys.argv[3:])) if sys.argv[1] == "kill" else together(where, int(sys.argv[3]))
    print(json.dumps(found))
