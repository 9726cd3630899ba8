"""Planes of pictures as a batch."""

from __future__ import annotations

import numpy as np
import torch

from stpn.engine.observation import collate


def test_one_picture_is_a_batch_as_several_are() -> None:
    source = np.random.default_rng(0)
    shapes = {"values": (4, 2, 6, 8), "blend": (6, 8, 2), "distance": (4,)}
    picture = {name: source.uniform(size=shape).astype(np.float32) for name, shape in shapes.items()}
    picture["blend"] = np.moveaxis(picture["blend"], 2, 0)  # as what is made of pictures lies
    alone, two = collate([picture]), collate([picture, picture])
    for name, plane in alone.items():
        assert torch.equal(plane, two[name][:1])
        assert plane.is_contiguous()


def test_one_picture_is_not_copied() -> None:
    picture = {"values": np.zeros((4, 2, 6, 8), np.float32)}
    assert np.shares_memory(collate([picture])["values"].numpy(), picture["values"])
