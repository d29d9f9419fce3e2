"""Whether a part keeps its contract: what a plugin's author asks before anybody else uses it.

findings     a check, what it found, and how parts that print or exit are put up with
backbone     networks, those of other people's libraries too
corruption   corruptions
attack       attacks
dataset      data sets
run          all checks of a part, by name; the list of all parts
"""

from .findings import Finding
from .run import all_parts, check_part

__all__ = ["Finding", "all_parts", "check_part"]
