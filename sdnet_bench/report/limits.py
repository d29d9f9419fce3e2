"""Sentences on the limits of a model's results, for its card."""

from __future__ import annotations

from collections.abc import Iterator

from ..backbones import BACKBONES, defaults
from ..config import Recipe
from ..data import CORRUPTIONS, SEVERITIES
from ..paper.results import Results
from ..paper.robustness import THREATS, Robustness
from ..records import NOISES


def limits(results: Results, recipe: Recipe | None) -> Iterator[str]:
    """Sentences on training, corruptions and attacks; `recipe` is None for a model that was not trained here."""
    yield from _of_training(results, recipe)
    yield from _of_corruptions(results)
    yield from _of_attacks(results)


def _of_training(results: Results, recipe: Recipe | None) -> Iterator[str]:
    for some in sorted({each.inference.classes for each in results.records if each.inference.classes}):
        yield f"Measured among {some.partition(':')[0]} classes alone, those of the images, found by WordNet id."
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
    given = [record for name in NOISES for level in SEVERITIES if (record := results.given(name, level))]
    for n, precision, seed in sorted({(each.n, each.inference.precision, each.images.seed) for each in given}):
        yield f"Noises: {n:,} test images in {precision}, made here with seed {seed}; no files of a -C archive."
    missing = [noise for noise in NOISES if results.mean(noise) is None]
    if missing:
        yield f"Not measured at every severity: {', '.join(missing)}."
    others = {record.images.corruption for record in results.records} & set(CORRUPTIONS) - set(NOISES)
    yield f"Corruptions that are no noises: {', '.join(sorted(filter(None, others))) or 'none was measured'}."


def _of_attacks(results: Results) -> Iterator[str]:
    missing = [name for name, threat in THREATS.items() if threat not in results.robustness]
    if missing:
        yield f"Not attacked under {' and '.join(missing)}."
    threats: dict[str, list[str]] = {}
    for threat, robustness in results.robustness.items():
        for sentence in _under(robustness):
            threats.setdefault(sentence, []).append(str(threat))
    yield from (f"{' and '.join(alike)}: {sentence}" for sentence, alike in threats.items())


def _under(robustness: Robustness) -> Iterator[str]:
    classifiers = [at for choice, at in robustness.classifiers.items() if choice in ("trained", "tuned")]
    if not all("autoattack" in robustness.members(classifier) for classifier in classifiers):
        yield "no AutoAttack, and stronger attacks can only lower the union."
    if robustness.trained is None:
        return
    if robustness.tuning:
        yield f"lambda was tuned on {robustness.tuning[0].n:,} validation images."
    else:
        yield f"attacked at lambda {robustness.trained:g}; no lambda was tuned."
    if robustness.classifiers.get("oracle", robustness.trained) != robustness.trained:
        yield "the oracle of Table 4 has its lambda chosen on the very test images that it is scored on."
