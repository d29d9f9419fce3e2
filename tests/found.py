"""What a test looks for and has to find."""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T")


def there(found: T | None) -> T:
    """What was found, and it was."""
    assert found is not None
    return found
