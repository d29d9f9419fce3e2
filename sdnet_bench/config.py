"""Recipes (how a model is trained) and model configurations (how a network is built).

All classes are frozen and refuse unknown fields. Recipes are TOML files; a model's configuration is `config.json`.
"""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    PositiveFloat,
    PositiveInt,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)

from .errors import ModelError, UsageError, first_fault
from .files import reading

MODELS = next(
    (path for path in (Path(__file__).parent / "models", Path(__file__).parents[1] / "models") if path.is_dir()),
    Path(__file__).parent / "models",
)
"""Folder of the shipped recipes and models: inside an installed wheel, or at the root of a checkout."""

CONFIG, CARD, RECIPE, RESULTS, ORIGIN = "config.json", "README.md", "recipe.toml", "results.json", "origin.json"
"""Files of a model folder beside its weights. Of recipe and origin it holds exactly one."""

NOTES = "NOTES.md"
"""Optional file of a model folder: its author's remarks, as paragraphs for the card."""

RUN_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
"""Regular expression of valid run names, which are also folder names."""

LAMBDAS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5)
"""The set of lambdas of the paper's Figure 2."""


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


Verdict = Literal["pass", "warn", "fail", "not applicable"]
"""Outcome of a check, of an audit or of a plugin."""


class Backbone(Frozen):
    """A network architecture by name, with the options of its builder."""

    name: str
    options: dict[str, Any] = {}

    @field_validator("options")
    @classmethod
    def _leaves_the_classes_to_the_data(cls, options: dict[str, Any]) -> dict[str, Any]:
        if "num_classes" in options:
            raise ValueError("the data set says num_classes")
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


class SGD(Frozen):
    """Stochastic gradient descent with Nesterov momentum (paper, Section 4)."""

    name: Literal["sgd"] = "sgd"
    lr: PositiveFloat = 0.1
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    nesterov: bool = True


class Adam(Frozen):
    """Adam with the usual decay rates of its moments."""

    name: Literal["adam"]
    lr: PositiveFloat = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.0


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
    final_lr: Annotated[float, Field(ge=0)] = 0.0


class MultiStep(Frozen):
    """The learning rate times `gamma` after each epoch of `milestones`."""

    name: Literal["multistep"]
    milestones: tuple[PositiveInt, ...]
    gamma: PositiveFloat = 0.1


class OneCycle(Frozen):
    """Linear warm-up to the optimiser's rate over the first `warmup` share of training, then linear decay."""

    name: Literal["onecycle"]
    warmup: Annotated[float, Field(gt=0, lt=1)] = 0.25


Schedule = Annotated[Cosine | MultiStep | OneCycle, Field(discriminator="name")]


class Recipe(Frozen):
    """Everything needed to train one model. `name` is the name of the model and of its run folder."""

    name: Annotated[str, Field(pattern=RUN_NAME)]
    dataset: str
    backbone: Backbone
    epochs: PositiveInt
    batch_size: PositiveInt
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    limit: PositiveInt | None = None
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

        Its name is the stem of the file, or for `recipe.toml` the name of the folder. Raises a `UsageError` where the
        file cannot be read or a field is invalid.
        """
        with reading(f"the recipe {path}", UsageError):
            content = tomllib.loads(path.read_text(encoding="utf-8"))
        name = path.resolve().parent.name if path.name == RECIPE else path.stem
        return cls.parse({"name": name, **content}, str(path))

    def replace(self, **changes: object) -> Recipe:
        """A copy with the given fields changed; `None` leaves a field as it is."""
        content = self.model_dump() | {key: value for key, value in changes.items() if value is not None}
        return Recipe.parse(content, "options")


class ModelConfig(Frozen):
    """`config.json`: how the network is built, and which weights belong to it."""

    backbone: Backbone
    num_classes: PositiveInt
    dataset: str
    classes: tuple[str, ...] = ()
    """Name of each label, where they are not those of `fixed_classes(dataset)`; empty where they are not known."""
    weights_sha256: str | None = None
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
            return cls.model_validate(json.loads(path.read_text(encoding="utf-8")))

    def to_json(self) -> str:
        return json.dumps(self.model_dump(exclude=None if self.classes else {"classes"}), indent=2) + "\n"


class Origin(Frozen):
    """`origin.json`: the source of a model that was not trained here."""

    source: str
    """A repository of the Hub (`hf:owner/name`), a network of a library (`timm:resnet50`), or a file."""
    revision: str
    """The commit, the name of the weights, or the sha256 of the file."""

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """The origin of the model in a folder; None for a model that was trained here."""
        path = folder / ORIGIN
        with reading(path, ModelError):
            return cls.model_validate_json(path.read_bytes()) if path.exists() else None
