"""The model card: `README.md` and `results.json` of a model folder, made of its recipe and its records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ..config import Recipe
from ..engine.checkpoint import WEIGHTS
from ..files import replacing
from ..records import write_results
from .render import markdown_table, show
from .results import Results, Value
from .tables import EPS

NOISES = ("gaussian", "shot", "speckle", "impulse")
HEADER = [
    "model",
    "lambda",
    "clean",
    *NOISES,
    *(f"{column} {protocol}" for column in EPS for protocol in ("transfer", "matched")),
]
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
Accuracy in percent with Wilson's 95 % interval. Noises: mean over severities 1 to 5. "transfer": PGD made at the
lambda of training, the paper's protocol; "matched": PGD that knows the lambda it is scored at. The adaptive row
takes lambda from Algorithm 1 against noise, and the lambda tuned on validation images against attacks."""


def summary(results: Sequence[Results]) -> str:
    """One line per model and way of choosing lambda: clean, the four noises, both attacks in both protocols."""
    return markdown_table(HEADER, [line for result in results for line in _lines(result)])


def _lines(result: Results) -> Iterator[list[str]]:
    trained = result.trained_lambda
    fixed = [result.clean(), *(result.corrupted_mean(noise) for noise in NOISES)]
    attacked = [result.attacked(*threat, "trained") for threat in EPS.values()]
    yield _line(result.name, "—" if trained is None else f"{trained:g}", fixed, [[each, each] for each in attacked])
    if trained is not None:
        adaptive = [None, *(result.corrupted_mean(noise, adaptive=True) for noise in NOISES)]
        tuned = [[result.attacked(*threat, rule) for rule in ("transfer", "matched")] for threat in EPS.values()]
        yield _line(result.name, "adaptive", adaptive, tuned)


def _line(
    name: str, lambda_: str, noise: Sequence[Value | None], attacks: Sequence[Sequence[Value | None]]
) -> list[str]:
    return [name, lambda_, *(show(value) for value in [*noise, *(each for pair in attacks for each in pair)])]


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
