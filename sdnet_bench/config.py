"""What a person writes down: recipes (how a model is trained) and model configurations (how it is built).

All are frozen and refuse unknown fields. Recipes are TOML files; a model's configuration is `config.json`.
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
)

from .errors import ModelError, UsageError

MODELS = next(
    (path for path in (Path(__file__).parent / "models", Path(__file__).parents[1] / "models") if path.is_dir()),
    Path(__file__).parent / "models",
)
"""Where the shipped recipes and models lie: inside an installed wheel, or at the root of a checkout."""


CONFIG, CARD, RECIPE, RESULTS, ORIGIN = "config.json", "README.md", "recipe.toml", "results.json", "origin.json"
"""What a model folder holds beside its weights: each, or of recipe and origin one."""

NOTES = "NOTES.md"
"""What a model folder may hold too: what its author has to say of it, as paragraphs for the card."""

RUN_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
"""What a run may be called: the name of its folder."""

LAMBDAS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5)
"""The set of lambdas of the paper's Figure 2."""


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


Verdict = Literal["pass", "warn", "fail", "not applicable"]
"""What a check comes to, be it of a network under attack or of a plugin."""


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
        """Whether a CSC-layer was put in the place of its first convolution."""
        return self.options.get("csc_stem", False) is not False

    @property
    def architecture(self) -> str:
        """What a table calls it."""
        return f"{self.name} with a CSC stem" if self.has_csc_stem else self.name

    @property
    def slug(self) -> str:
        """The same as part of a file name, such as `torchvision-resnet18_csc`."""
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
    """The optimiser that is meant: SGD where none is named."""
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
    """Everything needed to train one model. `name` is the model's, and the name of its run folder."""

    name: Annotated[str, Field(pattern=RUN_NAME)]
    dataset: str
    backbone: Backbone
    epochs: PositiveInt
    batch_size: PositiveInt
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    limit: PositiveInt | None = None
    """Train on this many images only, spread evenly over the training split."""
    weights: str | None = None
    """What training starts from: "pretrained", the name of published weights, or a safetensors file; None: fresh."""
    optimizer: Optimizer = SGD()
    schedule: Schedule = Cosine()

    @classmethod
    def parse(cls, content: dict[str, Any], source: str) -> Self:
        """Checks `content`; the first thing wrong with it is a `UsageError` that names `source`."""
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise UsageError(f"{source}: {first_fault(error)}") from None

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads a recipe from a TOML file. Its name is that of the file, or of the folder of a `recipe.toml`."""
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise UsageError(f"cannot read the recipe {path}: {error}") from None
        name = path.resolve().parent.name if path.name == RECIPE else path.stem
        return cls.parse({"name": name, **content}, str(path))

    def replace(self, **changes: object) -> Recipe:
        """A copy with the given fields changed; `None` leaves a field as it is."""
        content = self.model_dump() | {key: value for key, value in changes.items() if value is not None}
        return Recipe.parse(content, "options")


class ModelConfig(Frozen):
    """`config.json`: alone determines how a model is built, and which weights belong to it."""

    backbone: Backbone
    num_classes: PositiveInt
    dataset: str
    weights_sha256: str | None = None
    """Of `model.safetensors`, or of its shards; None where the weights are not shipped."""

    @classmethod
    def read(cls, folder: Path) -> Self:
        path = folder / CONFIG
        try:
            return cls.model_validate(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise ModelError(f"{folder} is no model folder", expected="config.json in it") from None
        except ValidationError as error:
            raise ModelError(f"{path}: {first_fault(error)}") from None
        except (OSError, ValueError) as error:
            raise ModelError(f"cannot read {path}: {error}") from None

    def to_json(self) -> str:
        return json.dumps(self.model_dump(), indent=2) + "\n"


class Origin(Frozen):
    """`origin.json`: where a model that was not trained here comes from."""

    source: str
    """A repository of the Hub (`hf:owner/name`), somebody else's network (`timm:resnet50`), or a file."""
    revision: str
    """Which of them: the commit, the name of the weights, or the sha256 of the file."""

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """That of a model folder; None of a model that was trained here."""
        path = folder / ORIGIN
        try:
            return cls.model_validate_json(path.read_bytes()) if path.exists() else None
        except ValidationError as error:
            raise ModelError(f"{path}: {first_fault(error)}") from None


LONGEST = 120
"""Letters of an input that a message quotes."""


def first_fault(error: ValidationError) -> str:
    """The first of pydantic's complaints, as one line: where, what, and what was given."""
    fault = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in fault["loc"]) or "content"
    given = repr(fault["input"])
    complaint = fault["msg"].lower().removeprefix("value error, ")
    return f"{where}: {complaint}, got {given[:LONGEST]}{'...' * (len(given) > LONGEST)}"
