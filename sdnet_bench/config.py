"""Recipes (how a model is trained) and model configurations (how a network is built).

All classes are frozen and refuse unknown fields. Recipes are TOML files; a model's configuration is `config.json`.
"""

from __future__ import annotations

import codecs
import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    PositiveInt,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)

from .errors import ModelError, UsageError, first_fault, printable
from .files import reading, text_of
from .names import one_of

MODELS = next(
    (path for path in (Path(__file__).parent / "models", Path(__file__).parents[1] / "models") if path.is_dir()),
    Path(__file__).parent / "models",
)
"""Folder of the shipped recipes and models: inside an installed wheel, or at the root of a checkout."""

CONFIG, CARD, RECIPE, RESULTS, ORIGIN = "config.json", "README.md", "recipe.toml", "results.json", "origin.json"
"""Files of a model folder beside its weights. Of recipe and origin it holds exactly one."""
STATE = "training.pt"
"""File of a run that is trained, from its first epoch until its training is recorded."""

NOTES = "NOTES.md"
"""Optional file of a model folder: its author's remarks, as paragraphs for the card."""

RUN_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$"
"""Regular expression of valid run names, which are also folder names."""

LARGEST_SIZE = 2**16
"""Largest number of classes, and largest integer among the options of a network: a width, a number of steps."""
MOST_OPTIONS, LONGEST_NAME = 1000, 4096
"""Largest number of values in the options of a network, and of characters of a name."""

LAMBDAS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5)
"""The set of lambdas of the paper's Figure 2."""


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


def _as_line(text: str) -> str:
    return printable(text[:LONGEST_NAME]).replace("\n", "\\n").replace("\t", "\\t")


Name = Annotated[str, AfterValidator(_as_line)]
"""One line of printable characters: all others become escapes."""


Verdict = Literal["pass", "warn", "fail", "not applicable"]
"""Outcome of a check, of an audit or of a plugin."""


def _values(options: object) -> Iterator[object]:
    """All keys and values of nested dicts and lists."""
    left = [options]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            left += [*value, *value.values()]
        elif isinstance(value, list | tuple):
            left += value
        else:
            yield value


class Backbone(Frozen):
    """A network architecture by name, with the options of its builder."""

    name: Name
    options: dict[str, Any] = {}

    @field_validator("options")
    @classmethod
    def _leaves_the_classes_to_the_data(cls, options: dict[str, Any]) -> dict[str, Any]:
        if "num_classes" in options:
            raise ValueError("the data set says num_classes")
        return options

    @field_validator("options")
    @classmethod
    def _are_of_sensible_size(cls, options: dict[str, Any]) -> dict[str, Any]:
        values = list(islice(_values(options), MOST_OPTIONS + 1))
        if len(values) > MOST_OPTIONS:
            raise ValueError(f"a network has at most {MOST_OPTIONS} options")
        for value in values:
            if isinstance(value, int) and abs(value) > LARGEST_SIZE:
                raise ValueError(f"a size is at most {LARGEST_SIZE}")
            if isinstance(value, str) and _as_line(value) != value:
                raise ValueError(f"a text is one line of at most {LONGEST_NAME} printable characters")
        return options

    @property
    def has_csc_stem(self) -> bool:
        """Whether a CSC-layer replaces the first convolution."""
        return self.options.get("csc_stem", False) is not False

    @property
    def architecture(self) -> str:
        """The name that tables print."""
        return f"{self.name} with a CSC stem" if self.has_csc_stem else self.name

    @property
    def slug(self) -> str:
        """The name and CSC stem as part of a file name, such as `torchvision-resnet18_csc`."""
        name = re.sub(r"\.py:", "-", self.name.rpartition("/")[2]) if ".py:" in self.name else self.name
        return re.sub(r"[^A-Za-z0-9._-]+", "-", name) + "_csc" * self.has_csc_stem


MOST = 1e30
"""Largest factor of a recipe; torch multiplies in single precision."""
Count = Annotated[int, Field(gt=0, lt=2**31)]
Rate = Annotated[float, Field(gt=0, le=MOST, allow_inf_nan=False)]
Decay = Annotated[float, Field(ge=0, le=MOST, allow_inf_nan=False)]


class SGD(Frozen):
    """Stochastic gradient descent with Nesterov momentum (paper, Section 4)."""

    name: Literal["sgd"] = "sgd"
    lr: Rate = 0.1
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Decay = 5e-4
    nesterov: bool = True


class Adam(Frozen):
    """Adam with the usual decay rates of its moments."""

    name: Literal["adam"]
    lr: Rate = 1e-3
    weight_decay: Decay = 0.0


def _optimizer_name(content: Any) -> Any:
    """The optimiser's name; "sgd" where none is given."""
    return content.get("name", "sgd") if isinstance(content, dict) else getattr(content, "name", None)


Optimizer = Annotated[
    Annotated[SGD, Tag("sgd")] | Annotated[Adam, Tag("adam")],
    Discriminator(_optimizer_name, "unknown_optimizer", "there are sgd and adam"),
]


class Cosine(Frozen):
    """Cosine decay to `final_lr`, stepped per batch."""

    name: Literal["cosine"] = "cosine"
    final_lr: Decay = 0.0


class MultiStep(Frozen):
    """The learning rate times `gamma` after each epoch of `milestones`."""

    name: Literal["multistep"]
    milestones: tuple[Count, ...]
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.1


class OneCycle(Frozen):
    """Linear warm-up to the optimiser's rate over the first `warmup` share of training, then linear decay."""

    name: Literal["onecycle"]
    warmup: Annotated[float, Field(gt=0, lt=1)] = 0.25


Schedule = Annotated[Cosine | MultiStep | OneCycle, Field(discriminator="name")]


def _as_run_name(name: str) -> str:
    if not re.fullmatch(RUN_NAME, name):
        raise ValueError("at most 200 letters, digits, dots, dashes and underscores, first a letter or digit")
    return name


class Recipe(Frozen):
    """Everything needed to train one model. `name` is the name of the model and of its run folder."""

    name: Annotated[str, AfterValidator(_as_run_name)]
    dataset: str
    backbone: Backbone
    epochs: Count
    batch_size: Count
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    limit: Count | None = None
    """Number of training images, spread evenly over the training split; None for all."""
    weights: str | None = None
    """Initial weights: "pretrained", the name of published weights, or a safetensors file; None for random ones."""
    optimizer: Optimizer = SGD()
    schedule: Schedule = Cosine()

    @classmethod
    def parse(cls, content: dict[str, Any], source: str) -> Self:
        """Returns the recipe of `content`; raises a `UsageError` that names `source` and the first invalid field."""
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise UsageError(f"{source}: {first_fault(error)}") from None

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads a recipe from a TOML file.

        Its name is the stem of the file, or for `recipe.toml` the name of the folder. It is in UTF-8, or in UTF-16 with
        a byte order mark. Raises a `UsageError` where the file cannot be read or a field is invalid.
        """
        with reading(f"the recipe {path}", UsageError):
            raw = path.read_bytes()
            is_utf16 = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
            content = tomllib.loads(raw.decode("utf-16" if is_utf16 else "utf-8-sig"))
            name = path.resolve().parent.name if path.name == RECIPE else path.stem
            recipe = cls.parse({"name": name, **content}, str(path))
            json.dumps(recipe.model_dump(), default=str)  # fails for options that no file can hold
        return recipe

    def replace(self, **changes: object) -> Recipe:
        """A copy with the given fields changed; `None` leaves a field as it is."""
        content = self.model_dump() | {key: value for key, value in changes.items() if value is not None}
        return Recipe.parse(content, "options")

    def set(self, values: Mapping[str, object]) -> Recipe:
        """A copy with fields set by their names among FIELDS; `backbone.options` takes any name.

        Another optimizer or schedule brings its own defaults. A `UsageError` names the first invalid field.
        """
        content = self.model_dump()
        for table in ("optimizer", "schedule"):
            if values.get(f"{table}.name", content[table]["name"]) != content[table]["name"]:
                content[table] = {}
        for field, value in values.items():
            if not field.startswith("backbone.options."):
                one_of(field, "field of a recipe", FIELDS)
            _put(content, field.split("."), value)
        return Recipe.parse(content, "options")


def _put(content: dict[str, Any], path: Sequence[str], value: object) -> None:
    """Puts a value into nested dicts, which are made where there are none."""
    for table in path[:-1]:
        if not isinstance(content.get(table), dict):
            content[table] = {}
        content = content[table]
    content[path[-1]] = value


def _fields(table: str, *models: type[Frozen]) -> list[str]:
    return list(dict.fromkeys(f"{table}.{field}" for model in models for field in model.model_fields))


FIELDS = (
    *(field for field in Recipe.model_fields if field not in ("backbone", "optimizer", "schedule")),
    *_fields("backbone", Backbone),
    *_fields("optimizer", SGD, Adam),
    *_fields("schedule", Cosine, MultiStep, OneCycle),
)
"""The fields of a recipe that `Recipe.set` sets; there is no one recipe that has all of them."""


class ModelConfig(Frozen):
    """`config.json`: how the network is built, and which weights belong to it."""

    backbone: Backbone
    num_classes: Annotated[PositiveInt, Field(le=LARGEST_SIZE)]
    dataset: Name
    classes: tuple[str, ...] = ()
    """Name of each label, where they are not those of `fixed_classes(dataset)`; empty where they are not known."""
    weights_sha256: Name | None = None
    """sha256 of `model.safetensors` or of its shards; None where the weights are not shipped."""

    @model_validator(mode="after")
    def _names_every_class(self) -> Self:
        if self.classes and not len(self.classes) == len({*self.classes}) == self.num_classes:
            raise ValueError(f"{self.num_classes} classes have as many different names, or none")
        return self

    @classmethod
    def read(cls, folder: Path) -> Self:
        path = folder / CONFIG
        if not path.exists():
            raise ModelError(f"{folder} is no model folder", expected="config.json in it")
        with reading(path, ModelError):
            return cls.model_validate(json.loads(text_of(path)))

    def to_json(self) -> str:
        return json.dumps(self.model_dump(exclude=None if self.classes else {"classes"}), indent=2) + "\n"


class Origin(Frozen):
    """`origin.json`: the source of a model that was not trained here."""

    source: Name
    """A repository of the Hub (`hf:owner/name`), a network of a library (`timm:resnet50`), or a file."""
    revision: Name
    """The commit, the name of the weights, or the sha256 of the file."""

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """The origin of the model in a folder; None for a model that was trained here."""
        path = folder / ORIGIN
        with reading(path, ModelError):
            return cls.model_validate_json(text_of(path)) if path.exists() else None
