"""What happens to files: a disk that rots, an editor that slips, a copy that ends too early, a hand in the JSON."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterator
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


def _flip_bits_of_the_head(draw: random.Random, content: bytes) -> bytes:
    return _flip_bits(draw, content[:200]) + content[200:]


def _cut(draw: random.Random, content: bytes) -> bytes:
    return content[: draw.randrange(len(content))]


def _replace_bytes(draw: random.Random, content: bytes) -> bytes:
    """Other bytes, zeros, or none at all in the place of some, or before them."""
    at, length = draw.randrange(len(content)), draw.choice([1, 1, 16, 512, 4096])
    new = draw.choice([b"", bytes(length), draw.randbytes(length)])
    return content[:at] + new + content[at + draw.choice([0, length]) :]


def _append(draw: random.Random, content: bytes) -> bytes:
    return content + draw.choice([b"\0" * 4096, b"x", b"\n\n", content[-100:], b"\xff\xfe"])


def _edit_lines(draw: random.Random, content: bytes) -> bytes:
    """A line that is gone, there twice, or in the place of another; or an empty one."""
    lines = content.splitlines(keepends=True)
    at, other = draw.randrange(len(lines)), draw.randrange(len(lines))
    swapped = [*lines]
    swapped[at], swapped[other] = lines[other], lines[at]
    doubled, broken = [[*lines[:at], each, *lines[at:]] for each in (lines[other], b"\n")]
    return b"".join(draw.choice([swapped, doubled, broken, [*lines[:at], *lines[at + 1 :]]]))


def _edit_digits(draw: random.Random, content: bytes) -> bytes:
    """Other digits in the place of one: what no parser can see."""
    places = [at for at, byte in enumerate(content) if 48 <= byte <= 57]
    at = draw.choice(places) if places else 0
    return content[:at] + draw.choice([b"7", b"0", b"9" * 20, b"1" * 5000]) + content[at + 1 :]


def _nest(draw: random.Random, content: bytes) -> bytes:
    depth = draw.choice([200, 100_000])
    return draw.choice([b"[" * depth + content, b'{"a":' * depth + b"1" + b"}" * depth, b"[" * depth + b"]" * depth])


def _edit_json(draw: random.Random, content: bytes) -> bytes:
    """Changes one value anywhere in JSON, or in one line of JSON lines, or removes it."""
    lines = content.split(b"\n")
    number = draw.choice([at for at, line in enumerate(lines) if line]) if _is_json(lines[0]) else None
    whole = json.loads(content if number is None else lines[number])
    if holders := list(_holders(whole)):
        _edit_value(draw, draw.choice(holders))
    if number is None:
        return json.dumps(whole, indent=1).encode()
    lines[number] = json.dumps(whole).encode()
    return b"\n".join(lines)


def _edit_value(draw: random.Random, holder: Any) -> None:
    """Puts an odd value, that of another key or a longer one in the place of one; or removes it."""
    keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
    key = draw.choice(keys)
    value = holder[key]
    match draw.choice(["odd", "swap", "longer", "remove"]):
        case "odd":
            holder[key] = draw.choice(ODD)
        case "swap":
            holder[key] = holder[draw.choice(keys)]
        case "longer" if isinstance(value, int | float):
            holder[key] = value * 1.5 + 1
        case "longer":
            holder[key] = [value, value] if isinstance(value, dict) or not value else value * 2
        case "remove":
            del holder[key]


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _holders(value: Any) -> Iterator[Any]:
    """All lists and objects in a value that hold something."""
    inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    if inner:
        yield value
    for part in inner:
        yield from _holders(part)


ANY: list[Edit] = [_flip_bits, _flip_bits_of_the_head, _cut, _replace_bytes, _append, _edit_lines, _edit_digits]
JSON: list[Edit] = [_edit_json, _edit_json, _edit_json, _nest]
