"""The house: which room may import from which, read from the source."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import sdnet_bench

PACKAGE = Path(sdnet_bench.__file__).parent
STORIES = [
    {"cli"},
    {"api"},
    {"report"},
    {"paper"},
    {"audit", "conformance"},
    {"studies"},
    {"engine"},
    {"zoo"},
    {"adaptations", "attacks", "data", "backbones"},
    {"csc"},
    {"config", "errors", "files", "names", "progress", "records", "registry", "splicing", "version"},
]
"""From the top of the house down. A room imports from the stories below its own, and from itself."""

GROUND_FLOOR = STORIES[-1]
DOORS = {"__init__", "__main__"}
"""Modules at the top of the package that open into the house and are no room of it."""

LAZY = {
    "cli": {"sdnet_bench"},
    "api": {"pandas", "matplotlib"},
    "report": {"pandas", "matplotlib", "huggingface_hub", "jinja2"},
    "paper": {"pandas"},
    "records": {"pandas"},
    "zoo": {"sdnet_bench", "torch"},
    "data": {"PIL"},
    "backbones": {"sdnet_bench", "torch"},
}
"""What a room may import for its types alone, in a `TYPE_CHECKING` block: what it loads late, because it is slow or
need not be there."""

SOURCES = [path for path in sorted(PACKAGE.rglob("*.py")) if "models" not in path.relative_to(PACKAGE).parts]


def room_of(path: Path) -> str:
    """The room of a source file: the folder, or the module at the top of the package."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def story_of(room: str) -> int:
    return next(number for number, rooms in enumerate(STORIES) if room in rooms)


def imported_modules(source: str, parents: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The absolute dotted names that a module inside the packages `parents` imports, anywhere in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = parents[: len(parents) - node.level + 1] if node.level else ()
            base += tuple(node.module.split(".")) if node.module else ()
            yield from ((*base, alias.name) for alias in node.names)


@cache
def imports(path: Path) -> list[tuple[str, ...]]:
    """The names that a file imports, and those that the stub beside it says are imported late."""
    parents = (PACKAGE.name, *path.relative_to(PACKAGE).parent.parts)
    sources = [path, *path.parent.glob(f"{path.stem}.pyi")]
    return [name for source in sources for name in imported_modules(source.read_text(encoding="utf-8"), parents)]


def module_of(path: Path) -> tuple[str, ...]:
    """The dotted name of a source file: `("sdnet_bench", "csc")` for its `__init__.py`."""
    parts = (PACKAGE.name, *path.relative_to(PACKAGE).with_suffix("").parts)
    return parts[:-1] if parts[-1] == "__init__" else parts


def dependencies() -> dict[tuple[str, ...], set[tuple[str, ...]]]:
    """Which modules each module names in its imports, anywhere in it, under `TYPE_CHECKING` too."""
    modules = {module_of(path) for path in SOURCES}
    found: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
    for path in SOURCES:
        names = [name if name in modules else name[:-1] for name in imports(path)]
        found[module_of(path)] = {name for name in names if name in modules} - {module_of(path)}
    return found


def circle(edges: Mapping[tuple[str, ...], set[tuple[str, ...]]]) -> list[str]:
    """Modules that import one another in a ring, in their order; none where there is no ring."""
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        return [".".join(module) for module in error.args[1]]
    return []


def types_alone(path: Path) -> list[tuple[str, ...]]:
    """What a file imports under `TYPE_CHECKING`."""
    parents = (PACKAGE.name, *path.relative_to(PACKAGE).parent.parts)
    blocks = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.If)]
    found = [node for node in blocks if ast.unparse(node.test) == "TYPE_CHECKING"]
    return [name for node in found for name in imported_modules(ast.unparse(node), parents)]


def imported_rooms(path: Path) -> set[str]:
    names = {name[1] for name in imports(path) if name[0] == PACKAGE.name and len(name) > 1}
    return names & set().union(*STORIES)


def is_downward(room: str, other: str) -> bool:
    if room == other or {room, other} <= GROUND_FLOOR:
        return True
    return story_of(room) < story_of(other)


def offenders(rooms: set[str], packages: set[str]) -> list[str]:
    """Files of these rooms that import one of these top-level packages."""
    return [
        f"{path.relative_to(PACKAGE)} imports {name[0]}"
        for path in SOURCES
        if room_of(path) in rooms
        for name in imports(path)
        if name[0] in packages
    ]


def test_every_file_is_in_a_room() -> None:
    known = set().union(*STORIES) | DOORS
    assert [str(path) for path in SOURCES if room_of(path) not in known] == []


def test_imports_point_downward() -> None:
    upward = [
        f"{path.relative_to(PACKAGE)} imports {other}"
        for path in SOURCES
        if room_of(path) not in DOORS
        for other in imported_rooms(path)
        if not is_downward(room_of(path), other)
    ]
    assert upward == []


def test_modules_do_not_import_in_circles() -> None:
    """No ring, not even of two, and none by way of a `TYPE_CHECKING` block."""
    assert circle(dependencies()) == []


def test_a_circle_is_found() -> None:
    ring = {("a",): {("b",)}, ("b",): {("c",)}, ("c",): {("a",)}, ("d",): {("a",)}}
    assert set(circle(ring)) == {"a", "b", "c"}


def test_types_alone_are_imported_for_laziness_alone() -> None:
    """The command line answers without loading torch; records, pictures and corruptions load pandas, matplotlib and
    Pillow late.

    A `TYPE_CHECKING` block that hides a circle is none of these. Doors (`__init__.py`) may open their names late.
    """
    hidden = [
        f"{path.relative_to(PACKAGE)}: {'.'.join(name)}"
        for path in SOURCES
        if path.stem not in DOORS
        for name in types_alone(path)
        if name[0] not in LAZY.get(room_of(path), set())
    ]
    assert hidden == []


def test_down_is_down() -> None:
    down = "cli studies, engine csc, csc csc, records config, paper audit"
    up = "csc engine, errors csc, data attacks, attacks backbones, studies report, audit conformance, zoo engine"
    assert [pair for pair in down.split(", ") if not is_downward(*pair.split())] == []
    assert [pair for pair in up.split(", ") if is_downward(*pair.split())] == []


@pytest.mark.parametrize(
    ("line", "module"),
    [
        ("import torch.nn", ("torch", "nn")),
        ("from torch import nn", ("torch", "nn")),
        ("from . import layer", ("sdnet_bench", "csc", "layer")),
        ("from .layer import CSCConv2d", ("sdnet_bench", "csc", "layer", "CSCConv2d")),
        ("from .. import cli", ("sdnet_bench", "cli")),
        ("from ..cli.app import main", ("sdnet_bench", "cli", "app", "main")),
        ("def f():\n    from ..cli import app", ("sdnet_bench", "cli", "app")),
    ],
)
def test_imports_are_read_as_python_reads_them(line: str, module: tuple[str, ...]) -> None:
    assert list(imported_modules(line, ("sdnet_bench", "csc"))) == [module]


def test_only_the_upper_rooms_talk_to_the_terminal() -> None:
    assert offenders(set().union(*STORIES[1:]) | DOORS, {"typer"}) == []
    assert offenders(set().union(*STORIES[2:]) | DOORS, {"rich"}) == []


def test_nothing_rests_on_what_a_dependency_may_drop() -> None:
    assert offenders(set().union(*STORIES) | DOORS, {"click", "requests", "httpx"}) == []


def test_the_ground_floor_and_the_command_line_load_no_torch() -> None:
    modules = [f"sdnet_bench.{room}" for room in sorted(GROUND_FLOOR)]
    modules += [f"sdnet_bench.cli.{path.stem}" for path in sorted((PACKAGE / "cli").glob("[!_]*.py"))]
    script = "; ".join([f"import {', '.join(modules)}", "import sys", "print('torch' in sys.modules)"])
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (answer.stdout, answer.returncode) == ("False\n", 0), answer.stderr
