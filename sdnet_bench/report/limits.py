"""What the numbers of one model do not say, as far as its records know."""

from __future__ import annotations

from collections.abc import Iterator

from ..backbones import BACKBONES, defaults
from ..config import Recipe
from ..data import CORRUPTIONS, NOISES, SEVERITIES
from .results import Results
from .robustness import THREATS, Robustness


def limits(results: Results, recipe: Recipe | None) -> list[str]:
    """Sentences: of the network and its training, of noises, of attacks. `recipe` is None where training is unknown."""
    return [*_of_training(results, recipe), *_of_corruptions(results), *_of_attacks(results)]


def _of_training(results: Results, recipe: Recipe | None) -> Iterator[str]:
    backbone = results.config.backbone
    usual = defaults(backbone.name).get("width") if backbone.name in BACKBONES else None
    width = backbone.options.get("width", usual)
    if usual and width < usual:
        yield f"Width {width} instead of {usual}."
    if recipe is None:
        yield "How it was trained is not on record."
        return
    if recipe.limit:
        yield f"Trained on {recipe.limit:,} images of the training split alone."
    yield "One training with one seed: intervals are over test images, not over trainings."
    if recipe.dataset == "digits":
        yield "Handwritten digits show what the commands do, not what the paper claims."


def _of_corruptions(results: Results) -> Iterator[str]:
    """How many images, made how, and what was left out."""
    given = [record for name in NOISES for level in SEVERITIES if (record := results.given(name, level))]
    for n, precision, seed in sorted({(record.n, record.cell.precision, record.cell.seed) for record in given}):
        yield f"Noises: {n:,} test images in {precision}, made here with seed {seed}; no files of a -C archive."
    missing = [noise for noise in NOISES if results.mean(noise) is None]
    if missing:
        yield f"Not measured at every severity: {', '.join(missing)}."
    others = {record.cell.corruption for record in results.records} & set(CORRUPTIONS) - set(NOISES)
    yield f"Corruptions that are no noises: {', '.join(sorted(filter(None, others))) or 'none was measured'}."


def _of_attacks(results: Results) -> Iterator[str]:
    missing = [threat for threat in THREATS if threat not in results.robustness]
    if missing:
        yield f"Not attacked under {' and '.join(missing)}."
    threats: dict[str, list[str]] = {}
    for threat, robustness in results.robustness.items():
        for sentence in _of_threat(robustness):
            threats.setdefault(sentence, []).append(threat)
    yield from (f"{' and '.join(alike)}: {sentence}" for sentence, alike in threats.items())


def _of_threat(robustness: Robustness) -> Iterator[str]:
    judges = [robustness.judges[choice] for choice in ("trained", "tuned") if choice in robustness.judges]
    if not all("autoattack" in robustness.members(judge) for judge in judges):
        yield "no AutoAttack, and stronger attacks can only lower the union."
    if robustness.trained is None:
        return
    if robustness.tuning:
        yield f"lambda was tuned on {robustness.tuning[0].n:,} validation images."
    else:
        yield f"attacked at lambda {robustness.trained:g}; no lambda was tuned."
    if robustness.judges.get("oracle", robustness.trained) != robustness.trained:
        yield "the oracle of Table 4 has its lambda chosen on the very test images that it is scored on."
