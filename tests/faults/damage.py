"""What happens to files: a disk that rots, an editor that slips, a copy that ends too early, a hand in the JSON."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

Edit = Callable[[random.Random, bytes], bytes]
NUMBERS = (0, -1, 10**12, 1e308, float("nan"), float("inf"))
ODD: tuple[Any, ...] = (*NUMBERS, None, True, "", "x", "\x1b[31m", "../../x", "é" * 300, [], {}, [[]])
"""Values that a field does not expect."""


def damage(draw: random.Random, path: Path) -> str:
    """Damages a file in one of many ways; returns which."""
    if draw.random() < 0.08:
        return _replace(draw, path)
    content = path.read_bytes()
    edits = [*ANY, *(JSON * 2 if path.suffix in (".json", ".jsonl") else [])]
    edit = draw.choice(edits)
    path.write_bytes(edit(draw, content))
    return edit.__name__.strip("_")


def _replace(draw: random.Random, path: Path) -> str:
    """Puts something else in the place of a file."""
    kind = draw.choice(["empty", "directory", "dangling link", *["unreadable"] * (os.geteuid() != 0)])
    if kind == "unreadable":
        path.chmod(0)
        return kind
    path.unlink()
    if kind == "empty":
        path.touch()
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to("nowhere")
    return kind


def _flip_bits(draw: random.Random, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(draw.choice([1, 1, 4, 50])):
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def _flip_a_bit_of_the_head(draw: random.Random, content: bytes) -> bytes:
    return _flip_bits(draw, content[:200]) + content[200:]


def _cut(draw: random.Random, content: bytes) -> bytes:
    return content[: draw.randrange(len(content))]


def _insert(draw: random.Random, content: bytes) -> bytes:
    at = draw.randrange(len(content) + 1)
    return content[:at] + draw.randbytes(draw.choice([1, 1, 16, 5000])) + content[at:]


def _zero(draw: random.Random, content: bytes) -> bytes:
    at, length = draw.randrange(len(content)), draw.choice([1, 16, 512, 4096])
    return content[:at] + bytes(min(length, len(content) - at)) + content[at + length :]


def _drop_a_part(draw: random.Random, content: bytes) -> bytes:
    at = draw.randrange(len(content))
    return content[:at] + content[at + draw.choice([1, 16, 512]) :]


def _append(draw: random.Random, content: bytes) -> bytes:
    return content + draw.choice([b"\0" * 4096, b"x", b"\n\n", content[-100:], b"\xff\xfe"])


def _edit_lines(draw: random.Random, content: bytes) -> bytes:
    lines = content.splitlines(keepends=True)
    at, other = draw.randrange(len(lines)), draw.randrange(len(lines))
    match draw.choice(["delete", "double", "swap", "break"]):
        case "delete":
            del lines[at]
        case "double":
            lines.insert(at, lines[other])
        case "swap":
            lines[at], lines[other] = lines[other], lines[at]
        case "break":
            lines.insert(at, b"\n")
    return b"".join(lines)


def _edit_digits(draw: random.Random, content: bytes) -> bytes:
    """Other digits in the place of one: what no parser can see."""
    places = [at for at, byte in enumerate(content) if 48 <= byte <= 57]
    at = draw.choice(places) if places else 0
    return content[:at] + draw.choice([b"7", b"0", b"9" * 20, b"1" * 5000]) + content[at + 1 :]


def _edit_value(draw: random.Random, content: bytes) -> bytes:
    return _edit_json(draw, content, lambda holder, key: draw.choice(ODD))


def _swap_values(draw: random.Random, content: bytes) -> bytes:
    return _edit_json(draw, content, lambda holder, key: holder[draw.choice(_keys(holder))])


def _lengthen(draw: random.Random, content: bytes) -> bytes:
    def longer(holder: Any, key: Any) -> Any:
        value = holder[key]
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return value * 1.5 + 1 if number else [value, value] if isinstance(value, dict) else value * 2 if value else 1

    return _edit_json(draw, content, longer)


def _remove_key(draw: random.Random, content: bytes) -> bytes:
    return _edit_json(draw, content, None)


def _nest(draw: random.Random, content: bytes) -> bytes:
    depth = draw.choice([200, 100_000])
    return draw.choice([b"[" * depth + content, b'{"a":' * depth + b"1" + b"}" * depth, b"[" * depth + b"]" * depth])


def _edit_json(draw: random.Random, content: bytes, value: Callable[[Any, Any], Any] | None) -> bytes:
    """Changes one value anywhere in JSON, or of JSON lines in one of them; without `value` its key is removed."""
    lines = content.split(b"\n")
    number = draw.choice([at for at, line in enumerate(lines) if line]) if _is_json(lines[0]) else None
    whole = json.loads(content if number is None else lines[number])
    holders = list(_holders(whole))
    if not holders:
        return content + b"1"
    holder = draw.choice(holders)
    key = draw.choice(_keys(holder))
    if value is None:
        del holder[key]
    else:
        holder[key] = value(holder, key)
    if number is None:
        return json.dumps(whole, indent=1).encode()
    lines[number] = json.dumps(whole).encode()
    return b"\n".join(lines)


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _holders(value: Any) -> list[Any]:
    """All lists and objects in a value that hold something."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [*([value] if inner else []), *(each for part in inner for each in _holders(part))]


def _keys(holder: Any) -> list[Any]:
    return list(holder) if isinstance(holder, dict) else list(range(len(holder)))


ANY: list[Edit] = [
    _flip_bits, _flip_a_bit_of_the_head, _cut, _insert, _zero, _drop_a_part, _append, _edit_lines, _edit_digits,
]  # fmt: skip
JSON: list[Edit] = [_edit_value, _swap_values, _lengthen, _remove_key, _nest]
