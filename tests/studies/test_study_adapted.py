"""Algorithm 1 under an adaptation: fits of its own, and lambda from residuals under it."""

from __future__ import annotations

import json
import re

import pytest
import torch

from sdnet_bench.adaptations import setting_of
from sdnet_bench.data import stream_of
from sdnet_bench.engine.adapt import evaluate_adapted
from sdnet_bench.errors import ModelError, UsageError
from sdnet_bench.records import UNKNOWN, AdaptationSetting
from sdnet_bench.records.lambda_fit import (
    FILE,
    LambdaFit,
    Point,
    can_pool,
    fit_line,
    fit_name,
    fitted_under,
    pool,
    read_fits,
)
from sdnet_bench.studies.algorithm1 import PerImage, fit_lambda, measure_adaptive, require_fits
from sdnet_bench.studies.workbench import Workbench

BN, SORTED = setting_of("bn", 10), setting_of("bn", 10, "sorted")


def fitted(bench: Workbench, adaptation: AdaptationSetting | None = None) -> LambdaFit:
    images, inference = bench.images("train", 20), bench.inference(adaptation=adaptation)
    return fit_lambda(bench, images, "gaussian", [0.1, 0.8], levels=[0.1, 0.4], inference=inference)


def test_a_fit_under_an_adaptation_is_saved_beside_the_plain_one(sdnet: Workbench) -> None:
    plain = fitted(sdnet)
    saved = json.loads((sdnet.folder / FILE).read_text(encoding="utf-8"))
    under = fitted(sdnet, BN)
    both = json.loads((sdnet.folder / FILE).read_text(encoding="utf-8"))
    assert list(both) == ["gaussian", "gaussian, bn:prior=0 in batches of 10"]
    assert both["gaussian"] == saved["gaussian"]
    assert "adaptation" not in saved["gaussian"]
    assert both["gaussian, bn:prior=0 in batches of 10"]["adaptation"]["batch_size"] == 10
    assert list(read_fits([sdnet.folder], sdnet.model.weights).values()) == [plain, under]
    assert plain.points != under.points
    assert require_fits(sdnet, ["gaussian"]) == [plain]
    for adaptation in (BN, SORTED):
        assert require_fits(sdnet, ["gaussian"], sdnet.inference(adaptation=adaptation)) == [under]


def test_a_fit_is_of_its_adaptation_and_not_pooled_with_others() -> None:
    points = [Point(0.1, r, r, 0.5) for r in (1.0, 2.0)]
    plain, under, other = (fit_line("shot", "w", points, adaptation=each) for each in (None, BN, setting_of("bn", 8)))
    assert len({fit.rule for fit in (plain, under, other)}) == len({fit.per_image_rule for fit in (plain, under)}) + 1
    assert not can_pool([plain, under])
    for mixture in ([plain, under], [under, other]):
        with pytest.raises(UsageError, match="fits to different residuals cannot be pooled"):
            pool(mixture)
    assert (pool([under, under]).adaptation, pool([plain, plain]).adaptation) == (BN, None)
    assert (fitted_under(SORTED), fitted_under(BN), fitted_under(None)) == (BN, BN, None)
    assert fit_name("shot", 4, BN) == "shot, 4 steps, bn:prior=0 in batches of 10"


@pytest.mark.parametrize(
    ("adaptation", "options"),
    [
        (BN, " --adapt bn:prior=0 --batch-size 10"),
        (SORTED, " --adapt bn:prior=0 --batch-size 10"),
        (setting_of("median"), f" --adapt {setting_of('median').name}"),
    ],
)
def test_a_missing_fit_is_answered_with_a_command_that_makes_it(
    sdnet: Workbench, adaptation: AdaptationSetting, options: str
) -> None:
    fitted(sdnet)
    inference = sdnet.inference(adaptation=adaptation)
    command = f"`sdnet-bench fit-lambda sdnet18-tiny --corruption gaussian{options}`"
    with pytest.raises(ModelError, match=re.escape(command)):
        require_fits(sdnet, ["gaussian"], inference)
    with pytest.raises(ModelError, match=re.escape(options)):
        require_fits(sdnet, [UNKNOWN], inference)


@pytest.mark.parametrize("order", ["shuffled", "sorted"])
def test_lambda_is_chosen_by_residuals_and_a_line_under_the_adaptation(sdnet: Workbench, order: str) -> None:
    fit = fitted(sdnet, BN)
    setting = SORTED if order == "sorted" else BN
    by, images = sdnet.inference(adaptation=setting), sdnet.images("test", 30)
    (chosen,) = measure_adaptive(sdnet, images, [fit], [3], inference=by)
    assert chosen.inference.adaptation == setting
    given = sdnet.store[chosen.cell.with_inference(by)]
    plain = sdnet.measure([chosen.cell.with_inference(sdnet.inference())], "plain")[0]
    assert chosen.inference.lambda_ == fit(given.metrics["residual"])
    assert chosen.inference.rule == fit.rule
    assert given.correct.tolist() != plain.correct.tolist()
    assert chosen.cell.key != plain.cell.key
    (single,) = measure_adaptive(sdnet, images, [fit], [3], per="image", inference=by)
    view, rule = stream_of("gaussian", 3, sdnet.dataset.family, 0), PerImage(fit)
    net, split = sdnet.model.net, sdnet.split("test", 30)
    found = evaluate_adapted(net, split, sdnet.runtime, setting, choice=rule, transform=view)
    assert single.correct.tolist() == found.correct.tolist()
    assert single.inference.rule == rule.rule
    assert found.lambda_ is not None
    assert single.metrics["lambda_mean"] == pytest.approx(float(torch.tensor(found.lambda_).mean()), rel=1e-5)


def test_by_default_images_are_classified_under_the_adaptation_of_the_fit(sdnet: Workbench) -> None:
    (record,) = measure_adaptive(sdnet, sdnet.images("test", 30), [fitted(sdnet, BN)], [3])
    assert record.inference.adaptation == BN
