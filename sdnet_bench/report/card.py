"""The model card: writes `README.md` and `results.json` of a model folder from its recipe or origin and records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..audit import Audit
from ..audit.render import overview, read_audits
from ..backbones import count_parameters, is_external
from ..config import CARD, NOTES, RECIPE, RESULTS, ModelConfig, Origin, Recipe
from ..errors import ModelError, printable
from ..files import reading, replacing, text_of
from ..paper.inference import INFERENCE
from ..paper.render import grid, markdown_table
from ..paper.results import Results
from ..paper.robustness import THREATS, Robustness
from ..paper.tables import build_tables
from ..records import NOISES, Threat, write_results
from ..records.statistics import Value, show
from ..zoo.checkpoint import build_net
from ..zoo.weights import weight_files
from .commands import commands
from .limits import limits
from .provenance import provenance

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

ATTACKS = ("transfer", "matched", "union")
HEADER = ["model", "lambda", "clean", *NOISES, *(f"{threat} {attack}" for threat in THREATS for attack in ATTACKS)]
HUB_DATASETS = {"cifar10": "uoft-cs/cifar10", "cifar100": "uoft-cs/cifar100", "imagenet": "ILSVRC/imagenet-1k"}
"""Names of our data sets on the Hub."""
MOST_CLASSES = 10
"""Largest number of classes that a card names."""
TEMPLATE = """\
---
{front}
---

# {name}

{text}

## Results

{results}

## Use

```sh
{commands}
```

```python
import sdnet_bench

net = sdnet_bench.load_model("{name}").net  # images (N, 3, H, W) in [0, 1] to logits (N, {classes})
```

Normalisation is part of the network. In the place of the name a folder will do, or `hf:owner/name`.
"""
RECIPE_TEXT = """\
[recipe.toml](recipe.toml) trains it for {epochs} in batches of {r.batch_size}, with seed {r.seed}{more}. The
last epoch is the result; nothing is chosen on test images."""
FIGURES = {
    "figure2.png": "Accuracy against lambda, by noise and severity",
    "figure2-stem.png": "Accuracy against the stem's lambda, by severity",
    "figure3.png": "The best lambda against the residual, on training images, and Algorithm 1's line",
    "robust-lambda.png": "Robust accuracy against lambda",
    "robust-eps.png": "Accuracy against eps",
    "adaptation.png": "Accuracy against the images of a batch that is adapted to",
    "features.png": "Images rebuilt from the codes of each layer",
    "dictionary.png": "Atoms of the stem",
    "sparsity.png": "Values of the stem's codes",
}
"""Captions of the figures that a model folder may hold, by file name."""
EXPLANATION = """\
Accuracy in percent with Wilson's 95 % interval. Noises: mean over severities 1 to 5, lambda as in training or chosen
by Algorithm 1. lambda is tuned on validation images, and clean accuracy at it stands beside."""
THREAT_MODELS = """\
## Threat models

An image counts as robust when it is classified correctly as it is and on every adversarial image made from it.
"transfer", the paper's protocol, attacks the net at the lambda of training and scores at another; "matched" attacks it
at the lambda that it is scored at; "union" counts the images that withstand every attack on record.

{lines}
"""
AUDIT = """\
## Audit

What these robust accuracies are worth, on n test images, at the lambda tuned for each threat; the figures behind each
verdict are in {files}.

{table}
"""
ROBUST_INFERENCE = """\
## Robust inference

Images of mixed severity under one type of noise, or under all four ("unknown"), and the price on clean images. lambda
is that of training; one for the whole set, by Algorithm 1; or one for every image, from its own residual. Where the
type is unknown, the fits of the four types are pooled. p is McNemar's.

{table}
"""


def summary(results: Sequence[Results]) -> str:
    """A table with a line per model and choice of lambda: clean, the four noises, and attacks."""
    return markdown_table(HEADER, [line for result in results for line in _lines(result)])


def inference(results: Sequence[Results]) -> str | None:
    """The table of robust inference as Markdown; None where it was not measured."""
    return next((grid(table) for table in build_tables(results, [INFERENCE])), None)


def audited(audits: Sequence[Audit]) -> str:
    """The section of the card on audits."""
    files = " and ".join(f"[audit-{audit.name}.md](audit-{audit.name}.md)" for audit in audits)
    return AUDIT.format(files=files, table=overview(audits))


def _lines(result: Results) -> Iterator[list[str]]:
    """The lines of a model: at lambda_0, by Algorithm 1, and at the lambda tuned under each threat."""
    trained = result.trained_lambda
    given = {"clean": result.clean(), **{noise: result.mean(noise) for noise in NOISES}}
    for threat, robustness in result.robustness.items():
        given |= _attacked(threat, robustness, "trained")
    yield _line(result.name, "—" if trained is None else f"{trained:g}", given)
    if trained is None:
        return
    yield _line(result.name, "Algorithm 1", {noise: result.mean(noise, adaptive=True) for noise in NOISES})
    for threat, robustness in result.robustness.items():
        if "tuned" in robustness.classifiers:
            lambda_ = f"{robustness.classifiers['tuned']:g}, tuned for {robustness.attack.norm}"
            tuned = {"clean": robustness.value("clean", "tuned"), **_attacked(threat, robustness, "tuned")}
            yield _line(result.name, lambda_, tuned)


def _attacked(threat: Threat, robustness: Robustness, choice: str) -> dict[str, Value | None]:
    """Accuracies of a choice under a threat by column."""
    return {f"{threat} {attack}": robustness.value(attack, choice) for attack in ATTACKS}


def _line(name: str, lambda_: str, values: Mapping[str, Value | None]) -> list[str]:
    return [name, lambda_, *(show(values.get(column)) for column in HEADER[2:])]


def write_card(folder: Path, results: Results) -> None:
    """Writes the card and `results.json` of a model into its folder."""
    with replacing(folder / RESULTS) as path:
        write_results(path, (*results.records, *results.elsewhere))
    with replacing(folder / CARD) as path:
        path.write_text(printable(card(folder, results)), encoding="utf-8")


def card(folder: Path, results: Results) -> str:
    """The text of the model card."""
    origin, path = Origin.read(folder), folder / RECIPE
    recipe = Recipe.read(path) if path.exists() or origin is None else None
    is_trained = bool(weight_files(folder))
    nothing = f"None yet: {'nothing has been measured' if is_trained else 'this recipe has not been run'}."
    sections = _sections(folder, results, recipe) if results.records or results.elsewhere else [nothing]
    usage = f"sdnet-bench {'evaluate' if is_trained else 'train'} {results.name}"
    return TEMPLATE.format(
        front=_front_matter(results),
        name=results.name,
        text=_introduction(results, recipe, origin),
        results="\n\n".join(section.rstrip() for section in sections),
        commands=f"{usage}\nsdnet-bench report {results.name}" if is_trained else usage,
        classes=results.config.num_classes,
    )


def _sections(folder: Path, results: Results, recipe: Recipe | None) -> Iterator[str]:
    """The sections of the card with results and conditions."""
    yield f"{EXPLANATION}\n\n{summary([results])}"
    yield from (f"![{caption}]({name})" for name, caption in FIGURES.items() if (folder / name).exists())
    if adaptive := inference([results]):
        yield ROBUST_INFERENCE.format(table=adaptive)
    if results.robustness:
        yield THREAT_MODELS.format(lines=_bullets(_threats(results)))
    if results.elsewhere:
        others = [replace(each, name=each.config.dataset) for each in results.on_all()[1:]]
        yield f"## Other data sets\n\n{summary(others)}"
    if audits := [audit for audit in read_audits(folder) if audit.weights == results.config.weights_sha256]:
        yield audited(audits)
    yield f"## Limits\n\n{_bullets(limits(results, recipe))}"
    yield f"## Provenance\n\n{_bullets(provenance((*results.records, *results.elsewhere)))}"
    if (folder / NOTES).exists():
        with reading(folder / NOTES, ModelError):
            yield text_of(folder / NOTES)
    lines = "\n".join(f"sdnet-bench {command}" for command in commands(folder, results, audits))
    yield f"## Reproduce\n\n```sh\n{lines}\n```"


def _threats(results: Results) -> Iterator[str]:
    """A line per threat: the attack and the members of the unions."""
    for robustness in results.robustness.values():
        unions = [
            f"union{'' if at is None else f' at lambda {at:g}'} of {robustness.members(at)}"
            for choice, at in robustness.classifiers.items()
            if choice in ("trained", "tuned") and robustness.accuracy("union", at)
        ]
        yield "; ".join([next(robustness.conditions()), *unions])


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _introduction(results: Results, recipe: Recipe | None, origin: Origin | None) -> str:
    """The introduction of the card: the model and its training or origin."""
    backbone, dataset = results.config.backbone.architecture, results.config.dataset
    trained = results.training("parameters")
    parameters = int(trained.value) if trained else count(results.config)
    text = f"{backbone} on {dataset}, {parameters:,} parameters."
    if classes := results.config.classes:
        text += (
            f"\nClasses, in label order: {', '.join(classes[:MOST_CLASSES])}{', ...' * (len(classes) > MOST_CLASSES)}."
        )
    if recipe:
        epochs = f"{recipe.epochs} epoch{'s' * (recipe.epochs > 1)}"
        images = f", on {recipe.limit:,} training images" if recipe.limit else ""
        weights = f", starting from the weights `{results.started_from or recipe.weights}`" if recipe.weights else ""
        text += "\n" + RECIPE_TEXT.format(r=recipe, epochs=epochs, more=images + weights)
    if origin:
        text += f"\nIt was not trained here: it comes from `{origin.source}`, revision `{origin.revision}`."
    return text


def count(config: ModelConfig) -> int:
    """Number of trainable parameters of a configuration's network; our own are built without memory, on meta."""
    with torch.device("cpu" if is_external(config.backbone.name) else "meta"):
        return count_parameters(build_net(config))


def _front_matter(results: Results) -> str:
    """The YAML front matter of the card, which the Hub reads."""
    from huggingface_hub import ModelCardData

    dataset, evaluations = results.config.dataset, _evaluations(results)
    return ModelCardData(
        library_name="sdnet-bench",
        pipeline_tag="image-classification",
        datasets=[HUB_DATASETS.get(dataset, dataset)],
        metrics=["accuracy"],
        tags=[results.config.backbone.slug, "robustness", *["sparse-coding"] * (results.trained_lambda is not None)],
        model_name=results.name if evaluations else None,
        eval_results=evaluations,
    ).to_yaml()


def _evaluations(results: Results) -> list[EvalResult] | None:
    """Accuracy on the whole test split for the Hub; None where it is not on record."""
    from huggingface_hub import EvalResult

    clean = results.given(None, None)
    if clean is None or clean.images.limit is not None:
        return None
    dataset = results.config.dataset
    evaluation = EvalResult(
        task_type="image-classification",
        dataset_type=HUB_DATASETS.get(dataset, dataset),
        dataset_name=dataset,
        dataset_split="test",
        metric_type="accuracy",
        metric_value=round(clean.accuracy, 4),
    )
    return [evaluation]
