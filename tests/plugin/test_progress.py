"""Progress: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace

import pytest

from stpn.plugin import progress
from stpn.plugin.progress import Progress, Status, stream_of, tell_failure


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that stands still until it is set."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock.now)
    monkeypatch.setattr(progress.shutil, "get_terminal_size", lambda *_, **__: SimpleNamespace(columns=60))
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
    monkeypatch.setattr(progress.shutil, "get_terminal_size", lambda *_, **__: SimpleNamespace(columns=5))
    stream = Terminal()
    Progress(2, stream).step(1)
    assert stream.getvalue().startswith("\r[] 1  1/2")


def test_open_job_description_reads_each_percent_once_and_where_the_work_is(clock: SimpleNamespace) -> None:
    stream = io.StringIO()
    bar = Progress(300, stream, "openjd")
    for frame in range(1, 7):
        clock.now += 2
        bar.step(frame)
    bar.say("a note")
    tell_failure("two\nlines", stream, "openjd")
    Status(stream, "openjd").show("adapting")
    assert stream.getvalue().splitlines() == [
        "openjd_progress: 0",
        "openjd_progress: 1",
        "openjd_status: frame 3  3/300  0.5 frames/s  9:54 left",
        "openjd_progress: 2",
        "openjd_status: frame 6  6/300  0.5 frames/s  9:48 left",
        "a note",
        "openjd_fail: two lines",
        "openjd_status: adapting",
    ]


def test_deadline_reads_percents(clock: SimpleNamespace) -> None:
    stream = io.StringIO()
    bar = Progress(3, stream, "deadline")
    for frame in range(3):
        clock.now += 1
        bar.step(frame)
    tell_failure("nobody reads this", stream, "deadline")
    Status(stream, "deadline").show("adapting")
    assert stream.getvalue().splitlines() == [
        "Progress: 33%",
        "Progress: 66%",
        "Progress: 100%",
        "frame 2  3/3  1.0 frames/s  0:00 left",
        "adapting",
    ]


def test_nothing_is_told_but_notes(clock: SimpleNamespace) -> None:
    stream = Terminal()
    bar = Progress(1, stream, "none")
    clock.now += 100
    bar.step(1)
    bar.say("a note")
    bar.close()
    status = Status(stream, "none")
    status.show("adapting")
    status.close()
    assert stream.getvalue() == "a note\n"


def test_lines_and_a_bar_can_be_asked_for_whatever_the_stream_is(clock: SimpleNamespace) -> None:
    terminal, file = Terminal(), io.StringIO()
    Progress(1, terminal, "lines").step(7)
    Progress(1, file, "bar").step(7)
    assert terminal.getvalue().startswith("frame 7  1/1  ")
    assert file.getvalue().startswith("\r[")


def test_what_a_farm_reads_goes_to_standard_output_unless_results_do() -> None:
    assert stream_of("openjd") is stream_of("deadline") is sys.stdout
    assert stream_of("openjd", results=True) is stream_of("auto") is stream_of("none") is sys.stderr
