"""Pixels without a number, or with an absurd one, in plates and keys: they stay where they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

Array = np.ndarray[Any, Any]
AT = (20, 28)
BROKEN = pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -1000.0, 65504.0, -65504.0], ids=str)


def touched(before: Array, after: Array, share: float = 0.02) -> Array:
    """Where a result changed by more than a share of itself, or is no number."""
    return ~(np.abs(after - before).max(axis=2) <= share * np.abs(before).max(axis=2) + 1e-4)


def distance(mask: Array) -> int:
    """How far from the broken pixel the farthest of a mask lies; -1: nowhere."""
    rows, columns = np.nonzero(mask)
    return max(np.abs(rows - AT[0]).max(), np.abs(columns - AT[1]).max()) if len(rows) else -1


def break_pixel(studio: Any, name: str, value: float, channels: str = "RGB") -> None:
    pixels = {channel: array.copy() for channel, array in studio.pixels(name).items()}
    for channel in channels:
        pixels[channel][AT] = value
    studio.write(name, pixels)


@BROKEN
@pytest.mark.parametrize(
    ("name", "channels"),
    [("plate.1003.exr", "RGB"), ("plate.1001.exr", "RGB"), ("plate.1002.exr", "G"), ("key.1001.exr", "R")],
)
def test_a_broken_pixel_changes_its_neighbourhood_at_most(studio: Any, name: str, channels: str, value: float) -> None:
    studio.plate()
    studio.keys()
    studio.render(frames="1003")
    before = studio.image("out.1003.exr")
    break_pixel(studio, name, value, channels)
    (frame,) = studio.render(frames="1003")
    after = studio.image("out.1003.exr")
    assert distance(touched(before, after)) <= 8
    assert 0 < frame.confidence <= 1
    here = name == "plate.1003.exr" and not np.isfinite(value)
    assert np.isfinite(after).all(axis=2).sum() == after[..., 0].size - here
    if here:
        assert np.isnan(after[AT]).all() if np.isnan(value) else (after[AT] == value).all()


@BROKEN
@pytest.mark.parametrize("method", ["flow", "aligned"])
def test_a_broken_pixel_of_a_key_does_not_color_the_unsure(studio: Any, value: float, method: str) -> None:
    # no texture and a change of light: nothing is sure, nothing holds the in-fill back
    for frame in range(1001, 1006):
        flat = np.full(studio.shape, 0.26 if frame == 1003 else 0.2)
        studio.write(f"plate.{frame}.exr", studio.channels(flat))
    flat = np.full((*studio.shape, 3), 0.2) * [1.4, 0.9, 0.8]
    for frame in (1001, 1005):
        studio.write(f"key.{frame}.exr", studio.channels(flat))
    studio.render(frames="1003", method=method)
    before = studio.image("out.1003.exr")
    break_pixel(studio, "key.1001.exr", value, "R")
    (frame,) = studio.render(frames="1003", method=method)
    # the network has seen that one color everywhere is rarely wrong
    assert frame.confidence < 0.1 or method == "aligned"
    # a small part of it is right: 65504 is a color that a lamp may have
    assert distance(touched(before, studio.image("out.1003.exr"), 0.05)) <= 8


@pytest.mark.parametrize("value", [np.nan, np.inf], ids=str)
def test_a_broken_pixel_leaves_the_exposure_of_all_others(studio: Any, value: float) -> None:
    studio.exposure = 400.0
    studio.plate()
    studio.keys()
    studio.render(frames="1003", confidence="sure.####.exr")
    before, sure = studio.image("out.1003.exr"), studio.pixels("sure.1003.exr")["Y"]
    for frame in (1001, 1005):
        break_pixel(studio, f"plate.{frame}.exr", value)
    studio.render(frames="1003", confidence="sure.####.exr")
    # what is left out of a quantile moves it by a hair
    assert touched(before, studio.image("out.1003.exr")).mean() < 0.02
    again = studio.pixels("sure.1003.exr")["Y"]
    assert (np.abs(again - sure) > 0.05).mean() < 0.05


def test_a_plate_without_any_number(studio: Any) -> None:
    for frame in range(1001, 1004):
        studio.write(f"plate.{frame}.exr", studio.channels(np.full(studio.shape, np.nan)))
    studio.keys((1001, 1003))
    (frame,) = studio.render(frames="1002")
    assert np.isnan(studio.image("out.1002.exr")).all()
    assert 0 <= frame.confidence <= 1
