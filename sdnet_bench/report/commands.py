"""The commands that reproduce the measurements of a card, derived from its records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from ..audit import Audit
from ..backbones import is_external
from ..config import LAMBDAS, MODELS, RECIPE, ModelConfig, Origin, Recipe
from ..data import CORRUPTIONS, SEVERITIES
from ..paper.results import Results
from ..paper.robustness import Robustness
from ..records import (
    ADAPTED_AT_ONCE,
    DEFAULT_EPS,
    MIXED,
    NOISES,
    PROTOCOLS,
    UNKNOWN,
    AdaptationSetting,
    AttackSetting,
    Cell,
    Images,
    Protocol,
    Record,
    Threat,
    show_eps,
    usual_budget,
    usual_protocols,
)
from ..records.lambda_fit import PER_IMAGE, LambdaFit
from ..zoo.hub.layout import HUB


def commands(folder: Path, results: Results, audits: Sequence[Audit]) -> list[str]:
    """The arguments of `sdnet-bench`, one command per item, each after those that it depends on.

    A command measures all severities, also where only some are on record.
    """
    name = results.name
    return [
        _beginning(folder, name),
        *_for_noises(f"evaluate {name}", _measured(results, adaptive=False)),
        *_fits(results),
        *_for_noises(f"evaluate {name}", _measured(results, adaptive=True)),
        *(line for other in results.on_all()[1:] for line in _elsewhere(other)),
        *_studies(results),
        *(line for robustness in results.robustness.values() for line in _attacks(name, robustness)),
        *(audit_command(name, audit) for audit in audits),
    ]


def commands_of(records: Sequence[Record], trained_lambda: float | None, dataset: str | None = None) -> list[str]:
    """The commands that measure these records of one model, each once; for several records at every severity.

    `dataset` is that of training; None where it is that of the images.
    """
    severity = len(records) == 1
    return list(dict.fromkeys(_command_of(record, trained_lambda, dataset, severity=severity) for record in records))


def _command_of(record: Record, trained_lambda: float | None, dataset: str | None, *, severity: bool) -> str:
    cell, images, by = record.cell, record.images, record.inference
    if cell.kind == "training":
        return f"train {record.model}"
    name = record.model + _option("data", images.dataset, usual=dataset or images.dataset)
    if cell.attack:
        at = "" if by.lambda_ is None else f" --lambdas {by.lambda_:g}"
        return f"attack {name}{_attack_options(cell.attack)}{_option('protocol', cell.protocol)}{at}{_of(images)}"
    if images.severity == MIXED and (by.rule or by.adaptation):
        return f"evaluate {name} --study {'adaptation' if by.adaptation else 'inference'}{_of(images)}"
    options = _option("corruption", images.corruption) + _option("severity", images.severity) * severity
    options += " --lambda adaptive" if by.rule else _option("lambda", by.lambda_, usual=trained_lambda)
    options += " --per image" * (by.rule or "").endswith(PER_IMAGE) + _option("inference-steps", by.steps)
    if by.adaptation:
        batch_size = _option("batch-size", by.adaptation.batch_size)
        options += (
            f" --adapt {by.adaptation.name}{batch_size}{_option('stream', by.adaptation.order, usual='shuffled')}"
        )
    if by.layers == "stem":
        options = options.replace(" --lambda ", " --layers stem --lambdas ")
    verb = "sweep-lambda" if by.layers == "stem" else "evaluate"
    return f"{verb} {name}{options}{_option('precision', by.precision)}{_of(images)}"


def _attack_options(attack: AttackSetting) -> str:
    """The options of an attack and its threat model."""
    steps, restarts = usual_budget(attack.name, attack.eps)
    options = f" --norm {attack.norm}" + _option("attack", attack.name, usual="pgd") + _eps(attack.threat)
    return options + _option("steps", attack.steps, usual=steps) + _option("restarts", attack.restarts, usual=restarts)


def _eps(threat: Threat) -> str:
    """The option of a radius; empty for the default."""
    return "" if threat.eps == DEFAULT_EPS[threat.norm] else f" --eps {show_eps(threat.eps)}"


def _elsewhere(results: Results) -> Iterator[str]:
    """The commands of test images of another data set: clean, and corrupted at lambda_0 or by Algorithm 1."""
    command = f"evaluate {results.name} --data {results.config.dataset}"
    if clean := results.given(None, None):
        yield command + _of(clean.images)
    for adaptive in (False, True):
        yield from _for_noises(command, _measured(results, adaptive=adaptive))


def _beginning(folder: Path, name: str) -> str:
    """The command that makes the model: training, pulling, adding or converting."""
    origin = Origin.read(folder)
    if origin is not None:
        return _bringing(origin, ModelConfig.read(folder), name)
    shipped = MODELS / name / RECIPE
    is_shipped = shipped.exists() and Recipe.read(shipped) == Recipe.read(folder / RECIPE)
    return f"train {name if is_shipped else RECIPE}"


def _bringing(origin: Origin, config: ModelConfig, name: str) -> str:
    backbone = config.backbone
    if origin.source.startswith(HUB):
        return f"models pull {origin.source.removeprefix(HUB)} --revision {origin.revision} --name {name}"
    if origin.source == backbone.name:
        options = " --csc-stem" * backbone.has_csc_stem + _option("dataset", config.dataset, usual="imagenet")
        return f"models add {backbone.name} --name {name}{options}{_weights(origin)}"
    return f"models convert {origin.source} --as {backbone.name} --name {name}"


def _weights(origin: Origin) -> str:
    """The option that names the weights; empty for the recommended ones."""
    if origin.revision.startswith("sha256 "):
        return f" --weights FILE  # {origin.revision}"
    if is_external(origin.source):
        from ..backbones import published  # loads torch

        usual = published(origin.source)
        if usual and usual.revision == origin.revision:
            return ""
    return f" --weights {origin.revision.rpartition('.')[2]}"


def _for_noises(command: str, options: Mapping[str, str]) -> Iterator[str]:
    """One command for all noises with the same options, and one for each other corruption."""
    for shared in dict.fromkeys(options.values()):
        names = [name for name, given in options.items() if given == shared]
        if set(NOISES) <= set(names):
            names = ["all", *(name for name in names if name not in NOISES)]
        yield from (f"{command} --corruption {name}{shared}" for name in names)


def _fits(results: Results) -> Iterator[str]:
    """The commands of Algorithm 1, those for the FISTA iterations of training and without adaptation first."""
    among: dict[tuple[str, int], list[LambdaFit]] = {}
    for fit in results.fits.values():
        among.setdefault((str(fit.adaptation or ""), fit.steps or 0), []).append(fit)
    for _, fits in sorted(among.items()):
        yield from _for_noises(
            f"fit-lambda {results.name}", {fit.corruption: _fit_options(results, fit) for fit in fits}
        )


def _measured(results: Results, *, adaptive: bool) -> dict[str, str]:
    """The options of each corruption that is on record at lambda_0, or by Algorithm 1."""
    find = results.adaptive if adaptive else results.given
    corrupted = [record.images for record in results.records if record.images.severity in SEVERITIES]
    names = sorted({str(images.corruption) for images in corrupted})
    found = {name: next(filter(None, (find(name, level) for level in SEVERITIES)), None) for name in names}
    lambda_ = " --lambda adaptive" * adaptive
    return {name: lambda_ + _of(record.images) for name, record in found.items() if record}


def _of(images: Images) -> str:
    """The options that select these images."""
    archive = " --archive" * (images.archive is not None)
    return archive + _option("limit", images.limit) + _option("seed", images.seed, usual=0)


def _option(name: str, value: str | float | None, *, usual: str | float | None = None) -> str:
    """The option with this value; empty for None and for the default."""
    return "" if value in (None, usual) else f" --{name} {value}"


def _fit_options(results: Results, fit: LambdaFit) -> str:
    """The options of Algorithm 1, derived from its cells, with the fit's description as a comment."""
    wanted = ("train", fit.corruption, fit.steps, fit.adaptation)
    cells = [cell for record in results.records if (cell := record.cell) and _fitted_on(cell) == wanted]
    options = _option("residual", fit.residual, usual="norm") + _option("inference-steps", fit.steps)
    if fit.adaptation:
        options += f" --adapt {fit.adaptation.name}" + _option(
            "batch-size", fit.adaptation.batch_size, usual=ADAPTED_AT_ONCE
        )
    if cells:
        known = CORRUPTIONS.get(fit.corruption)
        options += " --search race" if cells[0].images.block else ""
        options += _grid("lambdas", {cell.inference.lambda_ for cell in cells}, [LAMBDAS])
        options += _grid("levels", {cell.images.level for cell in cells}, known.fit_levels.values() if known else [])
        options += _of(cells[0].images)
    return f"{options}  # {fit.found}" if fit.found else options


def _fitted_on(cell: Cell) -> tuple[str, str | None, int | None, AdaptationSetting | None]:
    images, inference = cell.images, cell.inference
    return images.split, images.corruption, inference.steps, inference.adaptation


def _grid(name: str, found: Iterable[object], usual: Iterable[Sequence[float]]) -> str:
    """The option with these values; empty for default values."""
    values = sorted(value for value in found if isinstance(value, float))
    return "" if values in map(sorted, usual) else f" --{name} {','.join(f'{value:g}' for value in values)}"


def _studies(results: Results) -> Iterator[str]:
    """The studies that are on record: robust inference, Table 5 and adaptations."""
    every = [record for record in results.records if record.images.split == "test"]
    tested = [record for record in every if record.inference.adaptation is None]
    adapted = [each.images for each in every if each.inference.adaptation and each.images.archive is None]
    mixed = [record.images for record in tested if record.images.severity == MIXED]
    shared = ("gaussian", UNKNOWN) if adapted else ()  # streams that the study of adaptations measures too
    found = {
        "inference": []
        if results.trained_lambda is None
        else [each for each in mixed if each.corruption not in shared],
        "table5": [record.images for record in tested if record.inference.steps and record.inference.rule],
        "adaptation": adapted,
    }
    yield from (f"evaluate {results.name} --study {study}{_of(images[0])}" for study, images in found.items() if images)


def _attacks(name: str, robustness: Robustness) -> Iterator[str]:
    """A command for each attack under one threat."""
    made: dict[AttackSetting, list[Record]] = {}
    for record in robustness.records:
        made.setdefault(record.attack.bare, []).append(record)
    for attack, records in sorted(made.items(), key=lambda item: item[0].name != robustness.attack.name):
        by = _by(attack.name, records, robustness)
        yield f"attack {name}{_attack_options(attack)}{by}{_of(records[0].images)}"


def _by(attack: str, records: Sequence[Record], robustness: Robustness) -> str:
    """The options for protocols and lambdas; empty for defaults."""
    if robustness.trained is None:
        return ""
    made: list[Protocol] = [each for each in PROTOCOLS if each in {record.cell.protocol for record in records}]
    options = "" if set(usual_protocols(attack)) <= {*made, "adaptive"} else f" --protocol {','.join(made)}"
    among = records if attack == "pgd" else robustness.tuning or records
    return options + _grid("lambdas", {record.inference.lambda_ for record in among}, [LAMBDAS])


def audit_command(name: str, audit: Audit) -> str:
    """The command that makes an audit of a model."""
    quick, seed = " --quick" * (not audit.budget.autoattack), _option("seed", audit.seed, usual=0)
    return f"audit {name} --norm {audit.norm}{_eps(audit.threat)}{quick} --limit {audit.images}{seed}"
