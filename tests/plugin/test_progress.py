"""Progress: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest

from stpn.plugin import progress
from stpn.plugin.progress import Progress


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that stands still until it is set."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock.now)
    monkeypatch.setattr(progress.shutil, "get_terminal_size", lambda: SimpleNamespace(columns=60))
    return clock


def test_plain_lines_come_every_few_seconds_and_at_the_end(clock: SimpleNamespace) -> None:
    stream = io.StringIO()
    bar = Progress(8, stream)
    for frame in range(1001, 1009):
        clock.now += 2
        bar.step(frame)
    bar.say("a note")
    bar.close()
    assert stream.getvalue().splitlines() == [
        "frame 1003  3/8  0.5 frames/s  0:10 left",
        "frame 1006  6/8  0.5 frames/s  0:04 left",
        "frame 1008  8/8  0.5 frames/s  0:00 left",
        "a note",
    ]


def test_a_terminal_gets_one_line_that_fills(clock: SimpleNamespace) -> None:
    stream = Terminal()
    bar = Progress(240, stream)
    for frame in (1, 2):
        clock.now += 1
        bar.step(frame)
    clock.now += 118
    bar._done = 119
    bar.step(120)
    bar.say("a note")
    bar.close()
    drawn = stream.getvalue().split("\r")[1:]
    assert [len(line) for line in drawn[:3]] == [59, 59, 59]
    assert drawn[0].endswith("] 1  1/240  1.0 frames/s  3:59 left")
    assert drawn[2].endswith("] 120  120/240  1.0 frames/s  2:00 left")
    assert drawn[2].count("#") == round((drawn[2].count("#") + drawn[2].count(".") - 1) / 2)
    assert drawn[3] == "\x1b[Ka note\n\n"


def test_a_narrow_terminal_gets_the_numbers_alone(clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress.shutil, "get_terminal_size", lambda: SimpleNamespace(columns=5))
    stream = Terminal()
    Progress(2, stream).step(1)
    assert stream.getvalue().startswith("\r[] 1  1/2")
