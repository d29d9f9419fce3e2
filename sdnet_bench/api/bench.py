"""The front door: a network, its images and its records, with everything that the command line measures of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import TYPE_CHECKING
from weakref import finalize

import torch
from torch import nn

from ..audit import FULL, QUICK, Audit, run_audit
from ..audit.render import write_audit
from ..config import LAMBDAS
from ..data import Dataset, open_dataset
from ..data.datasets import RGB
from ..engine.runtime import Runtime
from ..errors import UsageError
from ..names import LAYERS, RESIDUALS, SEARCHES, Layers, one_of, several
from ..paper.plan import plan
from ..paper.results import Results
from ..paper.steps import StudySize
from ..progress import Progress
from ..records import Record
from ..report.examples import Examples, write_examples
from ..report.pictures import draw_dictionary, draw_features, draw_sparsity
from ..report.scenes import find_examples
from ..studies.accuracy import measure_clean, measure_corrupted, sweep_lambda
from ..studies.adversarial import run_attack, sweep_eps as run_eps_sweep
from ..studies.algorithm1 import IMAGES, fit_lambda, measure_adaptive, require_fits
from ..studies.codes import Atoms, Features, Sparsity, find_atoms, measure_sparsity, rebuild_inputs
from ..studies.export import export
from ..studies.minimum_norm import attack_by_eps
from ..studies.protocols import attack_setting
from ..studies.race import Rules
from ..studies.workbench import Workbench
from ..zoo.checkpoint import Model, check_run_name
from ..zoo.find import find_model, load_model
from .comparison import Comparison, PaperTable
from .guest import OWN, OwnData, Source, copied, images_of, open_guest
from .plans import Plan
from .publishing import publish
from .requests import (
    Accuracy,
    Names,
    Severities,
    adaptation_of,
    corruption_names,
    folder_of,
    lambda_grid,
    protocols_of,
    severity_levels,
    threat_of,
)
from .screen import progress_of
from .values import Fits, Measured, Sweep

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Bench:
    """A network with its images, its records and everything that is measured of them.

    Every method is the command of the same name, with the same parameters and the same records: what is on record is
    not measured again. Nothing outside is changed: a network in memory is copied when the bench is made. A wrong
    request is a `UsageError`, before anything is measured.

    Args:
        model: a network in memory, from images `(N, 3, H, W)` in [0, 1] to logits, in eval mode; or the name of a run
            or of a shipped model, a folder, or a `load_model(...)`.
        data: the test images: a data set by name; a torch data set of (image, label); or images and labels as a pair,
            `(N, 3, H, W)` uint8 or floats in [0, 1], and `(N,)` integers. By default those that the model was trained
            on; a network in memory needs them. A model by name keeps the records of all data sets by name in its run.
        train, validation: images of the same kinds, for `fit_lambda` and for tuning lambda under attack.
        classes: the names of the labels of images in memory, in their order.
        family: of the severities of corruptions of images in memory, "cifar" or "imagenet".
        mean, std: three numbers each, for a network in memory that wants normalised images.
        name: of a network in memory, for tables and for its records; by default "network".
        seed: of corruptions and attacks.
        device: auto, cpu, cuda or mps, or a `torch.device` of these.
        precision: auto, float32, bfloat16, or tf32 on CUDA; attacks and audits are in float32.
        data_dir: the folder of data sets by name; by default `SDNET_BENCH_DATA` of the environment, or "data".
        runs_dir: the folder of runs and their records; by default `SDNET_BENCH_RUNS`, or "runs". For a network in
            memory there is none by default: its records go when the bench goes.
        progress: whether bars are shown, on a terminal or in a notebook; or a `Progress` of one's own.

    Raises:
        UsageError: a network in training mode, one that gives probabilities, images without a length or of no data set.
        DataError: images of unequal sizes or outside [0, 1], or labels outside the classes.
        ModelError: a model that cannot be loaded, or whose classes are not those of the images.
    """

    def __init__(
        self,
        model: nn.Module | Model | str | Path,
        data: Source | str | None = None,
        *,
        train: Source = None,
        validation: Source = None,
        classes: Sequence[str] | None = None,
        family: str = "imagenet",
        mean: RGB | None = None,
        std: RGB | None = None,
        name: str | None = None,
        seed: int = 0,
        device: str | torch.device = "auto",
        precision: str = "auto",
        data_dir: Path | str | None = None,
        runs_dir: Path | str | None = None,
        progress: bool | Progress = True,
    ) -> None:
        if not isinstance(model, nn.Module | Model | str | Path):
            raise UsageError("no network", expected="an nn.Module, or a model by name", got=type(model).__name__)
        self._progress = progress_of(progress)
        self._seed, self._data_dir, self._runs_dir = seed, folder_of(data_dir, "data"), folder_of(runs_dir, "runs")
        self._runtime = Runtime.create(str(device), precision)
        images = images_of(data, train, validation, classes, family)
        is_changed = any(each is not None for each in (mean, std, name))
        if not (is_changed or isinstance(model, nn.Module) or isinstance(images, OwnData)):
            self._model = model if isinstance(model, Model) else find_model(model, self._runs_dir, self._progress)
            self._data = images
            return
        if images is None:
            is_net = isinstance(model, nn.Module)
            what = "a network in memory, and no images" if is_net else "mean=, std= or name= without data="
            raise UsageError(what, expected='data="cifar10", or data=(images, labels)')
        net = copied(model if isinstance(model, nn.Module) else self._load(model).net, mean, std)
        if runs_dir is None:
            self._runs_dir = Path(mkdtemp(prefix="sdnet-bench-"))
            finalize(self, rmtree, self._runs_dir, ignore_errors=True)
        run = self._runs_dir / check_run_name(name or "network")
        self.workbench = self._workbench(*open_guest(net, images, run, self._data_dir, self._progress))

    def take_over(self) -> Bench:
        """Lets the bench have the whole process, as a command has it: its memory, its CUDA flags, other processes."""
        self._runtime = self._runtime.take_over()
        return self

    def _load(self, model: Model | str | Path) -> Model:
        if isinstance(model, Model):
            return model
        return load_model(model, runs_dir=self._runs_dir, progress=self._progress)

    @cached_property
    def workbench(self) -> Workbench:
        """What the studies of the package work with; a model by name is loaded when it is needed."""
        model = self._load(self._model)
        dataset = open_dataset(self._data or model.config.dataset, self._data_dir, self._progress)
        return self._workbench(model, dataset)

    def _workbench(self, model: Model, dataset: Dataset) -> Workbench:
        folder = self._runs_dir / model.name
        return Workbench(model, dataset, folder, self._runtime, self._progress, self._seed, self._data_dir)

    def __repr__(self) -> str:
        model, runtime = self.workbench.model, self._runtime
        where = f"{self.workbench.dataset.name}, {runtime.precision} on {runtime.device}"
        return f"<Bench of {model.name} on {where}, {len(self.workbench.store)} records>"

    @contextmanager
    def _at_work(self, precision: str | None = None) -> Iterator[Workbench]:
        """The workbench in a block that measures; afterwards the run's card is brought up to date."""
        bench = self.workbench
        bench.runtime = replace(self._runtime, precision=precision or self._runtime.precision)
        try:
            with bench.runtime.computing():
                bench.store.refresh()
                yield bench
        finally:
            bench.runtime = self._runtime
        publish(bench)

    @property
    def name(self) -> str:
        """The name of the network and of its run."""
        return self.workbench.model.name

    @property
    def trained_lambda(self) -> float | None:
        """lambda_0, at which the network was trained; None without CSC-layers."""
        return self.workbench.model.trained_lambda

    @property
    def net(self) -> nn.Module:
        """The network that is measured: of one in memory the copy."""
        return self.workbench.model.net

    @property
    def folder(self) -> Path:
        """The folder of the records."""
        return self.workbench.folder

    @property
    def records(self) -> Measured:
        """All that is on record, in the order in which it was measured."""
        self.workbench.store.refresh()
        return Measured(tuple(self.workbench.store))

    @property
    def results(self) -> Results:
        """The records of these images as the numbers of tables."""
        bench = self.workbench
        found = Results.read(bench.model.folder, self._runs_dir, self._progress).on(bench.dataset.name)
        return replace(found, records=tuple(filter(self._is_of_these, found.records)))

    def _is_of_these(self, record: Record) -> bool:
        """Whether a record is of the test images of this bench: those in memory of other benches have the same name."""
        images, bench = record.images, self.workbench
        is_sure = bench.dataset.name != OWN or images.split != "test"
        return is_sure or images.digest == bench.split("test", images.limit, images.block).digest

    def _require_own_data(self, what: str) -> None:
        """A `UsageError` for what a model has one of, where the images are not those of its data set."""
        model, data = self.workbench.model, self.workbench.dataset.name
        if data != model.config.dataset:
            raise UsageError(f"{what} is of {model.name}'s own data", expected=model.config.dataset, got=data)

    def evaluate(
        self,
        corruption: Names | None = None,
        severity: Severities = "all",
        *,
        lambda_: float | str | None = None,
        per: str = "set",
        adapt: str | None = None,
        batch_size: int | None = None,
        stream: str | None = None,
        inference_steps: int | None = None,
        archive: bool = False,
        limit: int | None = None,
    ) -> Measured:
        """Accuracy on clean or corrupted test images, one record for each corruption and severity.

        Args:
            corruption: names, groups, "all" for the four noises, or "unknown"; None for clean images.
            severity: 1 to 5, several of these, "all", or "mixed": each image has its own.
            lambda_: a number, or "adaptive" for Algorithm 1; by default lambda_0.
            per: an adaptive lambda for the whole "set", or for each "image".
            adapt: adaptations with commas, such as "bn" or "median,bn:prior=16"; "lambda" is Algorithm 1.
            batch_size: images of a batch that is adapted to; 200 by default.
            stream: of an adaptation: "shuffled", "sorted" by label, "mixed" severities, or "unknown" types as well.
            inference_steps: FISTA iterations; by default as in training.
            archive: take corrupted images from the data set's -C archive.
            limit: so many images, spread evenly over the split.
        """
        wanted = Accuracy.of(corruption, severity, lambda_, per, adapt, batch_size, stream)
        if archive and not wanted.names:
            raise UsageError("an archive without a corruption", expected="--corruption gaussian, ... beside --archive")
        with self._at_work() as bench:
            images = bench.images("test", limit)
            inference = bench.inference(wanted.lambda_, steps=inference_steps, adaptation=wanted.adaptation)
            names = corruption_names(wanted.names, streams=True, family=bench.dataset.family)
            if not names:
                found = [measure_clean(bench, images, inference)]
            elif wanted.is_adaptive:
                fits = require_fits(bench, names, inference)
                found = measure_adaptive(
                    bench, images, fits, wanted.severities, per=wanted.per, archived=archive, inference=inference
                )
            else:
                found = measure_corrupted(bench, images, names, wanted.severities, inference, archived=archive)
        return Measured(tuple(found))

    def plan(self, study: str, *, limit: int | None = None, archive: bool = False) -> Plan:
        """What a table or figure needs: "table1" to "table6", "figure2", "figure3", "inference", "corruptions", ...

        `limit` is the number of test images, by default as the paper has it.
        """
        self._require_own_data("a study")
        steps = plan(self.workbench, study, StudySize.limited(limit, archived=archive))
        return Plan(tuple(steps), self.workbench, self._at_work)

    def study(self, name: str, *, limit: int | None = None, archive: bool = False) -> Measured:
        """Measures all that a table or figure needs; parameters are those of `plan`."""
        return self.plan(name, limit=limit, archive=archive).measure()

    def sweep_lambda(
        self,
        corruption: Names = "gaussian",
        severity: Severities = "all",
        *,
        lambdas: Sequence[float] = LAMBDAS,
        layers: str = "all",
        limit: int | None = None,
    ) -> Sweep:
        """Accuracy on corrupted test images at every lambda (Figure 2), for a network with CSC-layers.

        Args:
            corruption, severity, limit: of `evaluate`.
            lambdas: in the units of the normalised input, >= 0.
            layers: "all" CSC-layers, or the "stem" alone; the others then keep lambda_0.
        """
        corruption_names(corruption)  # an error for an unknown one, before the model is loaded
        severities, grid = severity_levels(severity), lambda_grid(lambdas)
        tuned: Layers = one_of(layers, "choice of layers", LAYERS)
        with self._at_work() as bench:
            images = bench.images("test", limit)
            names = corruption_names(corruption, family=bench.dataset.family)
            swept = (sweep_lambda(bench, images, name, severities, grid, layers=tuned) for name in names)
            return Sweep(tuple(record for records in swept for record in records))

    def fit_lambda(
        self,
        corruption: Names = "gaussian",
        *,
        lambdas: Sequence[float] = LAMBDAS,
        levels: Sequence[float] | None = None,
        limit: int | None = None,
        search: str = "grid",
        confidence: float = 0.95,
        tolerance: float = 1.0,
        residual: str = "norm",
        inference_steps: int | None = None,
        adapt: str | None = None,
        batch_size: int | None = None,
    ) -> Fits:
        """Lambda as a line of the residual, fitted on corrupted training images (Algorithm 1, Figure 3).

        Args:
            corruption: names, or "all" for the four noises; each has its own line.
            lambdas: that are tried.
            levels: of one corruption; by default from below severity 1 to above 5.
            limit: training images, spread evenly; by default 2000, and all of them in a race.
            search: "grid": every lambda on every image; "race": those that cannot be the best are dropped.
            confidence, tolerance: of a race; the tolerance in points of accuracy.
            residual: "norm" for the mean of |x - A z|_2, "squared" for the mean of its square.
            inference_steps, adapt, batch_size: of `evaluate`.
        """
        grid = lambda_grid(lambdas)
        is_race = one_of(search, "search", SEARCHES) == "race"
        rules = Rules(confidence, tolerance / 100)
        measure = one_of(residual, "residual", RESIDUALS)
        names = corruption_names(corruption)
        adaptation, is_lambda = adaptation_of(adapt, batch_size)
        if is_lambda:
            raise UsageError("lambda is what is fitted", expected="an adaptation that it is fitted under", got=adapt)
        if levels and len(names) > 1:
            what = "levels mean another thing for each corruption"
            raise UsageError(what, expected="one corruption beside --levels")
        self._require_own_data("a fit")
        with self._at_work() as bench:
            images = bench.images("train", limit if is_race else limit or IMAGES)
            inference, race = bench.inference(steps=inference_steps, adaptation=adaptation), rules if is_race else None
            found = [
                fit_lambda(bench, images, name, grid, levels=levels, search=race, residual=measure, inference=inference)
                for name in names
            ]
            return Fits(tuple(found))

    def attack(
        self,
        norm: str = "linf",
        eps: float | None = None,
        *,
        attack: str | None = None,
        steps: int | None = None,
        restarts: int | None = None,
        protocol: Names | None = None,
        sweep_eps: bool = False,
        lambdas: Sequence[float] = LAMBDAS,
        limit: int = 1000,
        save: bool = False,
    ) -> Measured:
        """Robust accuracy under an attack (Table 4: PGD), in float32; interrupted, it goes on where it was.

        Args:
            norm: "linf" or "l2".
            eps: the radius in pixels of [0, 1]; by default 8/255 for Linf and 0.5 for L2.
            attack: pgd, apgd-ce, apgd-dlr, apgd-t, fab, fab-t, square or autoattack; ddn (L2) or fmn (Linf), which need
                the extra minimum-norm and keep each image's radius. By default pgd, and ddn or fmn, where foolbox is
                installed, for `sweep_eps`.
            steps: by default 10 of pgd, 100 of others (more of ddn for a small eps), 5000 queries of square.
            restarts: by default 1, and 9 targets of apgd-t and fab-t.
            protocol: "transfer" (the paper's), "matched", "ensemble", "adaptive", several of these, or "all"; by
                default all for pgd, matched for the others. Beside others "adaptive" is left out where there are no
                fits of the four noises.
            sweep_eps: matched attacks at seven radii, from a quarter of eps to 16 times eps.
            lambdas: at which images are scored, and among which lambda is tuned.
            limit: test images, spread evenly.
            save: keep the adversarial images as uint8, beside the records.
        """
        if sweep_eps and (protocol or save):
            raise UsageError("--sweep-eps is matched and keeps no images", hint="Leave out --protocol and --save.")
        threat, protocols, grid = threat_of(norm, eps), protocols_of(protocol), lambda_grid(lambdas)
        name = attack or (attack_by_eps(norm) if sweep_eps else "pgd")
        setting = attack_setting(threat, steps, restarts, name=name)
        with self._at_work("float32") as bench:
            images = bench.images("test", limit)
            if sweep_eps:
                found = run_eps_sweep(bench, setting, images, grid)
            else:
                found = run_attack(bench, setting, images, protocols, grid, save=save)
        return Measured(tuple(found))

    def audit(
        self,
        norm: str = "linf",
        eps: float | None = None,
        *,
        limit: int | None = None,
        quick: bool = False,
        other: Sequence[str] = (),
    ) -> Audit:
        """What a robust accuracy is worth, by thirteen checks, in float32; written beside the records, too.

        Args:
            norm, eps: of `attack`.
            limit: test images; by default 500, and 100 where `quick`.
            quick: small budgets and no AutoAttack.
            other: networks to transfer to, by name; by default the ResNet of an SDNet and vice versa.
        """
        threat, usual = threat_of(norm, eps), QUICK if quick else FULL
        budget = usual.model_copy(update={"images": limit or usual.images})
        self._require_own_data("an audit")
        with self._at_work("float32") as bench:
            found = run_audit(bench, threat, budget, others=other)
            if bench.runtime.processes.is_main_process:
                written = write_audit(bench.folder, found)
                self._progress.note(f"written: {', '.join(map(str, written))}")
        return found

    def dictionary(self, layer: int = 1, *, atoms: int = 64) -> Atoms:
        """The first `atoms` atoms of a CSC-layer, 1 for the stem, as patches of an image (Figure 5, equation 14)."""
        with self._at_work("float32") as bench:
            return find_atoms(bench, layer, most=atoms)

    def features(
        self,
        images: Sequence[int] = (0, 1, 2, 3, 4),
        layers: Sequence[int] | None = None,
        *,
        lambda_: float | None = None,
    ) -> Features:
        """Test images, by their places in the split, and what the codes of layers rebuild of them (Figure 4).

        Layers are counted from 1, the stem, and are by default all of the chain; `lambda_` is by default lambda_0.
        """
        with self._at_work("float32") as bench:
            return rebuild_inputs(bench, images, layers, lambda_=lambda_)

    def sparsity(self, layer: int = 1, *, lambda_: float | None = None, limit: int | None = None) -> Sparsity:
        """Histograms of the codes of all CSC-layers over the test images, and of a layer to be drawn (Figure 6)."""
        with self._at_work("float32") as bench:
            return measure_sparsity(bench, layer, limit=limit, lambda_=lambda_)

    def examples(self) -> Examples:
        """Four test images, noisy and attacked, and what A z rebuilds at each lambda; kept for the page of a report."""
        with self._at_work("float32") as bench:
            found = find_examples(bench)
            self._progress.note(f"written: {write_examples(found, bench.folder)}")
        return found

    def table(self, which: int | str) -> PaperTable:
        """A table beside the paper's numbers, from what is on record: 1 to 6, or a name; see `Comparison.table`."""
        return Comparison([self.results]).table(which)

    def figure(self, which: int | str) -> Figure:
        """A figure of matplotlib: 4, 5 and 6 of the network, others from what is on record; see `Comparison.figure`.

        Nobody else holds it: `.savefig(path)` writes it.
        """
        if which == 4:
            return draw_features(self.features(), self.name).figure()
        if which == 5:
            return draw_dictionary(self.dictionary(), self.name).figure()
        if which == 6:
            return draw_sparsity(self.sparsity(), self.name).figure()
        return Comparison([self.results]).figure(which)

    def export(self, folder: Path | str) -> Bench:
        """Copies the model with parameters in bfloat16, in files of at most 16 MB, and returns the bench of the copy.

        Its clean accuracy is measured.
        """
        if self.results.in_memory:
            raise UsageError("a network in memory has no files to copy", expected="a run, or a model by name")
        with self._at_work() as bench:
            copy = export(bench, Path(folder))
        publish(copy)
        return Bench(
            copy.model,
            seed=self._seed,
            device=self._runtime.device.type,
            precision=self._runtime.precision,
            data_dir=self._data_dir,
            runs_dir=copy.folder.parent,
            progress=self._progress,
        )

    def report(self, output: Path | str = "report", format_: str | Sequence[str] = ()) -> list[Path]:
        """Writes tables and figures into a folder; see `Comparison.report`."""
        return Comparison([self.results]).report(output, format_)


def compare(
    models: Bench | str | Path | Sequence[Bench | str | Path], *, runs_dir: Path | str | None = None
) -> Comparison:
    """Benches, and models by name, side by side in tables.

    Args:
        models: benches, and names or folders of models, one or several, in the order of the lines.
        runs_dir: the folder of the runs of models by name.

    Raises:
        ModelError: a model cannot be read.
        UsageError: two networks have one name.
    """
    runs = folder_of(runs_dir, "runs")
    found = [
        model.results if isinstance(model, Bench) else Results.read(find_model(model, runs), runs)
        for model in several(models)
    ]
    names = [result.name for result in found]
    if len({*names}) < len(names):
        raise UsageError("two networks of one name", expected="Bench(..., name=...)", got=", ".join(names))
    return Comparison(found)
