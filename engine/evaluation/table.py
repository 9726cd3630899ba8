"""Scores as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stpn.engine.evaluation.confidence import WRONG
from stpn.engine.evaluation.numbers import Numbers, Plan
from stpn.engine.evaluation.summary import LEAST_SURE, Summary

_TRUTH = "(the truth)"


def color_tables(summary: Summary, baselines: Sequence[str]) -> str:
    """Everything that `stpn bench quality` prints of color.

    Args:
        summary: the scores.
        baselines: those among its labels.
    """
    parts = [_means(summary)]
    parts += [part for baseline in baselines if (part := _gains(summary, baseline, baselines))]
    parts += [_clips(summary, interval) for interval in summary.intervals]
    parts += [part for part in (_confidence(summary), _calibration(summary)) if part]
    return "\n\n".join([*parts, _style(summary)])


def aligned_columns(rows: Sequence[Sequence[str]]) -> str:
    """Lines with the first column flush left and all others flush right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  " + "  ".join(cells).rstrip())
    return "\n".join(lines)


def metric_tables(plan: Plan[Any], means: Mapping[str, Numbers], count: int) -> str:
    """A table a metric, for hdr and mask.

    Args:
        plan: what was measured.
        means: by column, as `Plan.means` gives them.
        count: how many sources they are of.
    """
    parts = []
    for metric, (title, digits) in plan.metrics.items():
        rows = [["", *means]]
        for label in plan.labels:
            rows.append([label, *(_number(numbers[label][metric], digits) for numbers in means.values())])
        parts.append(f"{title}, mean of {_counted(count, 'source')}\n{aligned_columns(rows)}")
    return "\n\n".join(parts)


def _number(value: float | None, digits: str) -> str:
    return "-" if value is None else f"{value:{digits}}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def _means(summary: Summary) -> str:
    ks = summary.intervals
    rows = [["", *(f"K={k}" for k in ks), " ", *(f"K={k}" for k in ks)]]
    for label in summary.labels:
        errors = [f"{summary.rmse(k, label):.2f}" for k in ks]
        rows.append([label, *errors, " ", *(f"{summary.psnr(k, label):.2f}" for k in ks)])
    return f"RMSE (0..255), then PSNR (dB), mean of {_counted(len(summary.clips), 'clip')}\n{aligned_columns(rows)}"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _gains(summary: Summary, baseline: str, baselines: Sequence[str]) -> str:
    rows = [["", *(cell for k in summary.intervals for cell in (f"K={k}", "least"))]]
    for label in summary.labels:
        if label not in baselines:
            gains = [summary.gain(k, label, baseline) for k in summary.intervals]
            rows.append([label, *(cell for g in gains for cell in (f"{g.mean:+.3f}", f"{g.least:+.3f} {g.clip}"))])
    if len(rows) == 1:
        return ""
    return f"PSNR over {baseline} (dB), mean of the clips, and the clip that gains least\n{aligned_columns(rows)}"


def _clips(summary: Summary, interval: int) -> str:
    rows = [["", *summary.labels]]
    for clip in summary.clips:
        scores = [summary.score(clip, interval, label) for label in summary.labels]
        rows.append([clip, *(f"{score.psnr:.2f} ({score.rmse:.2f})" for score in scores)])
    if len(summary.clips) > 1:
        means = [f"{summary.psnr(interval, m):.2f} ({summary.rmse(interval, m):.2f})" for m in summary.labels]
        rows.append(["mean", *means])
    return f"K={interval}: PSNR (RMSE) of each clip\n{aligned_columns(rows)}"


def _by_interval(summary: Summary) -> Iterator[tuple[str, int]]:
    return ((label, interval) for label in summary.labels for interval in summary.intervals)


def _confidence(summary: Summary) -> str:
    least = [f"in {100 * share:.0f} % least sure" for share in LEAST_SURE]
    rows = [["", "AUC", "pooled", "clips", *least, "falls"]]
    for label, interval in _by_interval(summary):
        trust = summary.trust(interval, label)
        if trust is not None:
            rows.append([
                f"{label} K={interval}", _number(trust.auc, ".3f"), _number(trust.auc_pooled, ".3f"), str(trust.clips),
                *map(_percent, trust.shares), "yes" if trust.pooled.is_monotone() else "no",
            ])  # fmt: skip
    title = (
        f"Confidence: AUC of finding colors that err by more than {WRONG:g} in ab, mean of the clips that have such,\n"
        "and of all pixels pooled; share of the squared RGB error in the least sure pixels, mean of the clips;\n"
        "whether the mean error falls with confidence"
    )
    return f"{title}\n{aligned_columns(rows)}" if len(rows) > 1 else ""


def _calibration(summary: Summary) -> str:
    rows: list[list[str]] = []
    for label, interval in _by_interval(summary):
        trust = summary.trust(interval, label)
        if trust is not None:
            bins = trust.pooled.calibration()
            rows = rows or [["confidence up to", *(f"{b.high:.1f}" for b in bins)]]
            rows.append([f"{label} K={interval}: error", *(_number(b.ab_error, ".2f") for b in bins)])
            rows.append(["  pixels", *(_percent(b.share) for b in bins)])
    return (
        f"Calibration: mean error in ab of the pixels with a confidence, all clips\n{aligned_columns(rows)}"
        if rows
        else ""
    )


def _style(summary: Summary) -> str:
    rows = [["", "energy", "loss", "|G'G - I|", "|SG - I|"]]
    for interval in summary.intervals:
        true_energy, true_loss = summary.style(interval, summary.labels[0], truth=True)
        rows.append([f"{_TRUTH} K={interval}", _number(true_energy, ".3f"), _number(true_loss, ".3f"), "-", "-"])
    for label, interval in _by_interval(summary):
        energy, loss = summary.style(interval, label)
        gram, inverse = summary.orthogonality(interval, label) or (None, None)
        numbers = [_number(value, ".3f") for value in (energy, loss, gram, inverse)]
        rows.append([f"{label} K={interval}", *numbers])
    title = (
        "Style against the nearest key: energy ||U_t|| / ||U_k||, and the relative difference of the Gram matrices;\n"
        "for the paper's networks how far G is from orthogonal, and the switched S from its inverse (0: not at all)"
    )
    return f"{title}\n{aligned_columns(rows)}"
