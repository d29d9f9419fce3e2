"""Convolutional sparse coding: the paper's Section 3 and Appendix A.

operators   A and A*, the unit-norm projection       equations 2, 3, 5, 7
solvers     soft threshold, ISTA, FISTA              equations 4, 6, 8
spectrum    the step size by power iteration         equations 9, 10
layer       the CSC-layer
control     lambda, residuals and the projection, of a whole network
"""

from .control import (
    DictionaryProjection,
    ResidualMeter,
    csc_layers,
    feeding_lambda,
    get_lambda,
    require_csc_layers,
    residuals,
    set_lambda,
    shared_correlations,
    using_lambda,
    using_steps,
)
from .layer import CSCConv2d, check_lambda
from .operators import Dictionary, project_to_unit_norm

__all__ = [
    "CSCConv2d",
    "Dictionary",
    "DictionaryProjection",
    "ResidualMeter",
    "check_lambda",
    "csc_layers",
    "feeding_lambda",
    "get_lambda",
    "project_to_unit_norm",
    "require_csc_layers",
    "residuals",
    "set_lambda",
    "shared_correlations",
    "using_lambda",
    "using_steps",
]
