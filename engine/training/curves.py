"""The curves of a training: one CSV row every so many steps."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

COLUMNS = ("step", "stage", "loss", "learning_rate", "seconds")


class Curves:
    """Means since the last row, written to a CSV file.

    The columns are step (steps done), stage, loss, learning_rate, seconds (of training, all runs together), then the
    task's named numbers; where a later stage names others, their columns are added and earlier rows are empty there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._sums: dict[str, float] = {}
        self._count = 0

    def add(self, loss: float, numbers: dict[str, float]) -> None:
        """One more step."""
        self._count += 1
        for name, value in {"loss": loss, **numbers}.items():
            self._sums[name] = self._sums.get(name, 0.0) + value

    def row(self, step: int, stage: str, learning_rate: float, seconds: float) -> None:
        """Writes the means and starts anew."""
        means = {name: f"{total / self._count:.7g}" for name, total in self._sums.items()}
        self._sums, self._count = {}, 0
        rows = self._rows()
        values = {"step": str(step), "stage": stage, "learning_rate": f"{learning_rate:.6g}"}
        self._write([*rows, {**values, "seconds": f"{seconds:.1f}", **means}])

    def state(self) -> str:
        """The sums since the last row, to go on from."""
        return json.dumps({"sums": self._sums, "count": self._count})

    def restore(self, state: str, step: int) -> None:
        """Goes on from `state` after `step` steps: rows of later steps go, they will be written again."""
        loaded = json.loads(state)
        self._sums, self._count = loaded["sums"], loaded["count"]
        self._write([row for row in self._rows() if int(row["step"]) <= step])

    def clear(self) -> None:
        """Removes the rows of an earlier training."""
        self._path.unlink(missing_ok=True)

    def _rows(self) -> list[dict[str, str]]:
        if not self._path.is_file():
            return []
        with self._path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def _write(self, rows: list[dict[str, str]]) -> None:
        # written anew each time, since columns can be added; a long training has some hundred rows
        columns = list(dict.fromkeys([*COLUMNS, *(name for row in rows for name in row)]))
        part = self._path.with_name(f"{self._path.name}.part")
        with part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        os.replace(part, self._path)
