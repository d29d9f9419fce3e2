"""The 19 corruptions of the -C benchmarks: levels, names, and that nothing but the seed decides the outcome."""

from __future__ import annotations

import hashlib
import sys
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sdnet_bench.data import CORRUPTIONS, SEVERITIES, Augmentation, Corruption, Noise, corrupt
from sdnet_bench.data.corruptions import Level, Pixels
from sdnet_bench.data.splits import TensorSplit
from sdnet_bench.errors import UnknownNameError, UsageError

NOISES = ["gaussian", "shot", "speckle", "impulse"]
GROUPS = {
    "noise": NOISES,
    "blur": ["gaussian_blur", "glass_blur", "defocus_blur", "motion_blur", "zoom_blur"],
    "weather": ["fog", "frost", "snow", "spatter"],
    "digital": ["contrast", "brightness", "saturate", "jpeg_compression", "pixelate", "elastic_transform"],
}
NAMES = [name for names in GROUPS.values() for name in names]
FIXED = ["gaussian_blur", "defocus_blur", "zoom_blur", *GROUPS["digital"][:-1]]
"""Those that draw nothing at random."""
FAMILIES = ["cifar", "tiny-imagenet", "imagenet"]
ARCHIVE_LEVELS: list[tuple[str, str, int, Level]] = [
    ("gaussian", "tiny-imagenet", 4, 0.15),
    ("shot", "tiny-imagenet", 5, 15),
    ("speckle", "tiny-imagenet", 3, 0.25),
    ("impulse", "tiny-imagenet", 5, 0.14),
    ("gaussian_blur", "imagenet", 5, 6),
    ("glass_blur", "cifar", 4, (0.25, 1, 2)),
    ("glass_blur", "imagenet", 3, (1, 2, 3)),
    ("defocus_blur", "tiny-imagenet", 4, (2.5, 0.01)),
    ("motion_blur", "imagenet", 5, (20, 15)),
    ("zoom_blur", "imagenet", 3, (1.21, 0.02)),
    ("fog", "cifar", 5, (1.5, 1.75)),
    ("frost", "cifar", 4, (0.85, 0.4, 0.2)),
    ("frost", "tiny-imagenet", 1, (1, 0.3, 0.3)),
    ("snow", "tiny-imagenet", 5, (0.3, 0.3, 1.25, 0.65, 14, 12, 0.6)),
    ("snow", "imagenet", 4, (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65)),
    ("spatter", "cifar", 3, (0.65, 0.3, 1, 0.69, 0.5, 0)),
    ("spatter", "imagenet", 5, (0.67, 0.4, 1, 0.65, 1.5, 1)),
    ("contrast", "cifar", 5, 0.15),
    ("brightness", "cifar", 5, 0.3),
    ("saturate", "tiny-imagenet", 5, (30, 0.2)),
    ("jpeg_compression", "cifar", 1, 80),
    ("pixelate", "imagenet", 5, 0.25),
    ("elastic_transform", "tiny-imagenet", 2, (0.05, 0.3, 0.06)),
    ("elastic_transform", "imagenet", 1, (2, 0.7, 0.1)),
]
CPU = torch.device("cpu")

needs_photographs = pytest.mark.skipif(
    find_spec("imagecorruptions") is None, reason="no photographs of frost: imagecorruptions-imaug is not installed"
)


def those(names: list[str]) -> list[object]:
    """Parameters of a test: the names, of which frost needs its photographs."""
    return [pytest.param(name, marks=needs_photographs) if name == "frost" else name for name in names]


def picture(height: int = 32, width: int = 32) -> NDArray[np.uint8]:
    """`(3, H, W)`: a ramp of colours, a bright and a dark rectangle, and some grain."""
    y, x = np.mgrid[:height, :width] / max(height, width)
    image = np.stack([0.3 + 0.4 * x, 0.7 - 0.4 * y, 0.4 + 0.2 * x * y])
    image[:, height // 4 : height // 2, width // 4 : width // 2] += 0.25
    image[:, height // 2 : -height // 4, width // 2 : -width // 4] -= 0.25
    image += np.random.default_rng(0).normal(0, 0.02, image.shape)
    return (np.clip(image, 0, 1) * 255).astype(np.uint8)


def spoiled(name: str, image: NDArray[np.uint8], family: str, severity: int, index: int = 0) -> NDArray[np.uint8]:
    return corrupt(name, image, level=CORRUPTIONS[name].level(family, severity), seed=0, index=index)


def damage(name: str, family: str, severity: int) -> float:
    """The mean squared difference to the clean image, over five draws."""
    clean = picture(64, 64)
    images = [spoiled(name, clean, family, severity, index) for index in range(5)]
    return float(np.square(np.stack(images).astype(float) - clean).mean())


def test_there_are_the_four_noises_and_fifteen_others() -> None:
    assert {name: CORRUPTIONS[name].group for name in NAMES} == {
        name: group for group, names in GROUPS.items() for name in names
    }
    assert set(NAMES) == {name for name in CORRUPTIONS if CORRUPTIONS[name].group not in (None, "bar")}


def test_fifteen_of_them_make_the_mean_corruption_error() -> None:
    extra = {name for name in NAMES if CORRUPTIONS[name].extra}
    assert extra == {"speckle", "gaussian_blur", "spatter", "saturate"}


def test_archives_name_the_noises_in_full() -> None:
    noises = ["gaussian_noise", "shot_noise", "speckle_noise", "impulse_noise"]
    assert [CORRUPTIONS[name].archive_name for name in NAMES] == [*noises, *NAMES[4:]]


def test_a_corruption_of_someone_else_is_in_no_group() -> None:
    own = Corruption("own", lambda pixels, level, rng: pixels, {"cifar": (0.0,) * 5})
    assert (own.group, own.extra, own.archive_name) == (None, True, "own")


@pytest.mark.parametrize("name", NAMES)
def test_every_family_has_five_levels_of_one_shape(name: str) -> None:
    severities = CORRUPTIONS[name].severities
    assert set(severities) == set(FAMILIES)
    assert {len(levels) for levels in severities.values()} == {len(SEVERITIES)}
    levels = [np.asarray(level) for family in severities.values() for level in family]
    assert len({level.shape for level in levels}) == 1
    assert {level.dtype for level in levels} == {np.dtype(float)}


@pytest.mark.parametrize(("name", "family", "severity", "level"), ARCHIVE_LEVELS)
def test_levels_are_those_of_the_archives(name: str, family: str, severity: int, level: Level) -> None:
    assert CORRUPTIONS[name].level(family, severity) == level


@pytest.mark.parametrize("severity", [0, 6, -1])
@pytest.mark.parametrize("name", ["gaussian", "fog"])
def test_there_are_five_severities(name: str, severity: int) -> None:
    with pytest.raises(UsageError, match=f"severity out of range, expected 1 to 5, got {severity}"):
        CORRUPTIONS[name].level("cifar", severity)


def test_a_family_without_an_archive_has_no_levels() -> None:
    message = "snow has no levels for such images, expected cifar, tiny-imagenet, imagenet, got mnist"
    with pytest.raises(UsageError, match=message):
        CORRUPTIONS["snow"].level("mnist", 1)
    with pytest.raises(UsageError, match="shot has no levels for such images"):
        CORRUPTIONS["shot"].levels("mnist")


def test_lambda_is_fitted_on_noises_alone() -> None:
    with pytest.raises(UsageError, match="fog has no levels that lambda could be fitted on, expected one of the noise"):
        CORRUPTIONS["fog"].levels("cifar")


@pytest.mark.parametrize(("typed", "meant"), [("gausian", "gaussian"), ("impuls", "impulse"), ("pixelat", "pixelate")])
def test_a_misspelt_corruption_is_answered_with_the_nearest(typed: str, meant: str) -> None:
    with pytest.raises(UnknownNameError, match=f"unknown corruption '{typed}'. Did you mean '{meant}'"):
        corrupt(typed, picture(), level=0.1, seed=0, index=0)


@pytest.mark.parametrize("size", [(5, 7), (32, 32), (40, 33)])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", those(NAMES))
def test_images_of_any_size_stay_images(name: str, family: str, size: tuple[int, int]) -> None:
    clean = picture(*size)
    before = clean.copy()
    for severity in SEVERITIES:
        image = spoiled(name, clean, family, severity)
        assert (image.dtype, image.shape) == (np.uint8, (3, *size))
    assert np.array_equal(clean, before)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", those(NAMES))
def test_every_severity_leaves_its_mark_and_the_picture(name: str, family: str) -> None:
    clean = picture(64, 64)
    for severity in SEVERITIES:
        change = spoiled(name, clean, family, severity).astype(float) - clean
        assert 0.3 < np.abs(change).mean() < 128


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", [*NOISES, "gaussian_blur", "defocus_blur", "zoom_blur", "contrast", "brightness"])
def test_each_severity_hurts_more_than_the_one_below(name: str, family: str) -> None:
    found = [damage(name, family, severity) for severity in SEVERITIES]
    assert found == sorted(found)
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("name", ["glass_blur", "motion_blur", "fog", "snow", "spatter", "jpeg_compression"])
def test_the_last_severity_hurts_more_than_the_first(name: str) -> None:
    assert damage(name, "imagenet", 5) > 1.5 * damage(name, "imagenet", 1)


def test_all_grey_levels_survive_the_way_to_pixels_and_back(register_part: Any) -> None:
    """k / 255 comes out as k: flooring takes nothing from what a library of 8 bits gives."""
    nothing = Corruption("nothing", lambda pixels, level, rng: pixels, {})
    register_part(CORRUPTIONS, "nothing", nothing)
    levels = np.arange(256, dtype=np.uint8).repeat(3).reshape(3, 16, 16)
    assert np.array_equal(corrupt("nothing", levels, level=0.0, seed=0, index=0), levels)


def test_values_are_floored_and_not_rounded() -> None:
    """Flooring loses half a grey level on average."""
    image = corrupt("gaussian", np.full((3, 200, 200), 128, np.uint8), level=0.04, seed=0, index=0)
    assert image.mean() == pytest.approx(127.5, abs=0.15)


def test_values_are_clipped_and_do_not_wrap_around() -> None:
    white, black = np.full((3, 64, 64), 255, np.uint8), np.zeros((3, 64, 64), np.uint8)
    assert corrupt("gaussian", white, level=0.1, seed=0, index=0).min() > 100
    assert corrupt("gaussian", black, level=0.1, seed=0, index=0).max() < 155


@pytest.mark.parametrize(
    ("name", "level", "words"),
    [
        ("gaussian", 0.08, "5/gaussian/0.08/7"),
        ("gaussian", 1, "5/gaussian/1.0/7"),
        ("fog", (0.2, 3), "5/fog/(0.2, 3.0)/7"),
    ],
)
def test_the_generator_of_an_image_is_a_promise(name: str, level: Level, words: str, register_part: Any) -> None:
    """Records stand only as long as the same seed gives the same images."""
    key = int.from_bytes(hashlib.sha256(words.encode()).digest()[:16], "little")
    expected = np.random.Generator(np.random.Philox(key=key)).random(5)
    drawn: list[Pixels] = []

    def draw(pixels: Pixels, _: Level, rng: np.random.Generator) -> Pixels:
        drawn.append(rng.random(5))
        return pixels

    register_part(CORRUPTIONS, name, Corruption(name, draw, {}))
    corrupt(name, picture(), level=level, seed=5, index=7)
    assert np.array_equal(drawn[0], expected)


def test_a_corruption_within_another_changes_neither(register_part: Any) -> None:
    clean, made = picture(), []
    noisy = corrupt("gaussian", clean, level=0.1, seed=0, index=1)
    for is_within in (False, True):

        def second_draw(pixels: Pixels, level: float, rng: np.random.Generator, is_within: bool = is_within) -> Pixels:
            rng.random()
            assert not is_within or np.array_equal(corrupt("gaussian", clean, level=level, seed=0, index=1), noisy)
            return np.full(pixels.shape, rng.random())

        register_part(CORRUPTIONS, "own", Corruption("own", second_draw, {}))
        made.append(corrupt("own", clean, level=0.1, seed=0, index=0))
    assert np.array_equal(*made)


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("gaussian", "5c94e6538207bf72"),
        ("shot", "87082d633fbf2f40"),
        ("impulse", "f4f835645ed61f3a"),
        ("speckle", "9bb4c49024447118"),
    ],
)
def test_the_bytes_of_the_noises_are_a_promise(name: str, digest: str) -> None:
    """At ten levels, with three draws, as the first version made them."""
    scrambled = np.arange(3 * 32 * 32, dtype=np.uint64) * 2654435761 % 2**32 >> 24
    image, part = scrambled.astype(np.uint8).reshape(3, 32, 32), CORRUPTIONS[name]
    levels = [part.level(family, severity) for family in ("cifar", "imagenet") for severity in SEVERITIES]
    found = [corrupt(name, image, level=level, seed=3, index=index) for level in levels for index in (0, 1, 9999)]
    assert hashlib.sha256(b"".join(each.tobytes() for each in found)).hexdigest()[:16] == digest


@pytest.mark.parametrize("name", those([name for name in NAMES if name not in FIXED]))
@pytest.mark.parametrize("change", [{"seed": 1}, {"index": 1}])
def test_another_seed_or_index_is_another_image(name: str, change: dict[str, int]) -> None:
    clean, level = picture(), CORRUPTIONS[name].level("cifar", 3)
    first = corrupt(name, clean, level=level, seed=0, index=0)
    assert np.array_equal(first, corrupt(name, clean, level=level, seed=0, index=0))
    assert not np.array_equal(first, corrupt(name, clean, level=level, **({"seed": 0, "index": 0} | change)))


@pytest.mark.parametrize("name", FIXED)
def test_a_corruption_that_draws_nothing_needs_no_seed(name: str) -> None:
    clean, level = picture(), CORRUPTIONS[name].level("cifar", 3)
    first, other = (corrupt(name, clean, level=level, seed=seed, index=index) for seed, index in [(0, 0), (1, 3)])
    assert np.array_equal(first, other)


@pytest.mark.parametrize("other", [{"name": "speckle"}, {"level": 0.0800001}])
def test_noises_of_other_names_and_levels_are_unrelated(other: dict[str, object]) -> None:
    grey = np.full((3, 16, 16), 128, np.uint8)
    base: dict[str, object] = {"name": "gaussian", "level": 0.08, "seed": 0, "index": 0}
    first, second = (corrupt(image=grey, **words).ravel() for words in (base, base | other))  # type: ignore[arg-type]
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.15


def test_a_whole_level_is_the_same_level_as_a_float() -> None:
    for name, whole, same in [("shot", 500, 500.0), ("fog", (1, 2), (1.0, 2.0))]:
        first, second = (corrupt(name, picture(), level=level, seed=0, index=7) for level in (whole, same))
        assert np.array_equal(first, second)


@pytest.fixture
def split() -> TensorSplit:
    images = torch.randint(256, (10, 3, 8, 8), dtype=torch.uint8)
    return TensorSplit(images, torch.arange(10), torch.arange(100, 110), Augmentation())


@pytest.mark.parametrize("name", those(NAMES))
@pytest.mark.parametrize("batch_size", [1, 3])
def test_the_outcome_does_not_depend_on_the_batch_size(split: TensorSplit, name: str, batch_size: int) -> None:
    noise = Noise(name, CORRUPTIONS[name].level("cifar", 5), seed=5)
    whole = torch.cat([noise(batch) for batch in split.batches(10, CPU)])
    assert torch.equal(whole, torch.cat([noise(batch) for batch in split.batches(batch_size, CPU)]))


@pytest.mark.parametrize("name", ["shot", "glass_blur", "fog", "elastic_transform"])
def test_the_outcome_does_not_depend_on_order_or_company(split: TensorSplit, name: str) -> None:
    noise = Noise(name, CORRUPTIONS[name].level("cifar", 5), seed=5)
    (whole,) = (noise(batch) for batch in split.batches(10, CPU))
    (part,) = (noise(batch) for batch in split.subset([7, 2]).batches(10, CPU))
    assert torch.equal(part, whole[[7, 2]])


def test_equal_images_get_different_noise(split: TensorSplit) -> None:
    same = TensorSplit(split.images[:1].expand(10, -1, -1, -1), split.labels, split.index, split.augmentation)
    (noisy,) = (Noise("gaussian", 0.1)(batch) for batch in same.batches(10, CPU))
    assert not torch.equal(noisy[0], noisy[1])


@pytest.mark.parametrize(
    ("name", "library"),
    [("gaussian_blur", "scipy"), ("elastic_transform", "scipy"), ("spatter", "cv2"), ("jpeg_compression", "PIL")],
)
def test_a_missing_library_is_named_with_the_way_to_install_it(
    name: str, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    hint = r'Install it with `pip install "sdnet-bench\[corruptions\]"`\.'
    with pytest.raises(UsageError, match=f"^{name} needs the library {library}, got .*{hint}$"):
        spoiled(name, picture(), "cifar", 1)


@pytest.mark.parametrize("name", [*NOISES, "motion_blur", "zoom_blur", "fog", "snow", *GROUPS["digital"][:3]])
def test_most_need_nothing_but_numpy(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for library in ("cv2", "PIL", "scipy"):
        monkeypatch.setitem(sys.modules, library, None)
    spoiled(name, picture(), "cifar", 1)


def test_what_a_corruption_of_someone_else_lacks_is_not_ours_to_explain(register_part: Any) -> None:
    def broken(pixels: Pixels, level: Level, rng: np.random.Generator) -> Pixels:
        raise ModuleNotFoundError("No module named 'exotic'", name="exotic")

    register_part(CORRUPTIONS, "broken", Corruption("broken", broken, {}))
    with pytest.raises(ModuleNotFoundError, match="exotic"):
        corrupt("broken", picture(), level=0.0, seed=0, index=0)
