"""The plots of `adaptive.py`: all cases against what is wanted, and the controller's course in each case."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from adaptive_cases import ADAPTIVE, FIXED, Case
from adaptive_limits import Bucket
from adaptive_measure import Result, Results, met, ratio
from matplotlib.lines import Line2D

matplotlib.use("Agg")
from matplotlib import pyplot

_COLOURS = {ADAPTIVE: "tab:blue", FIXED: "tab:orange"}
_MARKERS = {ADAPTIVE: "o", FIXED: "d"}
# A client that did not end is drawn as if it had lost so many rows.
_NOT_ENDED = 10**5


def plot_overview(cases: Sequence[Case], results: Results, path: Path) -> None:
    """One row for each case. Red lines are what is wanted; the names of cases that miss it are red."""
    figure, panels = pyplot.subplots(
        1, 4, figsize=(15, 1.5 + 0.3 * len(cases)), sharey=True, layout="constrained", width_ratios=(3, 3, 3, 2)
    )
    for row, case in enumerate(cases):
        _draw_row(panels, row, case, results[case.name])
    for axes, title in zip(
        panels, ("share of capacity used", "share of requests refused", "", "rows lost"), strict=True
    ):
        axes.set_title(title, fontsize=10)
        axes.grid(axis="x", alpha=0.3)
    panels[0].set(xlim=(0, 1.03), ylim=(len(cases) - 0.5, -0.5), yticks=range(len(cases)))
    for label, case in zip(panels[0].set_yticklabels([case.name for case in cases]), cases, strict=True):
        label.set_color("black" if met(case, results[case.name]) else "tab:red")
    panels[1].set_xscale("symlog", linthresh=0.05)
    panels[1].set(xlim=(-0.002, 1.1), xticks=[0, 0.02, 0.04, 0.1, 0.3, 1])
    panels[1].set_xticklabels(["0", "2%", "4%", "10%", "30%", "100%"])
    panels[2].set_title("rows/s relative to fixed concurrency", fontsize=10)
    panels[2].set(xlim=(0, 1.2), xticks=[0, 0.2, 0.4, 0.6, 0.8, 1, 1.2])
    panels[2].set_xticklabels(["0", "0.2", "0.4", "0.6", "0.8", "1", "1.2\nor more"])
    panels[3].set_xscale("symlog", linthresh=1)
    panels[3].set(xlim=(-0.2, 3 * _NOT_ENDED), xticks=[0, 1, 10, 100, 1000, 10_000, _NOT_ENDED])
    panels[3].set_xticklabels(["0", "1", "10", "100", "1k", "10k", "not\nended"])
    _separate_groups(panels, cases)
    figure.legend(*_legend(), loc="outside upper right", ncols=3)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _draw_row(panels: Any, row: int, case: Case, results: dict[str, Result]) -> None:
    for client in (FIXED, ADAPTIVE):
        got = results[client]
        lost = _NOT_ENDED if got.lost is None else got.lost
        for axes, value in zip((panels[0], panels[1], panels[3]), (got.used, got.refused, lost), strict=True):
            axes.plot([value], [row], _MARKERS[client], color=_COLOURS[client], clip_on=False, markersize=6)
    panels[2].plot([min(ratio(results), 1.2)], [row], _MARKERS[ADAPTIVE], color=_COLOURS[ADAPTIVE], clip_on=False)
    wanted = case.wanted
    for axes, limit in zip(panels, (wanted.used, wanted.refused, wanted.ratio, 0), strict=True):
        if limit is not None:
            axes.plot([limit] * 2, [row - 0.4, row + 0.4], "-", color="tab:red", linewidth=2)
    if wanted.seconds is not None:
        times = ", ".join(f"{name} {got.seconds or math.nan:.1f} s" for name, got in results.items())
        panels[2].text(0.02, row, f"{times}; wanted {wanted.seconds:g} s", va="center", fontsize=7, backgroundcolor="w")


def _separate_groups(panels: Any, cases: Sequence[Case]) -> None:
    for row in range(1, len(cases)):
        if cases[row].group != cases[row - 1].group:
            for axes in panels:
                axes.axhline(row - 0.5, color="black", linewidth=0.6)


def _legend() -> tuple[list[Any], list[str]]:
    handles = [Line2D([], [], color=_COLOURS[name], marker=_MARKERS[name], linestyle="") for name in (ADAPTIVE, FIXED)]
    return [*handles, Line2D([], [], color="tab:red", linewidth=2)], [ADAPTIVE, "fixed concurrency", "wanted"]


def plot_courses(cases: Sequence[Case], results: Results, path: Path) -> None:
    """The adaptive client's permits and pace, and what the server admitted, over each case's time."""
    columns = 4
    rows = math.ceil(len(cases) / columns)
    figure, grid = pyplot.subplots(rows, columns, figsize=(18, 2.3 * rows), squeeze=False, layout="constrained")
    for case, axes in zip(cases, grid.flat, strict=False):
        _draw_course(axes, case, results[case.name][ADAPTIVE])
    for axes in list(grid.flat)[len(cases) :]:
        axes.axis("off")
    lines = [Line2D([], [], color=f"C{number}", linestyle="-") for number in (2, 0, 1)]
    lines.append(Line2D([], [], color="black", linestyle="--"))
    lines.append(Line2D([], [], color="C3", marker=".", linestyle=""))
    names = ["admitted/s", "pace, attempts/s", "permits (right)", "hidden rate", "pace cut"]
    figure.legend(lines, names, loc="outside upper right", ncols=5)
    figure.savefig(path, dpi=90)
    pyplot.close(figure)


def _draw_course(axes: Any, case: Case, got: Result) -> None:
    times = [at - got.began for at, _, _ in got.course]
    limit = case.limit(case.seconds)
    if isinstance(limit, Bucket) and not case.counts_tokens:
        steps = [second / 10 for second in range(int(case.seconds * 10))]
        axes.plot(steps, [limit.rate(at) for at in steps], color="black", linestyle="--", linewidth=1)
    axes.step(range(len(got.admitted)), got.admitted, where="post", color="C2", alpha=0.6)
    axes.plot(times, [math.nan if pace is None else pace for _, _, pace in got.course], color="C0", linewidth=1)
    axes.plot([at - got.began for at, _ in got.cuts], [rate for _, rate in got.cuts], ".", color="C3", markersize=4)
    lost = "?" if got.lost is None else got.lost
    axes.set_title(f"{case.name}: {got.used:.0%}, {got.refused:.1%} refused, {lost} lost", fontsize=9)
    axes.set(xlim=(0, case.seconds), ylim=(0, 1.6 * max([*got.admitted, 1])))
    right = axes.twinx()
    right.step(
        times,
        [math.nan if permits is None else permits for _, permits, _ in got.course],
        where="post",
        color="C1",
        linewidth=1,
    )
    right.set(ylim=(0, case.workers * 1.05))
