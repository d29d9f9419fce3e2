"""`sdnet-bench data`: paths and tables on stdout, talk on stderr, one line and the right status where it fails."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from sdnet_bench.cli.app import app
from sdnet_bench.data.archives import ARCHIVES, Archive, TarFile
from sdnet_bench.errors import BenchError

ROWS = np.random.default_rng(0).integers(256, size=(10, 32, 32, 3), dtype=np.uint8)
LABELS = np.tile(np.arange(2, dtype=np.uint8), 5)


def npy(array: Any) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


MEMBERS = {"gaussian_noise": npy(ROWS), "shot_noise": npy(255 - ROWS), "labels": npy(LABELS)}


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, register_part: Any) -> Path:
    """The folder in which commands run. `Small-C.tar`, which they know, lies in it."""
    with tarfile.open(tmp_path / "Small-C.tar", "w") as tar:
        for name, data in MEMBERS.items():
            info = tarfile.TarInfo(f"Small-C/{name}.npy")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    md5 = hashlib.md5((tmp_path / "Small-C.tar").read_bytes()).hexdigest()
    members = {name: hashlib.md5(data).hexdigest() for name, data in MEMBERS.items()}
    file = TarFile("Small-C.tar", md5, 0.00005, ("http://127.0.0.1:9/Small-C.tar",), members)
    archive = Archive("Small-C", "npy", 10, 2, 32, (file,), "digits")
    register_part(ARCHIVES, "Small-C", archive)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SDNET_BENCH_DATA", raising=False)
    return tmp_path


@pytest.fixture
def fetched(at: Path) -> Path:
    """Its folder, with everything in it."""
    (at / "data/Small-C").mkdir(parents=True)
    (at / "Small-C.tar").rename(at / "data/Small-C/Small-C.tar")
    call("fetch", "Small-C", "--offline")
    return at / "data/Small-C"


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["data", *words])


def call(*words: str) -> str:
    """What a command prints; it must succeed."""
    result = run(*words)
    if result.exception:
        raise result.exception
    return result.stdout


def complaint(*words: str) -> BenchError:
    error = run(*words).exception
    assert isinstance(error, BenchError), error
    assert "\n" not in str(error)
    return error


def test_list_shows_the_archives_and_what_is_here(fetched: Path) -> None:
    text = call("list")
    assert text.count("zenodo.org/records/2235448/") == 5, "ImageNet-C comes in five files"
    rows = json.loads(call("list", "--json"))
    here = {row["name"]: row["here"] for row in rows}
    assert (here["Small-C"], here["CIFAR-10-C"]) == ("3 of 3", "0 of 20")


def test_list_looks_where_it_is_told_to(fetched: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched.parent.rename(fetched.parents[1] / "elsewhere")
    assert '"here": "3 of 3"' not in call("list", "--json")
    assert '"here": "3 of 3"' in call("list", "--json", "--data-dir", "elsewhere")
    monkeypatch.setenv("SDNET_BENCH_DATA", "elsewhere")
    assert '"here": "3 of 3"' in call("list", "--json")


def test_fetch_prints_where_things_are(fetched: Path) -> None:
    names = [f"data/Small-C/{name}.npy" for name in MEMBERS]
    assert call("fetch", "Small-C").split() == names
    assert call("fetch", "Small-C", "--corruption", "shot").split() == names[1:]


def test_verify_says_of_each_part_what_it_is(fetched: Path) -> None:
    (fetched / "shot_noise.npy").write_bytes(npy(ROWS))
    rows = json.loads(call("verify", "Small-C", "--json"))
    verdicts = [(row["name"], row["verdict"]) for row in rows]
    assert verdicts == [("gaussian_noise", "official"), ("shot_noise", "unknown"), ("labels", "official")]
    assert "(10, 32, 32, 3)" in call("verify", "Small-C")


def test_verify_fails_where_anything_is_damaged_and_says_so_after_the_table(fetched: Path) -> None:
    (fetched / "shot_noise.npy").write_bytes(MEMBERS["shot_noise"][:-1])
    result = run("verify", "Small-C", "--json")
    assert [row["verdict"] for row in json.loads(result.stdout)] == ["official", "damaged", "official"]
    assert isinstance(result.exception, BenchError)
    assert result.exception.exit_status == 1
    assert str(result.exception).startswith("Small-C is damaged: shot_noise. Remove ")


def test_generate_then_verify(at: Path) -> None:
    words = ["generate", "Small-C", "--limit", "4", "--seed", "7"]
    assert call(*words, "--corruption", "gaussian").split() == ["data/Small-C/gaussian_noise.npy"]
    assert call(*words).split() == ["data/Small-C/gaussian_noise.npy", "data/Small-C/shot_noise.npy"]
    assert {row["verdict"] for row in json.loads(call("verify", "Small-C", "--json"))} == {"generated"}
    assert json.loads((at / "data/Small-C/manifest.json").read_text(encoding="utf-8"))["seed"] == 7


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["fetch", "Smal-C"], 2, r"unknown archive 'Smal-C'\. Did you mean 'Small-C'"),
        (
            ["fetch", "Small-C", "--corruption", "gausian"],
            2,
            r"unknown corruption 'gausian'\. Did you mean 'gaussian'",
        ),
        (["fetch", "Small-C", "--corruption", "fog"], 2, "Small-C has no fog, expected gaussian_noise, shot_noise"),
        (
            ["fetch", "Small-C", "--offline"],
            1,
            r"incomplete in data/Small-C .* missing gaussian_noise, shot_noise, lab",
        ),
        (
            ["fetch", "Small-C"],
            1,
            r"cannot download Small-C\.tar: .*refused\. Download it elsewhere and put it at data/",
        ),
        (["verify", "Small-C"], 1, r"Small-C is not in data, .*Get it with `sdnet-bench data fetch Small-C`"),
        (["verify", "nothing"], 2, "unknown archive 'nothing'"),
        (["generate", "Tiny-ImageNet-C"], 2, "Tiny-ImageNet-C cannot be generated: it belongs to no data set"),
        (["generate", "CIFAR-10-C", "--data-dir", "Small-C.tar"], 1, r"cannot write Small-C\.tar/.*: File exists"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_is_one_line_and_leaves_nothing(at: Path, words: list[str], status: int, message: str) -> None:
    error = complaint(*words)
    assert error.exit_status == status
    with pytest.raises(BenchError, match=message):
        raise error
    assert [str(path) for path in at.rglob("*") if path.is_file()] == [str(at / "Small-C.tar")]
