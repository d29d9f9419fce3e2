"""Checks whether a part, of the package or of a plugin, keeps its contract."""

from .findings import Finding
from .run import all_parts, check_part

__all__ = ["Finding", "all_parts", "check_part"]
