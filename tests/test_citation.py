"""CITATION.cff and the licence say what the package says of itself."""

from __future__ import annotations

import tomllib
from pathlib import Path

import yaml

from sdnet_bench.version import __version__

ROOT = Path(__file__).parents[1]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_software_is_the_one_that_is_here() -> None:
    assert (CITATION["title"], CITATION["version"]) == (PROJECT["name"], __version__)
    assert CITATION["license"] == PROJECT["license"] == "MIT"
    assert CITATION["authors"] == PROJECT["authors"]


def test_the_licence_is_named_and_signed() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert text.startswith("MIT License")
    assert CITATION["authors"][0]["name"] in text


def test_the_paper_is_a_reference() -> None:
    (paper,) = CITATION["references"]
    assert paper["title"] == "Revisiting Sparse Convolutional Model for Visual Recognition"
    assert len(paper["authors"]) == 9
