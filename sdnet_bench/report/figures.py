"""Figures 2 and 3 of the paper, and two figures of robust accuracy, drawn from records as PNG and SVG."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from ..files import replacing
from ..paper.results import Curve, Results
from ..paper.robustness import Robustness
from ..records import NOISES
from ..records.lambda_fit import LambdaFit
from ..records.statistics import Value

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RESIDUALS = {"norm": "residual |x - A z|", "squared": "residual |x - A z|²"}
STYLE: dict[Any, Any] = {
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "axes.titley": 1.0,  # where a search would put it, which takes a tenth of the time
    "font.size": 9,
    "svg.hashsalt": "sdnet-bench",
}


class Drawing(NamedTuple):
    """A figure that can be drawn."""

    name: str
    """`figure2`, ..., or a word for a figure that is not in the paper."""
    title: str
    size: tuple[float, float]
    """Width and height in inches."""
    paint: Callable[[Figure], None]
    fontsize: int = 9
    """Of the title."""

    def figure(self) -> Figure:
        """Draws it, as a figure of matplotlib that nobody else holds; no backend is chosen and nothing is shown."""
        import matplotlib

        from .shown import ShownFigure

        with matplotlib.rc_context(STYLE):
            figure = ShownFigure(figsize=self.size, layout="constrained")
            figure.suptitle(self.title, x=0.01, ha="left", fontsize=self.fontsize)
            self.paint(figure)
        return figure

    def paths(self, folder: Path, model: str) -> list[Path]:
        """Where `write` writes."""
        return [folder / f"{model}-{self.name}.{kind}" for kind in ("png", "svg")]

    def write(self, folder: Path, model: str) -> list[Path]:
        """Writes `<model>-<name>` as PNG and SVG, and returns the paths."""
        import matplotlib

        written, figure = self.paths(folder, model), self.figure()
        with matplotlib.rc_context(STYLE):
            for each, metadata in zip(written, ({}, {"Date": None}), strict=True):
                with replacing(each) as scratch:
                    figure.savefig(scratch, format=each.suffix[1:], dpi=150, metadata=metadata)
                figure.set_layout_engine("none")  # the panels stay where the first has put them
        return written


Wanted = Sequence[tuple[Drawing, str]]
"""Drawings, each with the name of its model."""


def write_figures(results: Iterable[Results], folder: Path) -> list[Path]:
    """Writes the drawings of each model, and returns the paths."""
    with writing_figures(results, folder) as paths:
        return paths


@contextmanager
def writing_figures(results: Iterable[Results], folder: Path) -> Iterator[list[Path]]:
    """A block with the paths of the drawings of each model, which are written when it ends.

    Other processes draw their shares meanwhile, where they can be forked: on Linux, without threads, such as torch has.
    """
    wanted = [(each, result.name) for result in results for each in drawings(result)]
    count, others = 1, list[tuple[BaseProcess, Wanted]]()
    if sys.platform == "linux" and threading.active_count() == 1 and "torch" not in sys.modules:
        count, fork = len(os.sched_getaffinity(0)), get_context("fork").Process
        shares = [share for first in range(1, count) if (share := wanted[first::count])]
        others = [(fork(target=_draw, args=(share, folder)), share) for share in shares]
    for process, _ in others:
        process.start()
    yield [path for each, name in wanted for path in each.paths(folder, name)]
    _write(wanted[::count], folder)
    for process, theirs in others:
        process.join()
        if process.exitcode:  # what is wrong is said here
            _write(theirs, folder)


def _write(wanted: Wanted, folder: Path) -> None:
    for each, name in wanted:
        each.write(folder, name)


def _draw(wanted: Wanted, folder: Path) -> None:
    """`_write`, in a process that does not say what is wrong."""
    try:
        _write(wanted, folder)
    except BaseException:
        sys.exit(1)


def drawings(result: Results) -> Iterator[Drawing]:
    """`figure2`, `figure2-stem`, `figure3`, `robust-lambda`, `robust-eps` and `adaptation`, if there are records."""
    name, robust = result.name, result.robustness
    sweeps = {noise: result.sweep(noise) for noise in NOISES}
    in_stem = {noise: result.sweep(noise, "stem") for noise in NOISES}
    fits = {noise: result.fit(noise) for noise in NOISES}
    by_lambda = {str(threat): each if len(each.lambdas) > 1 else None for threat, each in robust.items()}
    by_eps = {threat.norm: _eps_panel(each, result.config.num_classes) for threat, each in robust.items()}
    by_batch = {"gaussian noise, severity 3": batch_curves(result, "gaussian", 3)}
    yield from _in_panels("figure2", sweeps, _figure2, f"{name}: Figure 2")
    yield from _in_panels("figure2-stem", in_stem, _figure2, f"{name}: lambda in the stem alone")
    yield from _in_panels("figure3", fits, _figure3, f"{name}: Figure 3")
    yield from _in_panels("robust-lambda", by_lambda, _robust_lambda, f"{name}: accuracy under attack, by lambda")
    yield from _in_panels("robust-eps", by_eps, _robust_eps, f"{name}: accuracy under attack, by its radius")
    yield from _in_panels("adaptation", by_batch, _adaptation, f"{name}: adaptation, by the batch")


Panel = TypeVar("Panel")


def _in_panels(
    name: str, panels: Mapping[str, Panel | None], paint: Callable[[Axes, Panel], None], title: str
) -> Iterator[Drawing]:
    """A drawing with one panel for each heading that has data; none where none has data."""
    there = {heading: panel for heading, panel in panels.items() if panel}

    def paint_all(figure: Figure) -> None:
        for place, (heading, panel) in enumerate(there.items(), start=1):
            paint(figure.add_subplot(1, len(there), place, title=heading), panel)
        for axes in figure.axes[1:]:
            _drop_labels_of(figure.axes[0], axes)

    if there:
        yield Drawing(name, title, (max(3.4 * len(there), 4.2), 3.2), paint_all, fontsize=10)


def _drop_labels_of(first: Axes, axes: Axes) -> None:
    """Drops the labels of the vertical axis where those of the first panel are the same."""
    if (axes.get_ylabel(), axes.get_ylim()) == (first.get_ylabel(), first.get_ylim()):
        axes.set_ylabel("")
        axes.tick_params(labelleft=False)


def _figure2(axes: Axes, curves: Sequence[Curve]) -> None:
    """Accuracy against lambda, a line per severity; a dot at the best lambda, a ring at the one Algorithm 1 chose."""
    from matplotlib import colormaps

    for place, curve in enumerate(curves):
        color = colormaps["viridis_r"](0.15 + 0.8 * place / max(1, len(curves) - 1))
        best = max(curve.points, key=lambda point: (point[1], -point[0]))
        lambdas, accuracies = zip(*curve.points, strict=True)
        axes.plot(lambdas, accuracies, color=color, lw=1.4, label=f"severity {curve.severity}")
        axes.plot(*best, "o", color=color, ms=5)
        if curve.chosen is not None and lambdas[0] <= curve.chosen <= lambdas[-1]:
            height = np.interp(curve.chosen, lambdas, accuracies)
            axes.plot(curve.chosen, height, "o", color=color, ms=9, fillstyle="none")
    axes.set(xlabel="lambda", ylabel=f"accuracy (%), n = {curves[0].n:,}", ylim=(0, 100))
    axes.legend(frameon=False, fontsize=7)


def _figure3(axes: Axes, fit: LambdaFit) -> None:
    """lambda_c against the residual r_c, and the fitted line."""
    residuals = [point.residual for point in fit.points]
    ends = [min(residuals), max(residuals)]
    axes.plot(residuals, [point.lambda_ for point in fit.points], "x", color="tab:red")
    axes.plot(ends, [fit.slope * end + fit.intercept for end in ends], color="black", lw=1.2)
    axes.set(xlabel=RESIDUALS[fit.residual], ylabel="best lambda")
    if fit.r_squared is not None:
        axes.set_title(f"{axes.get_title()}, R² = {fit.r_squared:.2f}")


LINES: dict[str, dict[str, Any]] = {
    "clean": {"color": "0.7", "ls": "-", "lw": 1.2},
    "transfer": {"color": "tab:blue", "ls": "--", "marker": "s", "mfc": "white"},
    "ensemble": {"color": "tab:orange", "ls": ":", "marker": "^", "mfc": "white"},
    "matched": {"color": "tab:red", "ls": "-", "marker": "o"},
    "union": {"color": "black", "ls": "-.", "marker": "x", "lw": 1.0},
}
"""Line styles by attack protocol, distinct in black and white too."""


def _robust_lambda(axes: Axes, robustness: Robustness) -> None:
    """Accuracy against lambda, a line per protocol; the vertical line is the tuned lambda."""
    for column, style in LINES.items():
        _line(axes, robustness.against_lambda(column), column, style)
    tuned = robustness.classifiers.get("tuned")
    if isinstance(tuned, float):
        axes.axvline(tuned, color="black", lw=0.8, ls=(0, (1, 2)), label=f"tuned: {tuned:g}")
    axes.set(xlabel="lambda", ylabel=f"accuracy (%), n = {robustness.records[0].n:,}", ylim=(-2, 100))
    axes.legend(frameon=False, fontsize=7)


def _line(axes: Axes, values: Sequence[tuple[float, Value]], label: str, style: dict[str, Any]) -> None:
    """Draws a line with its interval; nothing where there are no values."""
    if values:
        at, accuracies = zip(*values, strict=True)
        _, low, high, *_ = zip(*accuracies, strict=True)
        axes.plot(at, [value.value for value in accuracies], label=label, **({"lw": 1.4, "ms": 4} | style))
        axes.fill_between(at, low, high, color=style["color"], alpha=0.15, lw=0)


class EpsPanel(NamedTuple):
    """Accuracy against the radius of the attack."""

    norm: str
    lines: dict[str, list[tuple[float, Value]]]
    """Points (eps, accuracy) by label of the line; eps in pixels of [0, 1]."""
    n: int
    chance: float
    """Accuracy (%) of random guessing."""


def _eps_panel(robustness: Robustness, num_classes: int) -> EpsPanel | None:
    """The panel of one threat; None where there are fewer than three radii. The model has `num_classes`."""
    lines = {
        "matched" if at is None else f"lambda {at:g}, {choice}": robustness.against_eps(at)
        for choice, at in robustness.classifiers.items()
        if choice in ("trained", "tuned")
    }
    radii = {eps for line in lines.values() for eps, _ in line if eps}
    first = robustness.records[0]
    compared = int(first.inference.classes.partition(" ")[0]) if first.inference.classes else num_classes
    return EpsPanel(robustness.attack.norm, lines, first.n, 100 / compared) if len(radii) >= 3 else None


EPS_LINES = ({"color": "tab:red", "ls": "-", "marker": "o"}, {"color": "tab:blue", "ls": "--", "marker": "s"})


def _robust_eps(axes: Axes, panel: EpsPanel) -> None:
    """Accuracy against eps, a line per lambda; the dashed line is random guessing."""
    scale, unit = (255, "eps (1/255)") if panel.norm == "linf" else (1, "eps")
    for (name, line), style in zip(panel.lines.items(), EPS_LINES, strict=False):
        _line(axes, [(scale * eps, value) for eps, value in line], name, style)
    axes.axhline(panel.chance, color="black", lw=0.8, ls="--", label=f"chance: {panel.chance:g}")
    radii = sorted({scale * eps for line in panel.lines.values() for eps, _ in line})
    axes.set_xscale("symlog", base=2, linthresh=radii[1], linscale=0.5)
    axes.set_xticks(radii, [f"{radius:.3g}" for radius in radii], fontsize=7)
    axes.set_xticks([], minor=True)
    axes.set(
        xlabel=unit, xlim=(-0.3 * radii[1], 1.2 * radii[-1]), ylabel=f"accuracy (%), n = {panel.n:,}", ylim=(-2, 100)
    )
    axes.legend(frameon=False, fontsize=7)


Curves = dict[str, list[tuple[float, Value]]]
"""Points (batch size, accuracy) by the name of a method."""


def batch_curves(result: Results, corruption: str, severity: int) -> Curves | None:
    """Accuracy against the batch size by adaptation, shuffled; None where there are not two sizes of any.

    The network as trained and adaptations of single images stand at every size. All are of the same images.
    """
    digest = result.adapted_images([(corruption, severity)])
    if digest is None:
        return None
    here = [each for each in result.records if each.images.digest == digest]
    at_place = [each for each in here if (each.images.corruption, each.images.severity) == (corruption, severity)]
    settings = dict.fromkeys(each.inference.adaptation for each in at_place)
    asked = [each for each in settings if each and each.order != "sorted"]
    sizes = sorted({each.batch_size for each in asked if each.batch_size})
    curves: Curves = {}
    for setting in (None, *asked):
        view = result.under(setting)
        value = view.over([(corruption, severity)], view.trained_lambda, digest=digest)
        at = [setting.batch_size] if setting and setting.batch_size else sizes
        points = [(float(size), value) for size in at if value]
        curves.setdefault(setting.name if setting else "as trained", []).extend(points)
    found = {name: sorted(points) for name, points in curves.items() if points}
    return found if len(sizes) > 1 else None


def _adaptation(axes: Axes, curves: Curves) -> None:
    """Accuracy against the batch size, a line per method."""
    colors = ["0.5", "tab:blue", "tab:orange", "tab:green", "tab:red", "tab:purple", "tab:brown", "tab:pink"]
    for place, (name, points) in enumerate(curves.items()):
        style = {"color": colors[place % len(colors)], "marker": "os^vDPX"[place % 7]}
        _line(axes, points, name, style)
    sizes = sorted({size for points in curves.values() for size, _ in points})
    axes.set_xscale("log")
    axes.set_xticks(sizes, [f"{size:g}" for size in sizes])
    axes.set_xticks([], minor=True)
    n = next(iter(curves.values()))[0][1].n
    axes.set(xlabel="images of a batch", ylabel=f"accuracy (%), n = {n:,}", ylim=(0, 100))
    axes.legend(frameon=False, fontsize=7)
