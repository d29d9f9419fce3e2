"""The words of options and the names of our own parts, for those who cannot wait for torch.

The help of a command shows them, and a shell completes them. The registries are checked against them in a test.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.metadata import entry_points
from typing import Any, Literal, TypeVar

from .errors import UnknownNameError

Layers = Literal["all", "stem"]
Per = Literal["set", "image"]
Protocol = Literal["transfer", "matched", "ensemble", "adaptive"]
Residual = Literal["norm", "squared"]
Stream = Literal["shuffled", "sorted", "mixed", "unknown"]
"""Images in a random order, sorted by label, with a severity each, or with a type of noise each as well."""
Word = TypeVar("Word", bound=str)

FORMATS = ("csv", "md", "latex", "html", "parquet", "parquet-images")
DEVICES = ("auto", "cpu", "cuda", "mps")
LAYERS: tuple[Layers, ...] = ("all", "stem")
NORMS = ("linf", "l2")
PER: tuple[Per, ...] = ("set", "image")
PRECISIONS = ("auto", "float32", "tf32", "bfloat16")
PROTOCOLS: tuple[Protocol, ...] = ("transfer", "matched", "ensemble", "adaptive")
RESIDUALS: tuple[Residual, ...] = ("norm", "squared")
SEARCHES = ("grid", "race")
STREAMS: tuple[Stream, ...] = ("shuffled", "sorted", "mixed", "unknown")
STUDIES = (
    *("table1", "table2", "table3", "table4", "table5", "table6"),
    *("figure2", "figure3", "inference", "adaptation", "corruptions"),
)
TRACKERS = ("tensorboard", "trackio", "wandb", "mlflow", "aim", "clearml", "comet_ml", "dvclive", "swanlab")
"""The trackers that Accelerate knows; an old version of it knows fewer."""

PARTS = {
    "adaptation": ("blur", "bn", "bn-running", "jpeg", "median", "nlm", "tent"),
    "attack": ("apgd-ce", "apgd-dlr", "apgd-t", "ddn", "fab", "fab-t", "fmn", "noise", "pgd", "square"),
    "backbone": (
        *("resnet18", "resnet34", "sdnet18", "sdnet34", "sdnet18_all", "sdnet34_all"),
        *("scn", "scn18", "mdeq", "mdeq_tiny"),
    ),
    "corruption": (
        *("gaussian", "shot", "speckle", "impulse"),
        *("gaussian_blur", "glass_blur", "defocus_blur", "motion_blur", "zoom_blur"),
        *("fog", "frost", "snow", "spatter"),
        *("contrast", "brightness", "saturate", "jpeg_compression", "pixelate", "elastic_transform"),
        *("blue_noise_sample", "brownish_noise", "checkerboard_cutout", "inverse_sparkles", "sparkles"),
        *("circular_motion_blur", "lines", "pinch_and_twirl", "ripple", "transverse_chromatic_abberation"),
        *("caustic_refraction", "cocentric_sine_waves", "perlin_noise", "plasma_noise", "single_frequency_greyscale"),
    ),
    "dataset": (
        *("digits", "cifar10", "cifar10.1", "cifar10.1-v4", "cifar100"),
        *("imagenet", "imagenet-v2", "imagenet-r", "imagenet-a", "imagenet-sketch", "imagefolder"),
    ),
}
"""Our own parts of each kind of registry."""
GROUPS = ("all", "noise", "blur", "weather", "digital", "bar")
"""Names of several corruptions."""
SUITES = ("autoattack", "autoattack-few")
"""Names of several attacks."""


def names_of(kind: str) -> list[str]:
    """The names of all parts of a kind, ours first, then those that plugins name; loads none of them."""
    return list(dict.fromkeys([*PARTS[kind], *(point.name for point in entry_points(group=f"sdnet_bench.{kind}s"))]))


def several(wanted: object) -> list[Any]:
    """One thing, which may be a text, or an iterable of things, as a list."""
    return list(wanted) if isinstance(wanted, Iterable) and not isinstance(wanted, str) else [wanted]


def one_of(text: str, kind: str, choices: Sequence[Word]) -> Word:
    """Returns `text` if it is one of the choices; an `UnknownNameError` otherwise."""
    for choice in choices:
        if choice == text:
            return choice
    raise UnknownNameError(kind, text, choices)
