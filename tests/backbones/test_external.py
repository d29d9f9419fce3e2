"""Other people's networks by name: they keep the contract of a backbone, and what cannot be had is said in one line."""

from __future__ import annotations

import hashlib
import io
import pickle
import sys
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import timm
import torch
from found import there
from torch import Tensor, nn
from torchvision.models import ShuffleNet_V2_X0_5_Weights, get_model

from sdnet_bench.backbones import External, build, is_code, is_external, normalization, published
from sdnet_bench.csc import CSCConv2d, csc_layers, get_lambda, rebuild
from sdnet_bench.errors import InterruptError, ModelError, UsageError

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SMALL = "torchvision:shufflenet_v2_x0_5"
NETS = {
    "torchvision:resnet18": {},
    "torchvision:googlenet": {},
    "torchvision:mobilenet_v3_small": {"dropout": 0.5},
    "torchvision:squeezenet1_1": {},
    "timm:test_resnet": {"drop_rate": 0.5},
    "timm:test_vit.r160_in1k": {"img_size": 64},
    "timm:test_convnext": {},
}


@pytest.fixture
def images() -> Tensor:
    return torch.rand(2, 3, 64, 64)


@pytest.mark.parametrize("name", NETS)
def test_it_keeps_the_contract_of_a_backbone(name: str, images: Tensor) -> None:
    net = build(name, num_classes=5, **NETS[name]).eval()
    images.requires_grad_()
    logits = net(images)
    assert logits.shape == (2, 5)
    assert torch.equal(net(images), logits)
    (slope,) = torch.autograd.grad(logits.square().sum(), images)
    assert slope.any()


def test_options_reach_the_builder() -> None:
    net = build("timm:test_vit", num_classes=5, img_size=32, drop_rate=0.3)
    assert isinstance(net, External)
    assert net.net.patch_embed.img_size == (32, 32)
    assert net.net.head_drop.p == 0.3


def test_pixels_are_normalised_before_the_network_sees_them(images: Tensor) -> None:
    net = build(SMALL, num_classes=5, mean=(0.1, 0.2, 0.3), std=(0.5, 1, 2)).eval()
    assert isinstance(net, External)
    normal = (images - torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)) / torch.tensor([0.5, 1, 2]).view(3, 1, 1)
    torch.testing.assert_close(net(images), net.net(normal))


@pytest.mark.parametrize(
    ("name", "statistics"),
    [
        ("torchvision:resnet18", IMAGENET),
        ("torchvision:efficientnet_v2_l", ((0.5,) * 3, (0.5,) * 3)),
        ("timm:resnet18.a1_in1k", IMAGENET),
        ("timm:test_resnet", ((0.5,) * 3, (0.5,) * 3)),
        ("nets.py:tiny", None),
        ("resnet18", None),
    ],
)
def test_normalisation_is_that_of_the_source(name: str, statistics: Any) -> None:
    assert normalization(name) == statistics


def test_it_is_what_is_taken_where_nobody_says_otherwise() -> None:
    net = build("timm:test_resnet", num_classes=5)
    assert net.normalize.mean.flatten().tolist() == [0.5] * 3


def test_auxiliary_classifiers_are_no_logits(images: Tensor) -> None:
    net = build("torchvision:googlenet", num_classes=5, aux_logits=True, init_weights=False).train()
    assert net(images).shape == (2, 5)


def test_weights_without_versions_are_those_of_the_present_one() -> None:
    net = build("torchvision:mnasnet0_5", num_classes=5)
    bare = {name: tensor.clone() + 1 for name, tensor in net.state_dict().items()}
    net.load_state_dict(bare)
    assert all(torch.equal(tensor, bare[name]) for name, tensor in net.state_dict().items())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("torchvision:resnet99", "unknown network of torchvision 'resnet99'. Did you mean 'resnet"),
        ("torchvison:resnet18", "unknown source of networks 'torchvison'. Did you mean 'torchvision'?"),
        ("timm:test_resne", "unknown network of timm 'test_resne'. Did you mean 'test_resnet'"),
        ("timm:test_resnet.", "unknown tag of timm:test_resnet ''"),
        ("timm:test_resnet.r161_in1k", "unknown tag of timm:test_resnet 'r161_in1k'. Did you mean 'r160_in1k'?"),
        ("hf:owner/name", "hf:owner/name is a trained model, no architecture. Name it as the model"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(name: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        build(name, num_classes=5)
    assert message in str(caught.value)


@pytest.mark.parametrize("name", [SMALL, "timm:test_resnet"])
def test_an_option_that_its_builder_does_not_take_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"{name} cannot be built: TypeError: .*unexpected keyword argument 'widht'"):
        build(name, num_classes=5, widht=3)


def test_without_timm_there_is_a_command_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UsageError, match=r"timm is not installed\. Install it with `pip install \"sdnet-bench\[timm\]"):
        build("timm:test_resnet", num_classes=5)


@pytest.mark.parametrize("name", ["torchvision:vit_b_16", "timm:vit_tiny_patch16_224"])
def test_images_of_another_size_are_one_line(name: str, images: Tensor) -> None:
    net = build(name, num_classes=5)
    with pytest.raises(UsageError, match=r"VisionTransformer takes no images of 64x64: .*\. Name the size among the"):
        net(images)


class TestStem:
    """A CSC-layer in the place of the one convolution that sees the image."""

    @pytest.mark.parametrize("name", [*NETS, "torchvision:regnet_x_400mf", "timm:test_efficientnet", "timm:dla34"])
    def test_it_codes_the_normalised_image(self, name: str, images: Tensor) -> None:
        torch.manual_seed(0)
        plain = build(name, num_classes=5, **NETS.get(name, {})).eval()
        net = build(name, num_classes=5, csc_stem={"lambda_": 0.02, "steps": 3}, **NETS.get(name, {})).eval()
        (stem,) = csc_layers(net)
        assert isinstance(stem, CSCConv2d)
        seen: list[Tensor] = []
        stem.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        with torch.no_grad():
            assert net(images).shape == plain(images).shape
        torch.testing.assert_close(seen[0], images_as_its_source_wants(net, images))
        assert get_lambda(net) == pytest.approx(0.02)
        assert len(list(net.parameters())) <= len(list(plain.parameters()))

    @pytest.mark.parametrize("name", ["timm:test_resnet", "timm:test_convnext"])
    def test_its_code_leads_back_to_the_image(self, name: str, images: Tensor) -> None:
        net = build(name, num_classes=5, csc_stem={"lambda_": 0, "steps": 200}).double().eval()
        assert isinstance(net, External)
        normalize, stem = net.path()
        normal = normalize(images.double())
        with torch.no_grad():
            rebuilt = rebuild([stem], stem(normal), (64, 64))
        assert (rebuilt - normal).norm() < normal.norm()
        assert stem is csc_layers(net)[0]

    @pytest.mark.parametrize(("name", "stem"), [("torchvision:googlenet", True), ("timm:test_resnet", False)])
    def test_where_there_is_no_way_back_none_is_promised(self, name: str, stem: bool) -> None:
        net = build(name, num_classes=5, csc_stem=stem)
        assert isinstance(net, External)
        assert net.path() == [net.normalize]

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("timm:mobileone_s0", "no place for a CSC stem, .* got ByobNet with 2 of three channels"),
            ("timm:tf_efficientnet_b0", r"conv_stem has no CSC-layer of its shape, .* got Conv2dSame\("),
            ("timm:test_nfnet", r"conv1 has no CSC-layer of its shape, .* got ScaledStdConv2d\("),
            ("sdnet18", "expected one convolution that sees the image, the first, got ResNet with 0 of three channels"),
        ],
    )
    def test_a_network_without_a_place_for_it_is_refused(self, name: str, message: str) -> None:
        statistics = {"mean": (0, 0, 0), "std": (1, 1, 1)}
        with pytest.raises(UsageError, match=message):
            build(name, num_classes=5, csc_stem=True, **statistics)

    @pytest.mark.parametrize("wrong", [{"lamda": 0.2}, {"padding": 3}, 3])
    def test_options_that_a_layer_does_not_take_are_refused(self, wrong: Any) -> None:
        with pytest.raises(UsageError, match=r"^csc_stem: .*, expected true, or options of a CSC-layer"):
            build(SMALL, num_classes=5, csc_stem=wrong)


def images_as_its_source_wants(net: nn.Module, images: Tensor) -> Tensor:
    """What the first layer of a network sees: GoogLeNet normalises once more."""
    assert isinstance(net, External)
    normal = net.normalize(images)
    again = getattr(net.net, "_transform_input", None)
    return again(normal) if again else normal


CODE = """\
from __future__ import annotations

from dataclasses import dataclass

from torch import nn


@dataclass
class Shape:
    width: int = 4


def tiny(num_classes: int, width: int = 4) -> nn.Module:
    shape = Shape(width)
    return nn.Sequential(
        nn.Conv2d(3, shape.width, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(shape.width, num_classes),
    )


def nothing(num_classes: int) -> None:
    return None


def broken(num_classes: int) -> nn.Module:
    raise LookupError("no such layer")
"""
PLAIN: dict[str, Any] = {"num_classes": 5, "mean": (0.5,) * 3, "std": (0.5,) * 3}


class TestFunctions:
    """A function in a Python file."""

    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        path = tmp_path / "of mine" / "nets.py"
        path.parent.mkdir()
        path.write_text(CODE, encoding="utf-8")
        return path

    def test_it_builds_a_network(self, file: Path, images: Tensor) -> None:
        net = build(f"{file}:tiny", width=6, **PLAIN)
        assert net(images).shape == (2, 5)
        assert sum(each.numel() for each in net.parameters()) == 6 * 28 + 7 * 5

    def test_a_relative_path_starts_here(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(file.parent.parent)
        assert isinstance(build("of mine/nets.py:tiny", csc_stem=True, **PLAIN), External)

    def test_it_is_told_apart_from_other_names(self, file: Path) -> None:
        assert is_code(f"{file}:tiny")
        assert is_external("timm:test_resnet")
        assert not is_code("timm:test_resnet")
        assert not is_external("resnet18")

    @pytest.mark.parametrize(
        ("function", "message"),
        [
            ("tinny", r"unknown function in .*nets\.py 'tinny'\. Did you mean 'tiny'"),
            ("nothing", r"nets\.py:nothing builds no network, expected a torch\.nn\.Module, got NoneType"),
            ("broken", r"nets\.py:broken cannot be built: LookupError: no such layer"),
        ],
    )
    def test_what_builds_no_network_is_refused(self, file: Path, function: str, message: str) -> None:
        with pytest.raises(UsageError, match=message):
            build(f"{file}:{function}", **PLAIN)

    def test_a_missing_file_is_looked_for_in_one_place(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(UsageError, match=f"no file nets.py here, .* got {tmp_path}/nets.py"):
            build("nets.py:tiny", **PLAIN)

    @pytest.mark.parametrize("line", ["import no_such_module", "raise SystemExit(3)", "def ("])
    def test_a_file_that_does_not_run_is_one_line(self, tmp_path: Path, line: str) -> None:
        (tmp_path / "bad.py").write_text(line, encoding="utf-8")
        with pytest.raises(UsageError, match=r"bad\.py does not load: (ModuleNotFound|Syntax|SystemExit)"):
            build(f"{tmp_path}/bad.py:tiny", **PLAIN)

    def test_ctrl_c_is_no_mistake_of_the_file(self, tmp_path: Path) -> None:
        text = "from sdnet_bench.errors import InterruptError\nraise InterruptError('interrupted')"
        (tmp_path / "slow.py").write_text(text, encoding="utf-8")
        with pytest.raises(InterruptError):
            build(f"{tmp_path}/slow.py:tiny", **PLAIN)

    def test_nobody_says_how_it_normalises(self, file: Path) -> None:
        with pytest.raises(UsageError, match=r"nobody says how .* normalises, expected mean and std among its options"):
            build(f"{file}:tiny", num_classes=5)


class TestPublishedWeights:
    """Which weights there are, and how they come here."""

    @pytest.mark.parametrize(
        ("name", "revision"),
        [
            (SMALL, "ShuffleNet_V2_X0_5_Weights.IMAGENET1K_V1"),
            ("torchvision:resnet50", "ResNet50_Weights.IMAGENET1K_V2"),
            ("timm:test_resnet", "r160_in1k"),
            ("timm:resnet18.tv_in1k", "tv_in1k"),
        ],
    )
    def test_they_have_a_name(self, name: str, revision: str) -> None:
        found = there(published(name))
        assert found.revision == revision

    def test_the_size_of_images_is_said_where_it_is_fixed(self) -> None:
        chosen = there(published("torchvision:vit_b_16", "IMAGENET1K_SWAG_E2E_V1"))
        assert chosen.options["image_size"] == 384

    @pytest.mark.parametrize(
        ("name", "weights", "message"),
        [
            ("torchvision:resnet50", "V3", "expected pretrained, IMAGENET1K_V1, IMAGENET1K_V2, got V3"),
            ("torchvision:vgg16", "IMAGENET1K_FEATURES", "expected pretrained, IMAGENET1K_V1, got IMAGENET1K_FEATURES"),
            ("timm:resnet18", "tv_in1k", "expected pretrained, or the backbone timm:resnet18.tv_in1k, got tv_in1k"),
        ],
    )
    def test_unknown_ones_are_answered_with_those_there_are(self, name: str, weights: str, message: str) -> None:
        with pytest.raises(UsageError, match=message):
            published(name, weights)

    def test_a_function_has_none(self) -> None:
        assert published("nets.py:tiny") is None

    @pytest.mark.parametrize(
        ("error", "reason"), [(OSError("no network\nat all"), "no network"), (RuntimeError("x"), "x")]
    )
    def test_timm_that_cannot_fetch_is_one_line(
        self, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
    ) -> None:
        def fail(*_: object, **__: object) -> None:
            raise error

        monkeypatch.setattr(timm, "create_model", fail)
        with pytest.raises(ModelError, match=f"cannot fetch the weights of timm:test_resnet: {reason}\\. Name a safet"):
            fetch("timm:test_resnet")

    def test_those_of_timm_have_the_names_of_its_network(self, monkeypatch: pytest.MonkeyPatch) -> None:
        net = timm.create_model("test_resnet")
        monkeypatch.setattr(timm, "create_model", lambda name, pretrained: net if pretrained else None)
        assert fetch("timm:test_resnet").keys() == net.state_dict().keys()


def fetch(name: str) -> dict[str, Tensor]:
    found = there(published(name))
    return found.fetch()


class Code:
    """What runs when a pickle is read."""

    def __reduce__(self) -> Any:
        return print, ("a pickle was run",)


class TestTorchvisionDownloads:
    """From a server that is here."""

    @pytest.fixture
    def shelf(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
        """Puts a file on the server, where torchvision then looks for the weights of `SMALL`."""
        folder = tmp_path / "server"
        folder.mkdir()
        handler = partial(Quiet, directory=str(folder))
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
        monkeypatch.setenv("no_proxy", "127.0.0.1")

        def put(content: bytes, name: str | None = None) -> None:
            name = name or f"shuffle-{hashlib.sha256(content).hexdigest()[:10]}.pth"
            (folder / name).write_bytes(content)
            url = f"http://127.0.0.1:{server.server_port}/{name}"
            monkeypatch.setattr(ShuffleNet_V2_X0_5_Weights.IMAGENET1K_V1.value, "url", url)

        yield put
        server.shutdown()
        server.server_close()

    @pytest.fixture
    def state(self) -> dict[str, Tensor]:
        state: dict[str, Tensor] = get_model("shufflenet_v2_x0_5").state_dict()
        return state

    def test_the_tensors_are_those_of_the_server(
        self, shelf: Any, state: dict[str, Tensor], capsys: pytest.CaptureFixture[str]
    ) -> None:
        shelf(saved(state))
        found = fetch(SMALL)
        assert found.keys() == state.keys()
        assert all(torch.equal(found[name], tensor) for name, tensor in state.items())
        said = capsys.readouterr()
        assert said.out == ""
        assert "Downloading" in said.err

    def test_a_second_time_they_are_here(self, shelf: Any, state: dict[str, Tensor], tmp_path: Path) -> None:
        shelf(saved(state))
        fetch(SMALL)
        (file,) = (tmp_path / "server").iterdir()
        file.unlink()
        assert fetch(SMALL).keys() == state.keys()

    def test_a_wrong_hash_is_refused_and_nothing_kept(
        self, shelf: Any, state: dict[str, Tensor], tmp_path: Path
    ) -> None:
        shelf(saved(state), "shuffle-0123456789.pth")
        with pytest.raises(
            ModelError, match=r"cannot fetch http://127.*: invalid hash value .*0123456789.*save its tens"
        ):
            fetch(SMALL)
        assert list((tmp_path / "torch").rglob("*.pth")) == []

    def test_code_in_a_pickle_is_not_run(self, shelf: Any, capsys: pytest.CaptureFixture[str]) -> None:
        shelf(pickle.dumps({"weight": Code()}, protocol=2))
        with pytest.raises(ModelError, match=r"cannot fetch .*Weights only load failed"):
            fetch(SMALL)
        assert "was run" not in capsys.readouterr().out

    def test_a_file_that_is_not_there_is_one_line(self, shelf: Any, tmp_path: Path) -> None:
        shelf(b"gone")
        for file in (tmp_path / "server").iterdir():
            file.unlink()
        with pytest.raises(ModelError, match=r"cannot fetch http://127.*: HTTP Error 404"):
            fetch(SMALL)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: what torch says is looked at."""


def saved(state: dict[str, Tensor]) -> bytes:
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


@pytest.mark.parametrize("option", ["checkpoint_path", "pretrained_cfg", "pretrained", "features_only"])
def test_a_configuration_cannot_make_timm_do_something_else(option: str) -> None:
    with pytest.raises(UsageError, match=f"timm:test_resnet is a classifier with fresh weights, got {option}"):
        build("timm:test_resnet", num_classes=3, **{option: "weights.pth"})
