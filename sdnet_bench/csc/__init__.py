"""Convolutional sparse coding: the paper's Section 3 and Appendices A and B."""

from .chain import carry, chain_to, rebuild
from .control import (
    DictionaryProjection,
    csc_layers,
    feeding_lambda,
    get_lambda,
    holding,
    require_csc_layers,
    residuals,
    set_lambda,
    shared_correlations,
    tuning,
    using_lambda,
    using_steps,
)
from .layer import CSCConv2d, check_lambda
from .operators import Dictionary, project_to_unit_norm
from .patches import PatchCodingConv2d
from .replace import replace_convs

__all__ = [
    "CSCConv2d",
    "Dictionary",
    "DictionaryProjection",
    "PatchCodingConv2d",
    "carry",
    "chain_to",
    "check_lambda",
    "csc_layers",
    "feeding_lambda",
    "get_lambda",
    "holding",
    "project_to_unit_norm",
    "rebuild",
    "replace_convs",
    "require_csc_layers",
    "residuals",
    "set_lambda",
    "shared_correlations",
    "tuning",
    "using_lambda",
    "using_steps",
]
