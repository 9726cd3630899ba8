"""Progress of long work: a bar or one changing line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import shutil
import time
from typing import TextIO

_SECONDS_BETWEEN_LINES = 5.0


class Progress:
    """Counts frames, with frames a second and the time left.

    Attributes:
        total: how many frames there are.
    """

    def __init__(self, total: int, stream: TextIO) -> None:
        """Starts the clock; `stream` gets a bar if it is a terminal, else a line every few seconds."""
        self.total = total
        self._stream = stream
        self._bar = stream.isatty()
        self._start = time.monotonic()
        self._spoken = self._start
        self._done = 0

    def step(self, frame: int) -> None:
        """One more frame is done."""
        self._done += 1
        now = time.monotonic()
        if self._bar:
            self._draw(frame, now)
        elif self._done == self.total or now - self._spoken >= _SECONDS_BETWEEN_LINES:
            self._spoken = now
            print(f"frame {frame}  {self._status(now)}", file=self._stream, flush=True)

    def say(self, text: str) -> None:
        """Prints a line between."""
        print(f"\r\x1b[K{text}" if self._bar else text, file=self._stream, flush=True)

    def close(self) -> None:
        """Ends the bar's line."""
        if self._bar and self._done:
            print(file=self._stream, flush=True)

    def _status(self, now: float) -> str:
        rate = self._done / max(now - self._start, 1e-6)
        left = round((self.total - self._done) / rate)
        return f"{self._done}/{self.total}  {rate:.1f} frames/s  {left // 60}:{left % 60:02d} left"

    def _draw(self, frame: int, now: float) -> None:
        status = f" {frame}  {self._status(now)}"
        room = max(shutil.get_terminal_size().columns - len(status) - 3, 0)
        filled = round(room * self._done / self.total)
        print(f"\r[{'#' * filled}{'.' * (room - filled)}]{status}", end="", file=self._stream, flush=True)


class Status:
    """What work is at that is not counted in frames: one changing line on a terminal, a line now and then elsewhere."""

    def __init__(self, stream: TextIO) -> None:
        """Writes to `stream`."""
        self._stream = stream
        self._line = stream.isatty()
        self._spoken = -_SECONDS_BETWEEN_LINES

    def show(self, text: str) -> None:
        """Where the work is at; not every one is shown."""
        now = time.monotonic()
        if self._line:
            print(f"\r\x1b[K{text[: shutil.get_terminal_size().columns - 1]}", end="", file=self._stream, flush=True)
        elif now - self._spoken >= _SECONDS_BETWEEN_LINES:
            self._spoken = now
            print(text, file=self._stream, flush=True)

    def close(self) -> None:
        """Takes the changing line away."""
        if self._line:
            print("\r\x1b[K", end="", file=self._stream, flush=True)

    def say(self, text: str) -> None:
        """Prints a line that stays."""
        print(f"\r\x1b[K{text}" if self._line else text, file=self._stream, flush=True)
