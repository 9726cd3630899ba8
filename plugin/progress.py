"""Progress of long work: a bar or one changing line on a terminal, plain lines elsewhere, or what a farm reads."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Mapping
from typing import TextIO

from stpn.plugin.request import one_line

STYLES = ("auto", "bar", "lines", "openjd", "deadline", "none")
"""How progress is told: as the stream is; a bar; lines; lines that Open Job Description or Deadline 10 read; not."""

_SECONDS_BETWEEN_LINES = 5.0

# what a farm looks for at the start of a line, or within it
_PERCENT: Mapping[str, str] = {"openjd": "openjd_progress: {}", "deadline": "Progress: {}%"}
_STATUS: Mapping[str, str] = {"openjd": "openjd_status: {}"}
_FAILURE: Mapping[str, str] = {"openjd": "openjd_fail: {}"}


def stream_of(style: str, *, results: bool = False) -> TextIO:
    """Where progress goes: to standard error, but what a farm reads to standard output, which every farm looks at.

    Args:
        style: one of `STYLES`.
        results: whether standard output is taken by results, such as --json.
    """
    return sys.stdout if style in _PERCENT and not results else sys.stderr


def tell_failure(text: str, stream: TextIO, style: str) -> None:
    """Says why a task failed where the farm has a line for it; elsewhere nothing.

    Args:
        text: the reason; it is made one line, whatever a file is called.
        stream: as for `Progress`.
        style: one of `STYLES`.
    """
    if style in _FAILURE:
        print(_FAILURE[style].format(one_line(text)), file=stream, flush=True)


class Progress:
    """Counts frames, with frames a second and the time left.

    Attributes:
        total: how many frames there are.
    """

    def __init__(self, total: int, stream: TextIO, style: str = "auto") -> None:
        """Starts the clock.

        Args:
            total: how many frames there are.
            stream: where it is told.
            style: one of `STYLES`; auto: a bar if the stream is a terminal, else a line every few seconds.
        """
        self.total = total
        self._stream = stream
        self._style = style
        self._bar = _is_terminal(style, stream)
        self._start = time.monotonic()
        self._spoken = self._start
        self._done = 0
        self._percent = -1

    def step(self, frame: int) -> None:
        """One more frame is done."""
        self._done += 1
        now = time.monotonic()
        if self._bar:
            self._draw(frame, now)
            return
        self._tell_percent()
        if self._style != "none" and (self._done == self.total or now - self._spoken >= _SECONDS_BETWEEN_LINES):
            self._spoken = now
            line = f"frame {frame}  {self._status(now)}"
            print(_STATUS.get(self._style, "{}").format(line), file=self._stream, flush=True)

    def say(self, text: str) -> None:
        """Prints a line between."""
        print(f"\r\x1b[K{text}" if self._bar else text, file=self._stream, flush=True)

    def close(self) -> None:
        """Ends the bar's line."""
        if self._bar and self._done:
            print(file=self._stream, flush=True)

    def _tell_percent(self) -> None:
        """Tells a farm each percent once; 100 stands for all frames alone."""
        percent = 100 * self._done // max(self.total, 1)
        if self._style in _PERCENT and percent != self._percent:
            self._percent = percent
            print(_PERCENT[self._style].format(percent), file=self._stream, flush=True)

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

    def __init__(self, stream: TextIO, style: str = "auto") -> None:
        """Writes to `stream` as `style`, one of `STYLES`, wants it."""
        self._stream = stream
        self._style = style
        self._line = _is_terminal(style, stream)
        self._spoken = -_SECONDS_BETWEEN_LINES

    def show(self, text: str) -> None:
        """Where the work is at; not every one is shown."""
        now = time.monotonic()
        if self._line:
            print(f"\r\x1b[K{text[: shutil.get_terminal_size().columns - 1]}", end="", file=self._stream, flush=True)
        elif self._style != "none" and now - self._spoken >= _SECONDS_BETWEEN_LINES:
            self._spoken = now
            print(_STATUS.get(self._style, "{}").format(text), file=self._stream, flush=True)

    def close(self) -> None:
        """Takes the changing line away."""
        if self._line:
            print("\r\x1b[K", end="", file=self._stream, flush=True)

    def say(self, text: str) -> None:
        """Prints a line that stays."""
        print(f"\r\x1b[K{text}" if self._line else text, file=self._stream, flush=True)


def _is_terminal(style: str, stream: TextIO) -> bool:
    return style == "bar" or (style == "auto" and stream.isatty())
