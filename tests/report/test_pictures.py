"""Figures 4 to 6: what is drawn where, and the figures behind it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sdnet_bench.errors import RecordError
from sdnet_bench.report.pictures import around_grey, feature_rows, write_dictionary, write_features, write_sparsity
from sdnet_bench.studies.codes import Atoms, Features, Histogram, Reconstruction, Sparsity

PATCHES = np.random.default_rng(0).normal(size=(5, 3, 3, 3))


def atoms(layer: int = 1, total: int = 5) -> Atoms:
    return Atoms(layer, total, PATCHES)


def features() -> Features:
    rng = np.random.default_rng(1)
    images = rng.random((2, 3, 4, 6))
    views = [
        Reconstruction(layer, rng.random(images.shape), rng.random(images.shape), *rng.random((3, 2)) * layer)
        for layer in (1, 5)
    ]
    return Features((7, 3), images, tuple(views))


def sparsity(layer: int = 1, lambda_: float | None = 0.1) -> Sparsity:
    """Layer 1: 3 of 8 entries are zero; layer 2: all of them."""
    code = torch.tensor([0.0, 0.0, 0.0, 0.3, 0.3, -0.4, 0.9, 1.5])
    return Sparsity(1200, lambda_, {1: Histogram.of(code), 2: Histogram.of(torch.zeros(4))}, layer)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are saved, each as often as it is."""
    figures: list[Figure] = []
    save = Figure.savefig

    def remember(figure: Figure, *args: Any, **options: Any) -> None:
        figures.append(figure)
        save(figure, *args, **options)

    monkeypatch.setattr(Figure, "savefig", remember)
    return figures


def shown(axes: Axes) -> list[Any]:
    """The pictures on an axes, `(H, W, 3)` each."""
    return [np.asarray(image.get_array()) for image in axes.get_images()]


def test_zero_is_grey_and_the_largest_value_of_an_atom_is_the_end_of_the_scale() -> None:
    patches = np.array([[[[0.0, 0.5]], [[-0.25, 0.0]], [[0.1, 0.0]]], [[[0.0, 0.0]]] * 3])
    colours = around_grey(patches)
    np.testing.assert_allclose(colours[0].ravel(), [0.5, 1, 0.25, 0.5, 0.6, 0.5])
    assert (colours[1] == 0.5).all()


def test_atoms_stand_row_by_row_on_a_square(tmp_path: Path, drawn: list[Figure]) -> None:
    written = write_dictionary(atoms(), tmp_path, "net")
    assert names(tmp_path) == sorted(path.name for path in written)
    assert names(tmp_path) == ["net-dictionary.csv", "net-dictionary.png", "net-dictionary.svg"]
    (axes,) = drawn[0].axes
    places = [image.get_extent()[0::3] for image in axes.get_images()]
    assert places == [[0, 0], [1, 0], [2, 0], [0, 1], [1, 1]]
    for picture, patch in zip(shown(axes), PATCHES, strict=True):
        np.testing.assert_allclose(picture.transpose(2, 0, 1), 0.5 + 0.5 * patch / abs(patch).max())


def test_the_numbers_of_atoms_are_in_the_csv(tmp_path: Path) -> None:
    write_dictionary(atoms(), tmp_path, "net")
    frame = pandas.read_csv(tmp_path / "net-dictionary.csv")
    assert list(frame) == ["atom", "channel", "row", "column", "value"]
    assert len(frame) == PATCHES.size
    at = tuple(frame[name] for name in ("atom", "channel", "row", "column"))
    np.testing.assert_allclose(frame["value"], PATCHES[at], rtol=1e-14)


def test_a_deeper_layer_has_files_of_its_own_and_a_title_that_says_what_is_left_out(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    write_dictionary(atoms(3, total=512), tmp_path, "a.b")
    assert names(tmp_path) == [f"a.b-dictionary-layer3.{kind}" for kind in ("csv", "png", "svg")]
    assert drawn[0].get_suptitle() == "a.b\nthe first 5 of 512 atoms of layer 3"


def test_images_are_rows_and_layers_are_columns(tmp_path: Path, drawn: list[Figure]) -> None:
    found = features()
    write_features(found, tmp_path, "net")
    kinds = ("csv", "png", "svg")
    stretched = [f"net-features-stretched.{kind}" for kind in kinds[1:]]
    assert names(tmp_path) == sorted([*(f"net-features.{kind}" for kind in kinds), *stretched])
    for figure, which in ((drawn[0], "pictures"), (drawn[2], "stretched")):
        grid = np.array(figure.axes).reshape(2, 3)
        assert [axes.get_title() for axes in grid[0]] == ["input", "layer 1", "layer 5"]
        assert [axes.get_xlabel() for axes in grid[:, 0]] == ["image 7", "image 3"]
        columns = [found.images, *(getattr(view, which) for view in found.reconstructions)]
        for axes, pictures in zip(grid.T, columns, strict=True):
            np.testing.assert_array_equal([shown(panel)[0].transpose(2, 0, 1) for panel in axes], pictures)
    first, second = found.reconstructions
    assert [axes.get_xlabel() for axes in drawn[0].axes[1:3]] == [f"{first.psnr[0]:.1f} dB", f"{second.psnr[0]:.1f} dB"]
    assert drawn[2].axes[5].get_xlabel() == f"r = {second.correlations[1]:.2f}"


def test_the_errors_of_images_are_in_the_csv(tmp_path: Path) -> None:
    found = features()
    write_features(found, tmp_path, "net")
    frame = pandas.read_csv(tmp_path / "net-features.csv")
    assert list(frame) == ["image", "layer", "relative_error", "psnr", "correlation"]
    assert frame[["image", "layer"]].to_numpy().tolist() == [[7, 1], [7, 5], [3, 1], [3, 5]]
    errors = [view.errors[at] for at in (0, 1) for view in found.reconstructions]
    np.testing.assert_allclose(frame["relative_error"], errors, rtol=1e-12)
    pandas.testing.assert_frame_equal(frame, pandas.DataFrame(feature_rows(found)), rtol=1e-12)


def test_zeros_are_apart_from_the_other_entries(tmp_path: Path, drawn: list[Figure]) -> None:
    write_sparsity(sparsity(), tmp_path, "net")
    assert names(tmp_path) == ["net-sparsity.csv", "net-sparsity.png", "net-sparsity.svg"]
    (axes,) = drawn[0].axes
    assert drawn[0].get_suptitle() == "net\nlayer 1 at lambda 0.1: 37.5 % of the entries are zero"
    assert (axes.get_yscale(), axes.get_ylabel()) == ("log", "entries, in 1,200 images")
    bars = {round(bar.get_x(), 6): bar.get_height() for bar in axes.patches if bar.get_height()}
    width = 2**-6
    assert bars == {round(np.floor(v / width) * width, 6): n for v, n in ((0.3, 2), (-0.4, 1), (0.9, 1), (1.5, 1))}
    ((start, end),) = axes.collections[0].get_segments()
    assert (start.tolist(), end.tolist()) == ([0, 0], [0, 3])


def test_the_counts_of_all_layers_are_in_the_csv(tmp_path: Path) -> None:
    write_sparsity(sparsity(), tmp_path, "net")
    frame = pandas.read_csv(tmp_path / "net-sparsity.csv")
    assert list(frame) == ["layer", "low", "high", "count", "share_of_zeros"]
    assert frame.groupby("layer")["count"].sum().to_dict() == {1: 8, 2: 4}
    zeros = frame[frame["low"] == frame["high"]]
    assert zeros.to_numpy().tolist() == [[1, 0, 0, 3, 3 / 8], [2, 0, 0, 4, 1]]
    bins = frame[(frame["layer"] == 1) & (frame["low"] < frame["high"])]
    assert (bins["high"] - bins["low"]).unique().tolist() == [2**-6]
    assert bins["low"].tolist()[1:] == bins["high"].tolist()[:-1]


def test_a_layer_of_zeros_can_be_drawn(tmp_path: Path, drawn: list[Figure]) -> None:
    write_sparsity(sparsity(2, lambda_=None), tmp_path, "net")
    assert names(tmp_path) == [f"net-sparsity-layer2.{kind}" for kind in ("csv", "png", "svg")]
    assert drawn[0].get_suptitle() == "net\nlayer 2: 100.0 % of the entries are zero"


def test_the_same_findings_give_the_same_files(tmp_path: Path) -> None:
    for folder in (tmp_path / "a", tmp_path / "b"):
        write_dictionary(atoms(), folder, "net")
        write_features(features(), folder, "net")
        write_sparsity(sparsity(), folder, "net")
    assert names(tmp_path / "a") == names(tmp_path / "b")
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
        assert path.suffix != ".png" or path.read_bytes().startswith(b"\x89PNG")


def test_a_folder_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RecordError, match=r"cannot write .*net-dictionary\.png.*Name another folder"):
        write_dictionary(atoms(), tmp_path / "file", "net")
