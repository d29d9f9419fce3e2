"""Figures 2 and 3 of the paper, drawn from records: PNG to look at, SVG to print."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ..data import NOISES
from ..files import replacing
from ..studies.lambda_fit import LambdaFit
from .results import Curve, Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("png", "svg")
RESIDUALS = {"norm": "residual |x - A z|", "squared": "residual |x - A z|²"}
STYLE: dict[Any, Any] = {
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "font.size": 9,
    "svg.hashsalt": "sdnet-bench",
}


def write_figures(results: Iterable[Results], folder: Path) -> list[Path]:
    """`<model>-figure2` and `<model>-figure3`, for every model that has the records for them; the paths written."""
    written = []
    for result in results:
        curves = {noise: result.sweep(noise) for noise in NOISES}
        fits = {noise: result.fit(noise) for noise in NOISES}
        if any(curves.values()):
            written += _draw(folder / f"{result.name}-figure2", curves, _figure2, f"{result.name}: Figure 2")
        if any(fits.values()):
            written += _draw(folder / f"{result.name}-figure3", fits, _figure3, f"{result.name}: Figure 3")
    return written


Panel = TypeVar("Panel")


def _draw(path: Path, panels: dict[str, Panel], paint: Callable[[Axes, Panel], None], title: str) -> list[Path]:
    """One panel for each noise that there is anything of."""
    import matplotlib
    from matplotlib.figure import Figure

    there = {noise: panel for noise, panel in panels.items() if panel}
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(3.4 * len(there), 3.2), layout="constrained")
        for place, (noise, panel) in enumerate(there.items(), start=1):
            axes = figure.add_subplot(1, len(there), place, title=noise)
            paint(axes, panel)
        figure.suptitle(title, x=0.01, ha="left", fontsize=10)
        return [_save(figure, path.with_name(f"{path.name}.{kind}"), kind) for kind in FORMATS]


def _save(figure: Figure, path: Path, kind: str) -> Path:
    with replacing(path) as scratch:
        metadata = {"Date": None} if kind == "svg" else {}
        figure.savefig(scratch, format=kind, dpi=150, metadata=metadata)
    return path


def _figure2(axes: Axes, curves: Sequence[Curve]) -> None:
    """Accuracy against lambda, a line per severity; a dot at the best lambda, a ring at the one Algorithm 1 chose."""
    from matplotlib import colormaps

    for place, curve in enumerate(curves):
        color = colormaps["viridis_r"](0.15 + 0.8 * place / max(1, len(curves) - 1))
        best = max(curve.points, key=lambda point: (point[1], -point[0]))
        axes.plot(*zip(*curve.points, strict=True), color=color, lw=1.4, label=f"severity {curve.severity}")
        axes.plot(*best, "o", color=color, ms=5)
        lambdas, accuracies = zip(*curve.points, strict=True)
        if curve.chosen is not None and lambdas[0] <= curve.chosen <= lambdas[-1]:
            height = np.interp(curve.chosen, lambdas, accuracies)
            axes.plot(curve.chosen, height, "o", color=color, ms=9, fillstyle="none")
    axes.set(xlabel="lambda", ylabel=f"accuracy (%), n = {curves[0].n:,}", ylim=(0, 100))
    axes.legend(frameon=False, fontsize=7)


def _figure3(axes: Axes, fit: LambdaFit | None) -> None:
    """lambda_c against the residual r_c, and the fitted line."""
    assert fit
    residuals = [point.residual for point in fit.points]
    ends = [min(residuals), max(residuals)]
    axes.plot(residuals, [point.lambda_ for point in fit.points], "x", color="tab:red")
    axes.plot(ends, [fit.slope * end + fit.intercept for end in ends], color="black", lw=1.2)
    axes.set(xlabel=RESIDUALS[fit.residual], ylabel="best lambda")
    if fit.r_squared is not None:
        axes.set_title(f"{axes.get_title()}, R² = {fit.r_squared:.2f}")
