"""The model card: `README.md` and `results.json` of a model folder, made of its recipe and its records."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from ..config import Recipe
from ..data import NOISES
from ..engine.checkpoint import WEIGHTS
from ..files import replacing
from ..records import write_results
from ..studies.audit import Audit
from .audit import overview, read_audits
from .render import grid, markdown_table, show
from .results import Results
from .robustness import THREATS
from .statistics import Value
from .tables import build_tables

ATTACKS = ("transfer", "matched", "union")
HEADER = ["model", "lambda", "clean", *NOISES, *(f"{threat} {attack}" for threat in THREATS for attack in ATTACKS)]
CARD = """\
---
library_name: sdnet-bench
pipeline_tag: image-classification
datasets: [{dataset}]
tags: [{backbone}, robustness, sparse-coding]
---

# {name}

{backbone} on {dataset}, as `recipe.toml` says: {epochs} epochs in batches of {batch_size}, seed {seed}. The last
epoch is the result; no choice was made on test images.

## Results

{results}

## Use

```sh
{commands}
```

Images go in as `(N, 3, H, W)` in [0, 1]; normalisation is part of the network.
"""
EXPLANATION = """\
Accuracy in percent with Wilson's 95 % interval. Noises: mean over severities 1 to 5, lambda as in training or chosen
by Algorithm 1. Attacks: PGD made at the lambda of training ("transfer", the paper's protocol), or at the lambda it is
scored at ("matched"); "union" counts the images that withstand every attack on record. lambda is tuned on validation
images, and clean accuracy at it stands beside."""


AUDIT = """\
## Audit

What these robust accuracies are worth, on n test images, at the lambda tuned for each threat; the figures behind each
verdict are in {files}.

{table}
"""
INFERENCE = """\
## Robust inference

Images of mixed severity under one type of noise, or under all four ("unknown"), and the price on clean images. lambda
is that of training; one for the whole set, by Algorithm 1; or one for every image, from its own residual. Where the
type is unknown, the fits of the four types are pooled. p is McNemar's.

{table}
"""


def summary(results: Sequence[Results]) -> str:
    """One line per model and way of choosing lambda: clean, the four noises, both attacks in both protocols."""
    return markdown_table(HEADER, [line for result in results for line in _lines(result)])


def inference(results: Sequence[Results]) -> str | None:
    """The table of robust inference; None where it was not measured."""
    return next((grid(table) for table in build_tables(results) if table.name == "inference"), None)


def robustness(results: Sequence[Results]) -> str:
    """Table 4."""
    return next(grid(table) for table in build_tables(results) if table.name == "table4")


def audited(audits: Sequence[Audit]) -> str:
    """The section on audits."""
    files = " and ".join(f"[audit-{audit.name}.md](audit-{audit.name}.md)" for audit in audits)
    return AUDIT.format(files=files, table=overview(audits))


def _lines(result: Results) -> Iterator[list[str]]:
    """At lambda_0; where there is a lambda, with Algorithm 1's; and with that tuned against each attack."""
    trained = result.trained_lambda
    noises = [result.mean(noise) for noise in NOISES]
    attacks = _attacked(result, "trained")
    yield _line(result.name, "—" if trained is None else f"{trained:g}", [result.clean(), *noises, *attacks])
    if trained is None:
        return
    adaptive = [result.mean(noise, adaptive=True) for noise in NOISES]
    yield _line(result.name, "Algorithm 1", [None, *adaptive, *[None] * len(attacks)])
    for threat, robustness in result.robustness.items():
        if "tuned" in robustness.judges:
            name = f"{robustness.judges['tuned']:g}, tuned for {robustness.attack.norm}"
            clean, robust = robustness.value("clean", "tuned"), _attacked(result, "tuned", [threat])
            yield _line(result.name, name, [clean, *[None] * len(NOISES), *robust])


def _attacked(result: Results, choice: str, threats: Collection[str] = tuple(THREATS)) -> list[Value | None]:
    """By every attack, where it is one under these threats."""
    return [
        result.robustness[threat].value(attack, choice) if threat in threats and threat in result.robustness else None
        for threat in THREATS
        for attack in ATTACKS
    ]


def _line(name: str, lambda_: str, values: Sequence[Value | None]) -> list[str]:
    return [name, lambda_, *(show(value) for value in values)]


def publish(folder: Path, results: Results) -> None:
    """Writes the card and `results.json` of a model into its folder."""
    with replacing(folder / "results.json") as path:
        write_results(path, results.records)
    with replacing(folder / "README.md") as path:
        path.write_text(card(folder, results), encoding="utf-8")


def card(folder: Path, results: Results) -> str:
    """The text of the model card."""
    recipe = Recipe.read(folder / "recipe.toml")
    trained = (folder / WEIGHTS).exists()
    table = f"{EXPLANATION}\n\n{summary([results])}" if trained else "None yet: this recipe has not been run."
    adaptive = inference([results])
    table += f"\n\n{INFERENCE.format(table=adaptive).rstrip()}" if adaptive else ""
    audits = [audit for audit in read_audits(folder) if audit.weights == results.config.weights_sha256]
    table += f"\n\n{audited(audits).rstrip()}" if audits else ""
    first = f"sdnet-bench {'evaluate' if trained else 'train'} {results.name}"
    return CARD.format(
        name=results.name,
        backbone=recipe.backbone.name,
        dataset=recipe.dataset,
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        seed=recipe.seed,
        results=table,
        commands=f"{first}\nsdnet-bench report {results.name}" if trained else first,
    )
