"""Figures 4, 5 and 6 of the paper as PNG and SVG, and their numbers as CSV."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from ..csc import csc_layers
from ..errors import UsageError
from ..files import replacing
from ..paper.results import Results
from ..studies.codes import Atoms, Features, Floats, Histogram, Sparsity, find_atoms, measure_sparsity, rebuild_inputs
from ..studies.workbench import Workbench
from .card import FIGURES
from .examples import write_examples
from .figures import Drawing, write_figures
from .scenes import find_examples

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

GAP = 0.08
"""Gap between two atoms on the grid, relative to the side of an atom."""


def draw_dictionary(atoms: Atoms, name: str) -> Drawing:
    """`dictionary`: atoms as a grid, row by row (Figure 5)."""
    shown = len(atoms.patches)
    which = f"the {shown} atoms" if shown == atoms.total else f"the first {shown} of {atoms.total} atoms"
    columns = math.ceil(math.sqrt(shown))
    rows = math.ceil(shown / columns)
    size = (max(2.6, 0.45 * columns + 0.2), 0.45 * rows + 0.5)
    title = f"{name}\n{which} of layer {atoms.layer}"
    return Drawing(f"dictionary{_suffix(atoms.layer)}", title, size, partial(_atoms, atoms, rows, columns))


def write_dictionary(atoms: Atoms, folder: Path, name: str) -> list[Path]:
    """Writes `<name>-dictionary` and its CSV, and returns the paths.

    The CSV has the values of the atoms; atoms, channels, rows and columns are counted from 0.
    """
    import pandas

    places = [range(side) for side in atoms.patches.shape]
    index = pandas.MultiIndex.from_product(places, names=["atom", "channel", "row", "column"])
    frame = pandas.DataFrame({"value": atoms.patches.ravel()}, index).reset_index()
    return _write([draw_dictionary(atoms, name)], frame, folder, name)


def around_grey(patches: Floats) -> Floats:
    """Colours in [0, 1]: each patch of `(n, 3, K, K)` divided by its largest absolute value, with zero as grey."""
    peaks = np.abs(patches).max((1, 2, 3), keepdims=True)
    return 0.5 + 0.5 * patches / np.where(peaks > 0, peaks, 1)


def draw_features(features: Features, name: str, *, stretched: bool = False) -> Drawing:
    """`features`: each image and its reconstructions from each layer's code (Figure 4).

    In `features-stretched` reconstructions have the contrast of the image.
    """
    size = (max(2.6, 1.05 * (len(features.reconstructions) + 1) + 0.2), 1.2 * len(features.images) + 0.6)
    if stretched:
        columns = [(each.stretched, [f"r = {r:.2f}" for r in each.correlations]) for each in features.reconstructions]
    else:
        columns = [(each.pictures, [f"{psnr:.1f} dB" for psnr in each.psnr]) for each in features.reconstructions]
    title = f"{name}\ninputs rebuilt from codes{', stretched' * stretched}"
    return Drawing(f"features{'-stretched' * stretched}", title, size, partial(_features, features, columns))


def write_features(features: Features, folder: Path, name: str) -> list[Path]:
    """Writes `<name>-features`, `<name>-features-stretched` and a CSV, and returns the paths.

    The CSV has the relative errors |x~ - x| / |x| of the normalised images, the PSNR of the clipped pictures in dB, and
    the correlations of the part of x~ due to the code with the image.
    """
    import pandas

    both = [draw_features(features, name, stretched=each) for each in (False, True)]
    return _write(both, pandas.DataFrame(feature_rows(features)), folder, name)


def feature_rows(features: Features) -> list[dict[str, float]]:
    """The rows of the CSV, one per image and layer."""
    return [
        {
            "image": place,
            "layer": each.layer,
            "relative_error": float(each.errors[at]),
            "psnr": float(each.psnr[at]),
            "correlation": float(each.correlations[at]),
        }
        for at, place in enumerate(features.places)
        for each in features.reconstructions
    ]


def draw_sparsity(sparsity: Sparsity, name: str) -> Drawing:
    """`sparsity`: the histogram of one layer's codes, with a separate bar of zeros (Figure 6)."""
    layer, histogram = sparsity.layer, sparsity.layers[sparsity.layer]
    at = "" if sparsity.lambda_ is None else f" at lambda {sparsity.lambda_:g}"
    title = f"{name}\nlayer {layer}{at}: {100 * histogram.share_of_zeros:.1f} % of the entries are zero"
    paint = partial(_histogram, histogram, sparsity.images)
    return Drawing(f"sparsity{_suffix(layer)}", title, (4.6, 3.2), paint)


def write_sparsity(sparsity: Sparsity, folder: Path, name: str) -> list[Path]:
    """Writes `<name>-sparsity` and a CSV, and returns the paths.

    The CSV has all layers; the bin of a layer from 0 to 0 counts its exact zeros, and other bins include their low
    end, not their high end.
    """
    import pandas

    rows = [
        {"layer": number, "low": low, "high": high, "count": count, "share_of_zeros": histogram.share_of_zeros}
        for number, histogram in sparsity.layers.items()
        for low, high, count in ((0.0, 0.0, histogram.zeros), *histogram.bins())
    ]
    return _write([draw_sparsity(sparsity, name)], pandas.DataFrame(rows), folder, name)


def _write(drawings: Sequence[Drawing], frame: DataFrame, folder: Path, name: str) -> list[Path]:
    """Writes figures, and their numbers as CSV under the name of the first."""
    written = [path for each in drawings for path in each.write(folder, name)]
    path = folder / f"{name}-{drawings[0].name}.csv"
    with replacing(path) as scratch:
        frame.to_csv(scratch, index=False)
    return [*written, path]


def _suffix(layer: int) -> str:
    return "" if layer == 1 else f"-layer{layer}"


def _atoms(atoms: Atoms, rows: int, columns: int, figure: Figure) -> None:
    axes = figure.add_subplot(xlim=(0, columns - GAP), ylim=(rows - GAP, 0))
    axes.axis("off")
    for place, patch in enumerate(around_grey(atoms.patches)):
        row, column = divmod(place, columns)
        corners = (column, column + 1 - GAP, row + 1 - GAP, row)
        axes.imshow(patch.transpose(1, 2, 0), extent=corners, interpolation="nearest")


def _features(features: Features, columns: Sequence[tuple[Floats, list[str]]], figure: Figure) -> None:
    """Draws rows of images; `columns` has the pictures and captions of each layer."""
    titles = ["input", *(f"layer {each.layer}" for each in features.reconstructions)]
    panels = figure.subplots(len(features.images), len(titles), squeeze=False)
    inputs = (features.images, [f"image {place}" for place in features.places])
    for title, axes, (pictures, lines) in zip(titles, panels.T, (inputs, *columns), strict=True):
        axes[0].set_title(title, fontsize=8)
        for panel, picture, line in zip(axes, pictures, lines, strict=True):
            _picture(panel, picture, line)


def _picture(axes: Axes, picture: Floats, below: str) -> None:
    """Draws a picture `(3, H, W)` in [0, 1] with a caption below."""
    axes.imshow(picture.transpose(1, 2, 0), interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    axes.set_xlabel(below, fontsize=7, labelpad=2)


def _histogram(histogram: Histogram, images: int, figure: Figure) -> None:
    axes, bins, width = figure.add_subplot(), histogram.bins(), 2.0**histogram.exponent
    low, counts = [low for low, _, _ in bins], [count for _, _, count in bins]
    axes.set_axisbelow(True)
    axes.bar(low, counts, width, align="edge", color="tab:blue", label="other entries")
    axes.vlines(0, 0, histogram.zeros, color="tab:red", lw=2.5, label="exact zeros")
    axes.set(xlabel="entry of the code", ylabel=f"entries, in {images:,} images", yscale="log")
    axes.legend(frameon=False, fontsize=7)


def illustrate(bench: Workbench, limit: int | None = None) -> list[Path]:
    """Draws those figures of a card that apply to the model, into the folder of its run. Returns the paths.

    The `examples` of a page are made too, where codes lead back to the image. `limit` is the number of test images of
    the histograms of codes; all by default.
    """
    with TemporaryDirectory() as scratch:
        paths = _draw_all(bench, Path(scratch), limit)
        drawn = {path.name.removeprefix(f"{bench.model.name}-"): path for path in paths}
        kept = [name for name in (*FIGURES, "features.csv", "sparsity.csv") if name in drawn]
        figures = [Path(shutil.copy(drawn[name], bench.folder / name)) for name in kept]
    with suppress(UsageError):  # no chain begins at the pixels
        figures.append(write_examples(find_examples(bench), bench.folder))
    return figures


def _draw_all(bench: Workbench, folder: Path, limit: int | None) -> Iterator[Path]:
    name, layers = bench.model.name, csc_layers(bench.model.net)
    yield from write_figures([Results.read(bench.model.folder, bench.folder.parent)], folder)
    if layers:
        yield from write_dictionary(find_atoms(bench), folder, name)
        yield from write_sparsity(measure_sparsity(bench, limit=limit), folder, name)
    if len(layers) > 1:
        with suppress(UsageError):  # no chain leads back to the pixels
            yield from write_features(rebuild_inputs(bench, range(5)), folder, name)
