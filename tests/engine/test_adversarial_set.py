"""Adversarial sets on disk: inside their budget as uint8, as strong as they were, refused when they are not whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sdnet_bench.engine.adversarial_set import AdversarialWriter, open_adversarial
from sdnet_bench.engine.evaluate import evaluate
from sdnet_bench.errors import DataError
from sdnet_bench.records import CLEAN, Record, Threat
from sdnet_bench.studies.adversarial import run_attack
from sdnet_bench.studies.protocols import attack_setting, matched_cells, transfer_cells
from sdnet_bench.studies.workbench import Workbench

LIMIT = 30
EPS = {"linf": 16 / 255, "l2": 1.5}
SETTINGS = {norm: attack_setting(Threat(norm, eps), steps=4, restarts=2) for norm, eps in EPS.items()}


def save(bench: Workbench, norm: str) -> tuple[Record, Path]:
    """An attack that knows lambda, with its images."""
    (cell,) = matched_cells(bench, SETTINGS[norm], bench.images("test", LIMIT), [bench.model.trained_lambda])
    (record,) = bench.measure([cell], "attack", save=True)
    return record, bench.adversarial_folder(cell)


@pytest.fixture
def saved(measured_once: Callable[[str, Callable[[Workbench], Any]], Workbench]) -> tuple[Workbench, Record, Path]:
    """A set of the linf attack, for each test to do with as it likes: with its bench and its record."""
    bench = measured_once("adversarial", lambda bench: save(bench, "linf"))
    return bench, *save(bench, "linf")


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_saved_set_is_inside_its_budget(sdnet: Workbench, norm: str) -> None:
    _, folder = save(sdnet, norm)
    clean = sdnet.split("test", LIMIT)
    saved, setting = open_adversarial(folder, clean)
    assert setting.eps == EPS[norm]
    ours, theirs = (next(saved.batches(LIMIT, torch.device("cpu"))), next(clean.batches(LIMIT, torch.device("cpu"))))
    moved = (ours.images.double() - theirs.images.double()).flatten(1) / 255
    furthest = float(moved.abs().max() if norm == "linf" else moved.norm(dim=1).max())
    assert 0.5 * EPS[norm] < furthest <= EPS[norm] + 1e-9


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_saved_set_breaks_what_the_attack_broke(sdnet: Workbench, norm: str) -> None:
    """But for a few images at the border, which rounding to whole levels takes back."""
    record, folder = save(sdnet, norm)
    saved, _ = open_adversarial(folder, sdnet.split("test", LIMIT))
    standing = evaluate(sdnet.model.net, saved, sdnet.runtime)[None].correct
    assert (~record.correct).sum() > record.lost(CLEAN).sum() + 5
    assert (standing != record.correct).sum() <= 2


def test_images_that_nobody_attacked_are_as_they_were(saved: tuple[Workbench, Record, Path]) -> None:
    sdnet, record, folder = saved
    clean = next(sdnet.split("test", LIMIT).batches(LIMIT, torch.device("cpu"))).images
    images = torch.from_numpy(np.load(folder / "images.npy")).permute(0, 3, 1, 2)
    same = (images == clean).flatten(1).all(1).numpy()
    assert np.array_equal(same, record.lost(CLEAN))


def test_saving_changes_no_outcome(sdnet: Workbench, resnet: Workbench) -> None:
    for bench in (sdnet, resnet):
        (cell,) = matched_cells(bench, SETTINGS["linf"], bench.images("test", LIMIT), [bench.model.trained_lambda])
        (plain,) = bench.measure([cell], "attack")
        (kept,) = bench.measure([cell], "attack", save=True)
        assert np.array_equal(plain.correct, kept.correct)


def test_a_record_without_images_is_attacked_again_and_with_images_is_not(sdnet: Workbench, told: Any) -> None:
    (cell,) = matched_cells(sdnet, SETTINGS["linf"], sdnet.images("test", LIMIT), [0.1])
    sdnet.measure([cell], "attack")
    told.images = 0
    sdnet.measure([cell], "attack", save=True)
    assert told.images == LIMIT
    sdnet.measure([cell], "attack", save=True)
    assert told.images == LIMIT


def test_a_transferred_set_holds_the_images_that_every_lambda_was_shown(sdnet: Workbench) -> None:
    setting = SETTINGS["linf"].model_copy(update={"restarts": 1})
    cells = transfer_cells(sdnet, setting, sdnet.images("test", LIMIT), [0.1, 0.5])
    records = sdnet.measure(cells, "attack", save=True)
    saved, _ = open_adversarial(sdnet.adversarial_folder(cells[0]), sdnet.split("test", LIMIT))
    outcomes = evaluate(sdnet.model.net, saved, sdnet.runtime, lambdas=[0.1, 0.5])
    for record in records:
        lost = record.lost("pgd")
        assert (outcomes[record.inference.lambda_].correct[lost]).sum() <= 2


@pytest.mark.parametrize("name", ["pgd", "apgd-ce"])
def test_a_set_holds_what_broke_an_image_whatever_came_after(sdnet: Workbench, name: str) -> None:
    """Later restarts go on for other scorers; they do not replace what has broken this one."""
    setting = attack_setting(Threat("linf", EPS["linf"] / 2), steps=4, restarts=3, name=name)
    cells = transfer_cells(sdnet, setting, sdnet.images("test", LIMIT), [0.1, 1.0])
    record = next(record for record in sdnet.measure(cells, "attack", save=True) if record.inference.lambda_ == 0.1)
    saved, _ = open_adversarial(sdnet.adversarial_folder(cells[0]), sdnet.split("test", LIMIT))
    standing = evaluate(sdnet.model.net, saved, sdnet.runtime)[None].correct
    assert record.lost(name).sum() > 5
    assert standing[record.lost(name)].sum() <= 2


def test_images_that_are_gone_are_made_anew_though_a_journal_tells_of_them(
    sdnet: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cell,) = matched_cells(sdnet, SETTINGS["linf"], sdnet.images("test", LIMIT), [0.1])
    with monkeypatch.context() as patch:
        patch.setattr(AdversarialWriter, "seal", lambda keeper: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            sdnet.measure([cell], "attack", save=True)
    folder = sdnet.adversarial_folder(cell)
    for path in folder.iterdir():
        path.unlink()
    (record,) = sdnet.measure([cell], "attack", save=True)
    saved, _ = open_adversarial(folder, sdnet.split("test", LIMIT))
    standing = evaluate(sdnet.model.net, saved, sdnet.runtime)[None].correct
    assert (standing != record.correct).sum() <= 2


def test_a_set_that_is_rewritten_is_not_whole_meanwhile(saved: tuple[Workbench, Record, Path]) -> None:
    sdnet, _, folder = saved
    AdversarialWriter(folder, sdnet.split("test", LIMIT), SETTINGS["linf"])
    with pytest.raises(DataError, match="cannot read an adversarial set"):
        open_adversarial(folder, sdnet.split("test", LIMIT))


def test_the_command_says_where_the_images_are(sdnet: Workbench, told: Any) -> None:
    run_attack(sdnet, SETTINGS["linf"], sdnet.images("test", LIMIT), ["matched"], [0.1], save=True)
    assert any(note.startswith("adversarial images in") and "rounded to uint8" in note for note in told.notes)


def test_a_set_that_was_begun_is_gone_on_with(sdnet: Workbench, tmp_path: Path) -> None:
    clean = sdnet.split("test", LIMIT)
    batch = next(clean.batches(10, torch.device("cpu")))
    black = torch.zeros(10, 3, *batch.images.shape[2:])
    wide = SETTINGS["linf"].model_copy(update={"eps": 1.0})
    AdversarialWriter(tmp_path, clean, wide)(batch, black, [True] * 5 + [False] * 5)
    again = AdversarialWriter(tmp_path, clean, wide)
    again.seal()
    saved, _ = open_adversarial(tmp_path, clean)
    assert int(saved.images[:5].sum()) == 0
    assert torch.equal(saved.images[5:10], batch.images[5:])


def spoil(folder: Path, name: str, content: Any) -> None:
    np.save(folder / f"{name}.npy", content)


def header(folder: Path, name: str, shape: str) -> None:
    """A header that promises another shape, before the old content."""
    path = folder / f"{name}.npy"
    content = path.read_bytes()
    start = content.index(b"'shape': ") + 9
    end = content.index(b"}", start)
    path.write_bytes(content[:start] + f"{shape}, ".encode().ljust(end - start) + content[end:])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "attack.json").unlink(), "cannot read an adversarial set"),
        (lambda folder: (folder / "images.npy").write_bytes(b"torn"), "cannot read an adversarial set"),
        (lambda folder: (folder / "attack.json").write_text("{"), "an adversarial set in .*invalid json"),
        (lambda folder: (folder / "attack.json").write_text("[" * 10**5), "an adversarial set in .*recursion"),
        (lambda folder: (folder / "attack.json").write_bytes(b"\xff"), "an adversarial set in .*invalid"),
        (lambda folder: header(folder, "images", "(99999999, 999, 999, 3)"), "cannot read an adversarial set"),
        (lambda folder: header(folder, "index", f"({10**15},)"), "cannot read an adversarial set"),
        (lambda folder: header(folder, "labels", "(-60,)"), "cannot read an adversarial set"),
        (lambda folder: spoil(folder, "images", np.zeros((LIMIT, 3, 8, 8), np.uint8)), "is damaged"),
        (lambda folder: spoil(folder, "images", np.zeros((LIMIT, 16, 16, 3), np.uint8)), "is damaged"),
        (lambda folder: spoil(folder, "images", np.zeros((LIMIT, 8, 8, 3), np.float32)), "is damaged"),
        (lambda folder: spoil(folder, "labels", np.zeros(LIMIT, np.int64)), "made of other images"),
        (lambda folder: spoil(folder, "labels", np.array(["a"] * LIMIT)), "cannot read an adversarial set"),
        (lambda folder: spoil(folder, "labels", np.int64(3)), "cannot read an adversarial set"),
        (lambda folder: spoil(folder, "index", np.array([{}] * LIMIT)), "cannot read an adversarial set"),
        (
            lambda folder: spoil(folder, "images", np.load(folder / "images.npy").clip(1, 254)),
            "were changed, expected sha256",
        ),
        (lambda folder: spoil(folder, "images", 255 - np.load(folder / "images.npy")), "leaves its budget"),
    ],
)
def test_a_set_that_is_not_whole_is_refused(saved: tuple[Workbench, Record, Path], damage: Any, message: str) -> None:
    sdnet, _, folder = saved
    damage(folder)
    with pytest.raises(DataError, match=rf"{message}.* Remove the folder, and make the set with `attack --save`\."):
        open_adversarial(folder, sdnet.split("test", LIMIT))


def test_a_set_of_an_earlier_version_is_read(saved: tuple[Workbench, Record, Path]) -> None:
    """It has no checksum."""
    sdnet, _, folder = saved
    (folder / "attack.json").write_text(SETTINGS["linf"].model_dump_json(indent=1) + "\n", encoding="utf-8")
    images, setting = open_adversarial(folder, sdnet.split("test", LIMIT))
    assert (len(images), setting) == (LIMIT, SETTINGS["linf"])


def test_a_set_whose_files_are_damaged_is_made_again(saved: tuple[Workbench, Record, Path]) -> None:
    sdnet, first, folder = saved
    header(folder, "images", "(99999999, 999, 999, 3)")
    again, _ = save(sdnet, "linf")
    images, _ = open_adversarial(folder, sdnet.split("test", LIMIT))
    standing = evaluate(sdnet.model.net, images, sdnet.runtime)[None].correct
    assert (again.outcomes, again.lost_to) == (first.outcomes, first.lost_to)
    assert (standing != again.correct).sum() <= 2


def test_a_larger_ball_written_into_the_seal_is_checked_too(saved: tuple[Workbench, Record, Path]) -> None:
    """The seal says what the images have to keep to."""
    sdnet, _, folder = saved
    seal = json.loads((folder / "attack.json").read_text())
    (folder / "attack.json").write_text(json.dumps(seal | {"eps": 1 / 255}))
    with pytest.raises(DataError, match=r"leaves its budget, expected linf <= 0\.0039"):
        open_adversarial(folder, sdnet.split("test", LIMIT))
