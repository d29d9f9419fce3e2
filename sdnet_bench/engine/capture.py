"""A step of training that is recorded once as a CUDA graph and replayed, so that the device does not wait for Python.

One function of a batch, from the pixels to the projected weights, is run as it is, recorded and replayed. A replay
repeats the kernels of the recording on the memory of the recording. It is the function itself, because

- the batch is copied to where the recording reads it; one of another shape, a short last one, is run as it is;
- the learning rate is read from the device: before each step the scheduler's number is written into a tensor, and the
  optimiser's group holds that tensor only within the step, or the scheduler would wait for the device to read it;
- weights, moments, statistics, step sizes and the eigenvectors of `DictionaryProjection` change in place;
- nothing outlives the recording: autocast keeps no cast weights (`Runtime.autocast`), and the gradients before it are
  dropped, so that those of the recording lie in its own memory;
- what is made once is there, after eleven steps on the stream of the recording: moments, kernels, and the algorithms
  of cuDNN, which are searched for in these steps alone;
- nothing asks the host: the last of these steps is watched for that, and a module that acts after every step, as
  `HasAfterStep` does, may count in Python, so its network is not captured.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ..data import Batch
from ..errors import reason
from ..progress import Progress

WARM_UP = 11
"""Number of steps before the recording."""
COMPILED_FROM = 5_000_000_000
"""Pixels that a training passes from which compiling pays. It takes 20 s, and saves 0.56 ms of a step of 128 images of
32 x 32 (SDNet-18 of width 64 on an H200, 3.68 ms without), so 36,000 of these steps, 4.7e9 pixels, earn it back."""


class Step(Protocol):
    """Changes the weights by a batch, and returns its mean loss and how many images were classified correctly."""

    @property
    def how(self) -> str:
        """In words, for the record; nothing for a step that is run as it is written."""

    def __call__(self, batch: Batch, /) -> tuple[Tensor, Tensor]: ...


class CapturedStep:
    """A `Step` that replays another one. Off CUDA, and where that cannot be recorded, it runs the other one.

    What it returns is overwritten by the next step. A line of `progress` says why a step cannot be recorded.
    """

    def __init__(self, step: Step, optimizer: Optimizer, device: torch.device, progress: Progress) -> None:
        self._step, self._optimizer, self._progress = step, optimizer, progress
        self._rate = torch.zeros((), device=device)  # in float32, as fused optimisers read it
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
        self._graph: torch.cuda.CUDAGraph | None = None
        self._batch: Batch | None = None
        self._steps = 0

    @property
    def how(self) -> str:
        """ "captured" if steps are replayed by now, before the words of the other step."""
        return ", ".join(filter(None, ["captured" if self._graph else "", self._step.how]))

    def __call__(self, batch: Batch) -> tuple[Tensor, Tensor]:
        with self._rate_on_device():
            if self._batch is None:
                self._batch = Batch(batch.index, torch.empty_like(batch.images), torch.empty_like(batch.labels))
            if batch.images.shape != self._batch.images.shape:
                return self._step(batch)
            self._batch.images.copy_(batch.images)
            self._batch.labels.copy_(batch.labels)
            return self._advance(self._batch)

    def _advance(self, batch: Batch) -> tuple[Tensor, Tensor]:
        if self._graph is not None:
            self._graph.replay()
        elif self._stream is None:
            self._found = self._step(batch)
        elif self._steps < WARM_UP:
            self._steps += 1
            self._warm_up(batch, self._stream)
        else:
            self._record(batch, self._stream)
        return self._found

    @contextmanager
    def _rate_on_device(self) -> Iterator[None]:
        """A block in which the optimiser reads its rate, and counts its steps, on the device."""
        (group,) = self._optimizer.param_groups
        before = dict(group)
        self._rate.fill_(group["lr"])
        fast = [name for name in ("fused", "capturable") if name in group and self._rate.is_cuda]
        group |= {"lr": self._rate} | dict.fromkeys(fast, True)
        try:
            yield
        finally:
            group |= before

    def _warm_up(self, batch: Batch, stream: torch.cuda.Stream) -> None:
        """Runs a step on the stream of the recording; the last one is watched for waiting for the device."""
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream), _searching_algorithms(), warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn" if self._steps == WARM_UP else "default")
            try:
                self._found = self._step(batch)
            finally:
                torch.cuda.set_sync_debug_mode("default")
        torch.cuda.current_stream().wait_stream(stream)
        waits = [each for each in seen if "synchronizing CUDA operation" in str(each.message)]
        if waits:
            self._give_up(f"{Path(waits[0].filename).name}, line {waits[0].lineno}, waits for the device")

    def _record(self, batch: Batch, stream: torch.cuda.Stream) -> None:
        """Records a step, which does nothing yet, and replays it."""
        graph = torch.cuda.CUDAGraph()
        self._optimizer.zero_grad()
        try:  # other threads, such as one that pins memory, may go on: "thread_local"
            with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                self._found = self._step(batch)
        except RuntimeError as error:  # the end of a broken recording fails as well, and says less
            self._give_up(reason(error.__context__ or error))
            self._found = self._step(batch)
        else:
            self._graph = graph
            graph.replay()

    def _give_up(self, why: str) -> None:
        self._stream = None
        self._progress.note(f"training is not captured as a CUDA graph: {why}")


@contextmanager
def _searching_algorithms() -> Iterator[None]:
    """A block in which cuDNN looks for its fastest algorithms."""
    before, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


class Compiled:
    """A network under `torch.compile`, where so many `images` in a whole training are `COMPILED_FROM` pixels or more.

    Where it cannot be compiled, a line of `progress` says so.
    """

    def __init__(self, net: nn.Module, images: int, progress: Progress) -> None:
        self._net, self._images, self._progress = net, images, progress
        self._forward: Callable[[Tensor], Tensor] | None = None

    @property
    def is_compiled(self) -> bool:
        """Whether the network is compiled by now."""
        return self._forward not in (None, self._net)

    def __call__(self, pixels: Tensor) -> Tensor:
        return self._first(pixels) if self._forward is None else self._forward(pixels)

    def _first(self, pixels: Tensor) -> Tensor:
        """The logits of the first batch, which decides."""
        self._forward = self._net
        if self._images * pixels[0, 0].numel() >= COMPILED_FROM:
            compiled: Callable[[Tensor], Tensor] = torch.compile(self._net)
            try:
                logits = compiled(pixels)
                self._forward = compiled
                return logits
            except RuntimeError as error:
                self._progress.note(f"the network is not compiled: {reason(error)}")
        return self._forward(pixels)
