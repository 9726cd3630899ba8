"""Numbered sequences of files, and frame ranges as people type them. Frame numbers are the file's own."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

MAXIMUM_FRAMES = 1_000_000
"""Frames of one range, above which a typing error is more likely than a shot."""

_TOKEN = re.compile(r"#+|@+|%0?\d*d|\$F\d*")
_UNSUPPORTED_TOKEN = re.compile(r"<UDIM>|<FRAME>|%\(UDIM\)d|\?{2,}", re.IGNORECASE)
_CONTROL = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029]")
_ITEM = re.compile(r"(?P<first>-?\d+)(?:-(?P<last>-?\d+)(?:x(?P<step>-?\d+))?)?")
_MAXIMUM_DIGITS = 9
_MAXIMUM_PADDING = 64


class SequenceError(ValueError):
    """A pattern or frame range that makes no sense, in one line: what was expected, what was found, what to do."""


class Sequence:
    """The files of a pattern such as `plate.####.exr`.

    The frame stands where the token stands: `#` or `@` once a digit, `%04d`, `%d`, `$F4` or `$F`. Numbers longer than
    the token are written out; the sign of a negative one takes the place of a digit, as in printf.

    Attributes:
        pattern: As given.
        padding: Digits at least.
    """

    def __init__(self, pattern: str | Path) -> None:
        """Take a pattern apart.

        Raises:
            SequenceError: It has no frame token, more than one, or one of a kind that is not known.
        """
        from fileseq.constants import PAD_STYLE_HASH1
        from fileseq.filesequence import FileSequence

        self.pattern = str(pattern)
        control = _CONTROL.search(self.pattern)
        if control is not None:
            # What is printed of a name goes to terminals and to farms, which take orders from the lines they read.
            raise SequenceError(f"{self.pattern!r}: expected a name without {control.group()!r}: rename the files")
        folder = Path(self.pattern).parent
        name = Path(self.pattern).name
        tokens = _TOKEN.findall(name)
        unsupported = _UNSUPPORTED_TOKEN.search(name)
        if unsupported is not None:
            raise SequenceError(f"{self.pattern}: expected a frame token like ####, found {unsupported.group()}")
        if not tokens:
            raise SequenceError(_without_token(self.pattern, name))
        if len(tokens) > 1:
            raise SequenceError(f"{self.pattern}: expected one frame token, found {' and '.join(tokens)}: keep one")
        if _TOKEN.search(str(folder)):
            raise SequenceError(f"{self.pattern}: expected the frame token in the file name, found one in the folder")
        digits = re.sub(r"[^0-9]", "", tokens[0])
        if len(tokens[0]) > _MAXIMUM_PADDING or (digits and int(digits) > _MAXIMUM_PADDING):
            raise SequenceError(f"{self.pattern}: expected a frame number of up to {_MAXIMUM_PADDING} digits")
        before, after = name.split(tokens[0])
        # fileseq decides what a token means; the rest of the name, in which it would look for ranges, is kept from it.
        self._files: Any = FileSequence(f"frame.{tokens[0]}.file", pad_style=PAD_STYLE_HASH1)
        self.padding: int = max(1, self._files.zfill())
        self._folder, self._before, self._after = folder, before, after

    def __repr__(self) -> str:
        """Return the call that makes this sequence."""
        return f"Sequence({self.pattern!r})"

    def path(self, frame: int) -> Path:
        """Return where a frame lies, or would lie."""
        number = self._files.frame(frame).removeprefix("frame.").removesuffix(".file")
        return self._folder / f"{self._before}{number}{self._after}"

    def frames(self) -> list[int]:
        """Return the frames that are on disk, sorted; holes are simply not there. A folder that is missing has none.

        Raises:
            SequenceError: The folder cannot be read.
        """
        found = (self._frame_of(name) for name in self._names())
        return sorted(frame for frame in found if frame is not None)

    def closest_pattern(self) -> str | None:
        """Return the pattern of the files that differ from this one only in their digits; None if there are none."""
        digits: Counter[int] = Counter()
        for name in self._names():
            number = self._number_in(name)
            if number is not None:
                digits[len(number)] += 1
        if not digits:
            return None
        width = digits.most_common(1)[0][0]
        return str(self._folder / f"{self._before}{'#' * width}{self._after}")

    def _names(self) -> list[str]:
        try:
            return [entry.name for entry in self._folder.iterdir() if not entry.is_dir()]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise SequenceError(f"{self.pattern}: its folder cannot be read: {error.strerror or error}") from None

    def _number_in(self, name: str) -> str | None:
        if len(name) <= len(self._before) + len(self._after):
            return None
        if not (name.startswith(self._before) and name.endswith(self._after)):
            return None
        number = name[len(self._before) : len(name) - len(self._after)]
        return number if re.fullmatch(rf"-?[0-9]{{1,{_MAXIMUM_DIGITS}}}", number) else None

    def _frame_of(self, name: str) -> int | None:
        number = self._number_in(name)
        # A name counts only if the frame would be written the same way: of 0007 and 7 just one belongs to a pattern.
        return int(number) if number is not None and self.path(int(number)).name == name else None


def _without_token(pattern: str, name: str) -> str:
    numbers = list(re.finditer(r"\d+", Path(name).stem))
    if not numbers:
        return f"{pattern}: expected a frame token like ####, found none: a single picture has no frames"
    last = numbers[-1]
    closest = name[: last.start()] + "#" * len(last.group()) + name[last.end() :]
    return f"{pattern}: expected a frame token like ####, found none: for its sequence type {closest}"


def parse_frames(text: str) -> list[int]:
    """Return the frames of a range as people type it.

    Args:
        text: Frames and ranges with commas between: `1001-1100x20,1093` is 1001, 1021, 1041, 1061, 1081 and 1093. A
            range may run backwards; its step is counted from its first frame.

    Returns:
        Sorted, each once.

    Raises:
        SequenceError: Something else stands there, or there are more than `MAXIMUM_FRAMES`.
    """
    frames: set[int] = set()
    asked = 0
    for position, item in enumerate(text.split(","), start=1):
        stripped = "".join(item.split())
        match = _ITEM.fullmatch(stripped)
        if match is None:
            raise SequenceError(_unreadable(text, stripped, position))
        if any(number and len(number.lstrip("-")) > _MAXIMUM_DIGITS for number in match.groups()):
            raise SequenceError(
                f"frames {text!r}: expected numbers of up to {_MAXIMUM_DIGITS} digits, got {stripped!r}"
            )
        first = int(match["first"])
        last = int(match["last"]) if match["last"] is not None else first
        step = int(match["step"]) if match["step"] is not None else 1
        if step < 1:
            raise SequenceError(f"frames {text!r}: expected a step of 1 or more in {stripped!r}, got {step}")
        members = range(first, last + 1, step) if first <= last else range(first, last - 1, -step)
        asked += len(members)
        if asked > MAXIMUM_FRAMES:
            raise SequenceError(f"frames {text!r}: expected at most {MAXIMUM_FRAMES} frames, {stripped!r} exceeds that")
        frames.update(members)
    return sorted(frames)


def _unreadable(text: str, item: str, position: int) -> str:
    if not item:
        return f"frames {text!r}: expected a frame or range like 1001-1100x20 at place {position}, found nothing"
    guesses = (
        item.replace(":", "x").replace("X", "x").replace("y", "x"),
        re.sub(r"\.{2,}|–|—|_|to", "-", item),
        re.sub(r"[^0-9x-]", "", item).strip("-x"),
    )
    # A guess may drop or change signs between the numbers, never the numbers themselves.
    numbers = re.findall(r"\d+", item)
    hint = next((guess for guess in guesses if _ITEM.fullmatch(guess) and re.findall(r"\d+", guess) == numbers), None)
    closest = f"; did you mean {hint}?" if hint is not None else ""
    return f"frames {text!r}: expected a frame or range like 1001-1100x20 at place {position}, found {item!r}{closest}"
