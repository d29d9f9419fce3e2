"""Checks whether a part, of the package or of a plugin, keeps its contract.

findings     checks and findings; isolates parts that print or exit
backbone     the contract of networks, also of libraries
corruption   the contract of corruptions
attack       the contract of attacks
dataset      the contract of data sets
run          all checks of a part, by name; the list of all parts
"""

from .findings import Finding
from .run import all_parts, check_part

__all__ = ["Finding", "all_parts", "check_part"]
