"""What is to be measured of hdr and mask, and the means of what came out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

Job = TypeVar("Job")

Numbers = dict[str, dict[str, float | None]]
"""By label, then by metric; None where there is nothing to measure."""


@dataclass(frozen=True)
class Plan(Generic[Job]):
    """All that a call measures.

    Attributes:
        jobs: by column of the tables, one a source, in the order of the sources.
        labels: rows of the tables.
        metrics: of each its title and the format of its numbers.
    """

    jobs: Mapping[str, Sequence[Job]]
    labels: Sequence[str]
    metrics: Mapping[str, tuple[str, str]]

    def means(self, measured: Mapping[str, Sequence[Numbers]]) -> dict[str, Numbers]:
        """By column: of each label and metric the mean over the sources.

        Args:
            measured: by column, one a source.
        """
        return {
            column: {
                label: {metric: mean_of_known(one[label][metric] for one in ones) for metric in self.metrics}
                for label in self.labels
            }
            for column, ones in measured.items()
        }


def mean_of_known(values: Iterable[float | None]) -> float | None:
    """The mean of what is not None; None where nothing is left."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
