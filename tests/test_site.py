"""The site of the documentation: its navigation has every page, it builds without a warning, and its links lead on."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "zensical.toml"]
FOLDERS = ["docs", "benchmarks", "examples", "models", "sdnet_bench", "tests/example_plugin"]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def pages(nav: list[dict[str, Any]]) -> Iterator[str]:
    """The pages of a navigation, in their order."""
    for target in (target for entry in nav for target in entry.values()):
        yield from pages(target) if isinstance(target, list) else [target]


def test_the_navigation_has_every_page_once() -> None:
    listed = list(pages(tomllib.loads(read("zensical.toml"))["project"]["nav"]))
    written = [path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")]
    assert sorted(page for page in listed if page.startswith("docs/")) == sorted(written)
    assert len({*listed}) == len(listed)
    assert [page for page in listed if not (ROOT / page).is_file()] == []


def test_the_row_that_is_explained_is_one_of_table_4() -> None:
    def columns(page: str, name: str) -> list[list[str]]:
        block = read(page).split(f"<!-- {name} -->\n")[1].split(f"<!-- /{name} -->")[0]
        return [line.split("|")[1:4] for line in block.splitlines()]

    shown, table = columns("docs/tables.md", "example")[2:], columns("docs/attacks.md", "table4")
    at = table.index(shown[0])
    assert table[at : at + 4] == shown


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built from a copy in which nothing can import torch."""
    zensical = shutil.which("zensical")
    if zensical is None:
        pytest.skip('Zensical is not installed: pip install -e ".[docs]"')
    root = tmp_path_factory.mktemp("root")
    for name in SOURCES:
        shutil.copy(ROOT / name, root)
    for name in FOLDERS:
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("*.safetensors", "__pycache__"))
    (root / "torch.py").write_text("raise AssertionError('the site imports torch')")
    environment = os.environ | {"PYTHONPATH": str(root), "NO_COLOR": "1"}
    found = subprocess.run([zensical, "build", "--strict"], cwd=root, env=environment, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr
    return root / "site"


def test_docstrings_are_on_the_site(built: Path) -> None:
    reference = (built / "docs/reference/bench.html").read_text(encoding="utf-8")
    assert 'id="sdnet_bench.Bench.fit_lambda"' in reference
    assert "A network with its images, its records and everything that is measured of them." in reference


def test_every_link_of_the_site_leads_somewhere(built: Path) -> None:
    made = {path: path.read_text(encoding="utf-8") for path in built.rglob("*.html") if path.name != "404.html"}
    lost = []
    for page, text in made.items():
        for target, mark in re.findall(r'(?:href|src)="?([^":#> ]*)(?:#([^"> ]*))?["> ]', text):
            path = (page.parent / target).resolve() if target else page
            has_mark = not mark or path not in made or f'id="{mark}"' in made[path] or f"id={mark}" in made[path]
            if not path.exists() or not has_mark:
                lost.append((page.name, target, mark))
    assert lost == []


def test_the_site_fetches_nothing_from_elsewhere(built: Path) -> None:
    fetched = r'<(?:script|img|link|iframe)[^>]* (?:src|href)="?https?:[^">]*'
    assert {
        page.name: found for page in built.rglob("*.html") if (found := re.findall(fetched, page.read_text()))
    } == {}
