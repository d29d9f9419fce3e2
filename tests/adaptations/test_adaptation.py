"""Adaptations by name: one text for one setting, and settings that do not go together are refused."""

from __future__ import annotations

import pytest
import torch
from toys import convolutional, stream

from sdnet_bench.adaptations import BatchStatistics, RunningStatistics, Tent, chain_of, setting_of
from sdnet_bench.errors import UnknownNameError, UsageError
from sdnet_bench.records import AdaptationSetting, Cell, Images, Inference

CANONICAL = {
    "bn": "bn:prior=0",
    "bn:prior=0": "bn:prior=0",
    "bn:prior=0.0": "bn:prior=0",
    "bn:prior=16": "bn:prior=16",
    "bn:prior=inf": "bn:prior=inf",
    "bn:prior=0.1234567890123": "bn:prior=0.1234567890123",
    "bn-running": "bn-running:momentum=0.1",
    "tent": "tent:lr=0.001:steps=1:episodic=false",
    "tent:episodic=true:steps=1000000": "tent:lr=0.001:steps=1000000:episodic=true",
    "tent:lr=1e-5": "tent:lr=1e-05:steps=1:episodic=false",
    " median, bn:prior=16 ": "median,bn:prior=16",
}


@pytest.mark.parametrize("text", CANONICAL)
def test_a_setting_is_written_with_all_its_values_in_one_way(text: str) -> None:
    setting = setting_of(text, 64, "sorted")
    assert setting == AdaptationSetting(name=CANONICAL[text], batch_size=64, order="sorted")
    assert setting_of(setting.name, 64, "sorted") == setting


def test_a_setting_makes_the_adaptations_it_names() -> None:
    made = {"bn:prior=16": BatchStatistics(16), "bn-running:momentum=1": RunningStatistics(1)}
    made |= {"tent:lr=0.05:steps=2:episodic=true": Tent(0.05, 2, episodic=True)}
    for text, expected in made.items():
        assert list(chain_of(setting_of(text)).parts) == [expected]
    chain = chain_of(setting_of("median,bn-running"))
    assert (len(chain.parts), chain.is_online, chain.is_per_image) == (2, True, False)


def test_batches_of_200_are_the_default() -> None:
    assert setting_of("tent") == setting_of("tent", 200, "shuffled")


@pytest.mark.parametrize("text", ["median", "blur", "jpeg", "median,jpeg"])
def test_filters_alone_have_no_batch_size_and_no_order(text: str) -> None:
    assert setting_of(text, 64, "sorted") == AdaptationSetting(name=text)


WRONG = {
    "bn:momentum=1": "bn has no such setting, expected bn:prior=0, got momentum=1",
    "tent:rate=1": "tent has no such setting, expected tent:lr=0.001 or tent:steps=1 or tent:episodic=false, got ",
    "median:size=5": "median has no such setting, expected median alone, got size=5",
    "bn:prior": "a setting cannot be read, expected a number, got prior",
    "bn:prior=many": "a setting cannot be read, expected a number, got prior=many",
    "bn:prior=-1": "prior out of range",
    "tent:steps=1.5": "a setting cannot be read, expected a number, got steps=1.5",
    "tent:episodic=yes": "a setting cannot be read, expected true or false, got episodic=yes",
    "bn,tent": "two adaptations of one network, expected filters, and one of the others, got bn,tent",
    "bn,median,bn:prior=3": "two adaptations of one network",
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_with_a_setting_is_said_in_one_line(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        setting_of(text)
    assert str(caught.value).startswith(WRONG[text])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "bnn", "bn,", "lambda"])
def test_an_unknown_name_is_refused(text: str) -> None:
    with pytest.raises(UnknownNameError, match="unknown adaptation"):
        setting_of(text)


@torch.no_grad()
def test_a_chain_filters_before_the_adapted_network_sees_the_image() -> None:
    net, (batch,) = convolutional(), stream(8)
    median, norms = chain_of(setting_of("median")), BatchStatistics()
    with norms(net, net) as classify, median(net, classify) as filtered:
        expected = filtered(batch)
        assert not torch.equal(expected, classify(batch))
    with chain_of(setting_of("median,bn"))(net, net) as chained:
        assert torch.equal(chained(batch), expected)


CELL = Cell(weights="aa", images=Images(dataset="digits", split="test", digest="bb"), inference=Inference(lambda_=0.1))
KEY = "0e596674a6645733a873f1d7cd6f21b1"
"""Of CELL, in records of versions without adaptations."""


def test_a_cell_without_adaptation_keeps_its_key() -> None:
    assert CELL.key == KEY
    assert "adaptation" not in CELL.model_dump_json()


def test_a_cell_with_an_adaptation_is_written_flat_and_read_back() -> None:
    settings = [setting_of(text) for text in ("bn", "bn:prior=16", "tent", "median")]
    settings += [setting_of("bn", 8), setting_of("bn", order="sorted")]
    cells = [CELL.with_inference(CELL.inference.model_copy(update={"adaptation": setting})) for setting in settings]
    assert len({cell.key for cell in [CELL, *cells]}) == len({cell.images_key for cell in [CELL, *cells]}) == 7
    for cell in cells:
        assert Cell.model_validate_json(cell.model_dump_json()) == cell
    assert '"adaptation":{"name":"bn:prior=0","batch_size":200,"order":"shuffled"}' in cells[0].model_dump_json()
