"""Examples: a few test images as the network sees them at every lambda."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sdnet_bench.csc import using_lambda
from sdnet_bench.data import stream_of
from sdnet_bench.errors import ModelError, UsageError
from sdnet_bench.report.examples import FILE, Examples, Scene, write_examples
from sdnet_bench.report.scenes import find_examples
from sdnet_bench.studies.workbench import Workbench


@pytest.fixture
def found(sdnet: Workbench, once: Callable[[str, Callable[[Path], object]], Path]) -> Examples:
    """Found once for all tests."""
    folder = once("examples", lambda folder: write_examples(find_examples(sdnet, [0, 5]), folder))
    examples = Examples.read([folder], sdnet.model.weights)
    assert examples
    return examples


def picture(examples: Examples, place: int) -> np.ndarray:
    """`(H, W, 3)` uint8."""
    sprite = np.asarray(Image.open(io.BytesIO(base64.b64decode(examples.sprite))))
    (height, width), (row, column) = examples.side, divmod(place, examples.columns)
    return sprite[row * height : (row + 1) * height, column * width : (column + 1) * width]


def scene(examples: Examples, name: str) -> Scene:
    return next(each for each in examples.scenes if each.name == name)


def test_every_noise_severity_threat_and_protocol_is_a_scene(found: Examples) -> None:
    noises = {f"{name} {level}" for name in ("gaussian", "shot", "speckle", "impulse") for level in range(1, 6)}
    attacks = {f"{threat} {by}" for threat in ("linf 8/255", "l2 0.5") for by in ("transfer", "matched")}
    assert {each.name for each in found.scenes} == {"clean"} | noises | attacks
    assert all(len(each.rebuilt[0]) == len(found.lambdas) == 15 for each in found.scenes)
    assert {len(each.inputs[0]) for each in found.scenes if "matched" in each.name} == {15}


def test_pictures_are_those_of_the_images(found: Examples, sdnet: Workbench) -> None:
    (batch,) = sdnet.split("test").subset([0, 5]).batches(2, torch.device("cpu"))
    for name, images in {"clean": batch.images, "shot 3": stream_of("shot", 3, "imagenet", 0)(batch)}.items():
        for at in (0, 1):
            shown = picture(found, scene(found, name).inputs[at][0]).astype(float)
            assert np.abs(shown - images[at].permute(1, 2, 0).numpy()).mean() < 20  # WebP
    assert found.labels == tuple(batch.labels.tolist())


def test_predictions_are_those_of_the_network_at_that_lambda(found: Examples, sdnet: Workbench) -> None:
    (batch,) = sdnet.split("test").subset([0, 5]).batches(2, torch.device("cpu"))
    noisy = sdnet.runtime.to_pixels(stream_of("gaussian", 5, "imagenet", 0)(batch))
    for at in (0, 7):
        with torch.no_grad(), using_lambda(sdnet.model.net, found.lambdas[at]):
            sure, named = sdnet.model.net(noisy).softmax(1).max(1)
        of = scene(found, "gaussian 5")
        assert [each[at] for each in of.predictions] == named.tolist()
        assert [each[at] for each in of.confidences] == pytest.approx(sure.tolist(), abs=1e-3)


def test_a_file_is_read_for_its_weights_alone(found: Examples, sdnet: Workbench, tmp_path: Path) -> None:
    write_examples(found, tmp_path)
    assert Examples.read([tmp_path, tmp_path / "run"], sdnet.model.weights) == found
    assert Examples.read([tmp_path], "other") is None
    text = (tmp_path / FILE).read_text(encoding="utf-8")
    (tmp_path / FILE).write_text(text.replace('"side":[', '"side":[1'), encoding="utf-8")
    with pytest.raises(ModelError, match="it was changed"):
        Examples.read([tmp_path], sdnet.model.weights)


def test_a_network_without_codes_has_none(open_bench: Callable[[str], Workbench]) -> None:
    with pytest.raises(UsageError, match="no CSC-layer"):
        find_examples(open_bench("resnet18-tiny"))
