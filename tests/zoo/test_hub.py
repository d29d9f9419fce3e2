"""Models to the Hub and back, over a server that behaves like it; and all that can go wrong on the way."""

from __future__ import annotations

import json
import pickle
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from bombs import Bomb
from hub_server import TOKEN, Hub, running
from huggingface_hub import close_session, constants

from sdnet_bench.config import ORIGIN, ModelConfig, Origin
from sdnet_bench.errors import BenchError, ModelError, UsageError
from sdnet_bench.paper.results import Results
from sdnet_bench.progress import Progress
from sdnet_bench.records import RecordStore, load, read_results
from sdnet_bench.report.card import write_card
from sdnet_bench.zoo.checkpoint import read_model
from sdnet_bench.zoo.find import load_model
from sdnet_bench.zoo.hub.download import pull
from sdnet_bench.zoo.hub.layout import folder_name
from sdnet_bench.zoo.hub.upload import plan_push, push
from sdnet_bench.zoo.weights import WEIGHTS, file_digest, weight_files, weights_digest, write_shards

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>'::")  # huggingface_hub, of its HTTP client

NAME = "me/sdnet18-tiny"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A Hub that the library talks to, without pauses between its tries; nobody is logged in."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with running() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
        template = hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield hub
        close_session()


@pytest.fixture
def logged_in(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)


@pytest.fixture
def model(runs: Path) -> Path:
    """A run with its card."""
    folder = runs / "sdnet18-tiny"
    write_card(folder, Results.read(folder, runs))
    return folder


@pytest.fixture
def to(tmp_path: Path) -> Path:
    """Where models are brought to."""
    return tmp_path / "to"


def bring(hub: Hub, to: Path, **options: Any) -> Path:
    return pull(f"hf:{NAME}", to / "pulled", Progress(), **options)


def refusal(hub: Hub, to: Path) -> str:
    """Why nothing comes, in one line; nothing is left of it."""
    with pytest.raises(ModelError) as caught:
        bring(hub, to)
    assert [*to.glob("*/*"), *to.glob(".pulls/*/*.safetensors")] == [*to.glob(".pulls/*")]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def changed(model: Path, **changes: Any) -> bytes:
    """The configuration of a model with other values in it."""
    content = json.loads((model / "config.json").read_text()) | changes
    return json.dumps(content).encode()


def pinned(model: Path, weights: bytes, path: Path) -> bytes:
    """A configuration that means these weights, whatever they are."""
    path.write_bytes(weights)
    return changed(model, weights_sha256=file_digest(path))


def test_a_model_that_goes_to_the_hub_and_comes_back_is_the_same(
    hub: Hub, logged_in: None, model: Path, to: Path
) -> None:
    address = push(plan_push(model, NAME), Progress())
    assert address == f"{hub.endpoint}/{NAME}/commit/{hub.repos[NAME].head}"
    folder = bring(hub, to)
    here, there = read_model(model), read_model(folder)
    images = torch.rand(4, 3, 32, 32)
    assert torch.equal(here.net(images), there.net(images))
    assert here.weights == there.weights
    assert len(read_results(model)) > 0
    assert [*RecordStore(folder)] == read_results(model)
    assert (folder / "README.md").read_bytes() == (model / "README.md").read_bytes()
    assert Origin.read(folder) == Origin(source=f"hf:{NAME}", revision=hub.repos[NAME].head)


def test_what_the_author_measured_is_on_record_of_the_run(hub: Hub, model: Path, to: Path) -> None:
    hub.publish(NAME, model)
    folder = bring(hub, to)
    assert Results.read(folder, to).clean() == Results.read(model, model.parent).clean()
    assert load(folder)["kind"].tolist() == ["training", "accuracy"]


def test_only_what_is_published_goes_out(hub: Hub, logged_in: None, model: Path) -> None:
    for stray in ("training.pt", "nets.py", "adversarial.npy", "notes.json"):
        (model / stray).write_text("no business of others")
    (model / "figure2.png").write_bytes(b"a picture")
    (model / "journal").mkdir()
    push(plan_push(model, NAME), Progress())
    gone = "README.md config.json figure2.png history.csv model.safetensors recipe.toml results.json .gitattributes"
    assert set(hub.repos[NAME].files) == set(gone.split())


def test_only_what_is_published_comes_in(hub: Hub, model: Path, to: Path) -> None:
    strays = {"evil.py": b"boom", "model.pkl": b"boom", "origin.json": b"boom", "deep/figure2.png": b"boom"}
    hub.publish(NAME, model, **strays)
    folder = bring(hub, to)
    here = {"README.md", "config.json", "model.safetensors", "recipe.toml", "results.json"}
    assert {path.name for path in folder.iterdir()} == here | {"origin.json", "records.jsonl"}
    assert not any(stray in line for line in hub.asked for stray in strays if stray != "origin.json")


def test_what_an_earlier_model_had_leaves_the_repository(hub: Hub, logged_in: None, model: Path) -> None:
    shard = {"model-00001-of-00001.safetensors": b"old", "model.safetensors.index.json": b"{}"}
    told = {"audit-linf.json": b"{}", "lambda_fit.json": b"{}", "figure2.png": b"of the old weights"}
    hub.publish(NAME, model, **shard, **told, **{"notes.txt": b"of its owner"})
    push(plan_push(model, NAME), Progress())
    kept = {"notes.txt", ".gitattributes"} & hub.repos[NAME].files.keys()
    assert hub.repos[NAME].files.keys() - kept == {path.name for path in plan_push(model, NAME).files}
    assert "notes.txt" in kept


def test_a_model_by_its_name_on_the_hub_comes_once(hub: Hub, model: Path, to: Path) -> None:
    hub.publish(NAME, model)
    first = load_model(f"hf:{NAME}", runs_dir=to)
    asked = len(hub.asked)
    second = load_model(f"hf:{NAME}", runs_dir=to)
    assert (first.folder, first.weights) == (second.folder, second.weights) == (to / "sdnet18-tiny", first.weights)
    assert len(hub.asked) == asked


def test_weights_in_several_files_travel_together(hub: Hub, logged_in: None, model: Path, to: Path) -> None:
    net = read_model(model).net
    write_shards(model, net, "60KB")
    files = weight_files(model)
    (model / "config.json").write_bytes(changed(model, weights_sha256=weights_digest(files)))
    push(plan_push(model, NAME), Progress())
    there = read_model(bring(hub, to))
    assert len(files) > 1
    assert there.weights == weights_digest(files)
    assert torch.equal(read_model(model).net(torch.zeros(1, 3, 32, 32)), there.net(torch.zeros(1, 3, 32, 32)))


def test_a_revision_is_what_it_was(hub: Hub, model: Path, to: Path) -> None:
    old = hub.publish(NAME, model).head
    hub.publish(NAME, model, **{WEIGHTS: None})
    folder = bring(hub, to, revision=old)
    assert Origin.read(folder) == Origin(source=f"hf:{NAME}", revision=old)
    with pytest.raises(ModelError, match=r"me/sdnet18-tiny has no such revision\. Name a branch"):
        pull(f"hf:{NAME}", to / "other", Progress(), revision="v9")


def test_a_dropped_line_is_picked_up_where_it_broke(
    hub: Hub, model: Path, to: Path, told: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    hub.publish(NAME, model)
    hub.drops[WEIGHTS] = [1000, 2000]
    folder = pull(f"hf:{NAME}", to / "pulled", told)
    assert hub.resumed == [1000, 3000]
    assert read_model(folder).weights == read_model(model).weights
    assert sum("Trying to resume" in note for note in told.notes) == 2


def test_progress_counts_every_byte(hub: Hub, model: Path, to: Path, told: Any) -> None:
    repo = hub.publish(NAME, model)
    pull(f"hf:{NAME}", to / "pulled", told)
    known = {"README.md", "config.json", "model.safetensors", "recipe.toml", "results.json"}
    assert told.images == sum(len(data) for name, data in repo.files.items() if name in known)
    assert told.notes[0].startswith(f"{NAME} at {repo.head[:12]}: 5 files, 0.")


def test_a_line_that_stays_dead_leaves_no_run_and_the_next_try_keeps_what_came(hub: Hub, model: Path, to: Path) -> None:
    hub.publish(NAME, model)
    hub.drops[WEIGHTS] = [1000, *[0] * 6]
    said = refusal(hub, to)
    assert said.startswith(f"cannot reach {NAME} on the Hub: ")
    assert said.endswith("Run it again: files that have come whole are kept.")
    read_model(bring(hub, to))
    assert (hub.times("GET", "config.json"), hub.times("GET", "results.json")) == (1, 1)
    assert not (to / ".pulls").exists()


def test_the_same_commit_is_taken_as_it_is_and_another_one_is_refused(
    hub: Hub, model: Path, to: Path, told: Any
) -> None:
    hub.publish(NAME, model)
    folder = bring(hub, to)
    (to / ".pulls").mkdir()  # as a kill just after the run was made leaves it
    assert pull(f"hf:{NAME}", folder, told) == folder
    assert told.notes[-1].endswith(f" is in {folder} already")
    assert [path.name for path in to.iterdir()] == ["pulled"]
    hub.publish(NAME, model, **{"README.md": (model / "README.md").read_bytes() + b"\nmore\n"})
    with pytest.raises(UsageError, match=r"pulled is there already\. Choose another name with --name"):
        bring(hub, to)


def test_a_file_that_ends_too_early_is_noticed(hub: Hub, model: Path, to: Path) -> None:
    hub.publish(NAME, model)
    hub.short = {WEIGHTS}
    assert "file should be of size" in refusal(hub, to)
    hub.short.clear()
    read_model(bring(hub, to))


def test_weights_that_the_configuration_does_not_mean_are_refused(hub: Hub, model: Path, to: Path) -> None:
    weights = bytearray((model / WEIGHTS).read_bytes())
    weights[-1] ^= 1
    hub.publish(NAME, model, **{WEIGHTS: bytes(weights)})
    meant = ModelConfig.read(model).weights_sha256
    assert f"{NAME}/{WEIGHTS} is damaged or foreign, expected sha256 {meant}, got " in refusal(hub, to)
    hub.publish(NAME, model)
    read_model(bring(hub, to))


def test_weights_of_which_nobody_says_the_sha256_are_refused(hub: Hub, model: Path, to: Path) -> None:
    hub.publish(NAME, model, **{"config.json": changed(model, weights_sha256=None)})
    said = refusal(hub, to)
    assert said.startswith(f"{NAME}/config.json does not say which weights it means, expected weights_sha256. Is it")


def test_an_unknown_backbone_is_refused_before_its_weights_come(hub: Hub, model: Path, to: Path) -> None:
    hub.publish(NAME, model, **{"config.json": changed(model, backbone={"name": "sdnet19"})})
    said = refusal(hub, to)
    assert said.startswith(f"{NAME} needs another backbone: unknown backbone 'sdnet19'. Did you mean 'sdnet18', ")
    assert "A plugin may be missing" in said
    assert hub.times("GET", WEIGHTS) == 0


@pytest.mark.parametrize(
    ("backbone", "told"),
    [
        ({"name": "nets.py:build"}, "wants to run nets.py:build"),
        ({"name": "../../nets.py:build"}, "wants to run"),
        ({"name": "pickle:load"}, "unknown source of networks 'pickle'"),
        ({"name": "torchvision:resnet18", "options": {"backbone": "nets.py:build"}}, "unexpected keyword argument"),
        ({"name": "sdnet18", "options": {"name": "nets.py:build"}}, "unexpected keyword argument 'name'"),
        ({"name": "sdnet18", "options": {"num_classes": 3}}, "the data set says num_classes"),
        ({"name": "sdnet18", "options": {"width": 10**12}}, "/config.json: backbone.options: a size is at most 65536"),
        ({"name": "sdnet18", "options": {"mean": "abc"}}, "/config.json: backbone 'sdnet18': "),
        ({"name": "sdnet18", "options": {"std": [1, 0, 1]}}, "three finite means and deviations > 0"),
        ({"name": "sdnet18", "options": {"width": "wide"}}, f"{NAME}/config.json: backbone 'sdnet18': "),
        ({"name": "sdnet18", "options": {"no": 1}}, "unexpected keyword argument 'no'"),
        ({"name": "sdnet18", "options": {"width": 8}}, "does not hold the weights of this sdnet18"),
        ({}, f"{NAME}/config.json: backbone.name: field required"),
    ],
)
def test_a_configuration_that_builds_no_network_of_ours_is_refused(
    hub: Hub,
    model: Path,
    to: Path,
    tmp_path: Path,
    backbone: dict[str, Any],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text("open('this-ran', 'w').close()")
    hub.publish(NAME, model, **{"config.json": changed(model, backbone=backbone)})
    assert told in refusal(hub, to)
    assert not (tmp_path / "this-ran").exists()


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("config.json", b"[" * 100_000, f"{NAME}/config.json: maximum recursion depth"),
        ("config.json", b"\xff\xfe", f"cannot read {NAME}/config.json"),
        ("results.json", b'[{"model": 1}]', f"{NAME}/results.json: "),
        ("results.json", b"{", f"{NAME}/results.json: content: invalid json"),
        ("results.json", b"{}", f"{NAME}/results.json: content: input should be a valid array"),
        ("recipe.toml", b"epochs = ", f"cannot read the recipe {NAME}/recipe.toml"),
        ("README.md", b"---\ntags: [a\n---\n", f"cannot read the card {NAME}/README.md: "),
        ("README.md", b"---\n- a\n---\n", "metadata block should be a dict"),
        ("README.md", b"# No front matter", f"the card {NAME}/README.md has no front matter"),
    ],
)
def test_a_file_that_does_not_parse_is_named(
    hub: Hub, model: Path, to: Path, file: str, content: bytes, told: str
) -> None:
    hub.publish(NAME, model, **{file: content})
    assert told in refusal(hub, to)


def test_a_pickle_in_the_place_of_safetensors_is_never_read(hub: Hub, model: Path, to: Path, tmp_path: Path) -> None:
    weights, trace = pickle.dumps(Bomb(tmp_path / "trace")), tmp_path / "trace"
    hub.publish(NAME, model, **{WEIGHTS: weights, "config.json": pinned(model, weights, tmp_path / "weights")})
    said = refusal(hub, to)
    assert f"cannot read the weights {NAME}/{WEIGHTS}" in said
    assert "Expected a whole safetensors file" in said
    assert not trace.exists()


def test_a_repository_of_pickles_alone_is_refused(hub: Hub, model: Path, to: Path) -> None:
    hub.publish(NAME, model, **{WEIGHTS: None, "pytorch_model.bin": b"a pickle"})
    said = refusal(hub, to)
    assert f"{NAME} has no weights, expected model.safetensors, got pytorch_model.bin. Pickles are not read" in said
    assert hub.times("GET", "pytorch_model.bin") == 0


def test_no_such_repository_and_one_of_something_else_are_refused(hub: Hub, model: Path, to: Path) -> None:
    assert refusal(hub, to).startswith(f"the Hub shows no {NAME}. Is the name right? If it is private: Log in")
    hub.publish(NAME, model, **{"config.json": None})
    said = refusal(hub, to)
    assert said.startswith(f"{NAME} is no model of sdnet-bench, expected config.json in it, got README.md, ")


def test_a_private_repository_opens_with_a_token(
    hub: Hub, model: Path, to: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.publish(NAME, model).private = True
    assert "`hf auth login`" in refusal(hub, to)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    read_model(bring(hub, to))


def test_a_gated_repository_says_so(hub: Hub, model: Path, to: Path) -> None:
    hub.publish(NAME, model).gated = True
    assert refusal(hub, to).startswith(f"{NAME} is gated. Ask for access on its page. Log in with")


def test_without_a_network_there_is_one_line(hub: Hub, to: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    said = refusal(hub, to)
    assert said.startswith(f"cannot reach {NAME} on the Hub: ConnectError")


@pytest.mark.parametrize("name", ["hf:tiny", "hf:me/tiny/more", "hf:../tiny", "hf:me/..", "hf:", "hf:me/ä"])
def test_what_is_no_name_on_the_hub_is_said_before_anybody_asks(name: str) -> None:
    with pytest.raises(UsageError, match="is no model on the Hub, expected owner/name"):
        folder_name(name)


def test_a_run_of_that_name_is_not_overwritten(hub: Hub, model: Path) -> None:
    with pytest.raises(UsageError, match=r"sdnet18-tiny is there already\. Choose another name with --name"):
        pull(f"hf:{NAME}", model, Progress())


def test_a_plan_asks_nobody_and_needs_no_token(hub: Hub, model: Path) -> None:
    upload = plan_push(model, f"hf:{NAME}", private=True)
    assert (upload.repo, upload.size) == (NAME, sum(path.stat().st_size for path in upload.files))
    assert str(upload).startswith(f"{NAME} (private): 6 files, ")
    assert hub.asked == []


def test_without_a_token_nothing_is_sent(hub: Hub, model: Path) -> None:
    with pytest.raises(ModelError, match=r"nobody is logged in who could write to me/sdnet18-tiny\. Log in with"):
        push(plan_push(model, NAME), Progress())
    assert hub.asked == []


def test_a_token_that_the_hub_does_not_know_is_refused(hub: Hub, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_of_somebody")
    with pytest.raises(ModelError, match=r"the Hub refuses me/sdnet18-tiny: .*401.*if a right is missing: Log in"):
        push(plan_push(model, NAME), Progress())
    assert NAME not in hub.repos


def test_a_push_that_breaks_off_leaves_the_repository_as_it_was(hub: Hub, logged_in: None, model: Path) -> None:
    state, hub.full = hub.publish(NAME, model, **{"README.md": b"before"}).head, True
    with pytest.raises(ModelError, match=r"the Hub refuses me/sdnet18-tiny: HfHubHTTPError: .*403"):
        push(plan_push(model, NAME), Progress())
    assert hub.repos[NAME].head == state


def test_a_private_push_makes_a_private_repository_and_never_goes_to_a_public_one(
    hub: Hub, logged_in: None, model: Path
) -> None:
    push(plan_push(model, NAME, private=True), Progress())
    assert hub.repos[NAME].private
    state = hub.publish("me/open", model).head
    with pytest.raises(UsageError, match="me/open is there already, and public"):
        push(plan_push(model, "me/open", private=True), Progress())
    assert hub.repos["me/open"].head == state


def test_what_would_not_come_back_does_not_go_out(model: Path) -> None:
    damaged = {"README.md": "---\n[\n---\n", "results.json": "{", WEIGHTS: "x"}
    for name, content in damaged.items():
        whole = (model / name).read_bytes()
        (model / name).write_text(content)
        with pytest.raises(BenchError, match=name):
            plan_push(model, NAME)
        (model / name).write_bytes(whole)
    assert len(plan_push(model, NAME).files) == 6


FOREIGN = Origin(source="timm:resnet18", revision="pretrained").model_dump_json()


@pytest.mark.parametrize(
    ("harm", "complaint"),
    [
        (lambda model: (model / "README.md").unlink(), r"not complete, expected README\.md\. Write them with `sdnet-b"),
        (lambda model: (model / WEIGHTS).unlink(), r"no weights to publish\. Train it with `sdnet-bench train sdnet"),
        (lambda model: (model / ORIGIN).write_text(FOREIGN), r"of timm:resnet18\. Publish what was trained here"),
        (
            lambda model: (model / "config.json").write_bytes(changed(model, backbone={"name": "nets.py:build"})),
            r"wants to run nets\.py:build",
        ),
        (lambda model: (model / "figure2.png").symlink_to("/etc/hostname"), r"figure2\.png is no plain file"),
        (lambda model: (model / "figure2.png").mkdir(), r"figure2\.png is no plain file"),
    ],
    ids=["no card", "no weights", "of others", "code", "link", "folder"],
)
def test_what_is_no_model_of_ours_is_not_pushed(model: Path, harm: Callable[[Path], object], complaint: str) -> None:
    harm(model)
    with pytest.raises(BenchError, match=complaint):
        plan_push(model, NAME)


def test_a_data_set_that_nobody_knows_is_refused(hub: Hub, model: Path, to: Path) -> None:
    hub.publish(NAME, model, **{"config.json": changed(model, dataset="../../elsewhere")})
    assert f"{NAME} is of an unknown data set" in refusal(hub, to)


@pytest.mark.parametrize("n", [0, 10**18])
def test_records_of_images_that_are_not_there_are_refused(hub: Hub, model: Path, to: Path, n: int) -> None:
    records = json.loads((model / "results.json").read_text(encoding="utf-8"))
    hub.publish(NAME, model, **{"results.json": json.dumps([record | {"n": n} for record in records]).encode()})
    assert f"{NAME}/results.json: " in refusal(hub, to)
