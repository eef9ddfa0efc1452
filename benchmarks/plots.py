"""The plots that several benchmarks share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def plot_ratios(ratios: Mapping[str, float], label: str, path: Path, wanted: float = 0.9) -> None:
    """Save a plot of ratios, one bar each. `wanted`: the ratio that is marked."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 3))
    axes.barh(list(ratios), list(ratios.values()))
    axes.axvline(wanted, linestyle="--", color="gray", label="wanted")
    axes.invert_yaxis()
    axes.set(xlabel=label)
    axes.legend()
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
