"""Memory of one inference, measured in a process that does nothing else."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import NamedTuple, TypeVar

import torch

from polzoo.errors import PolzooError
from polzoo.evaluation import machine
from polzoo.evaluation.benchmark_model import Ready
from polzoo.evaluation.benchmark_parts import Peak, Trail, watched
from polzoo.evaluation.benchmark_result import Form, Setting
from polzoo.memory import LivePeak, peak, size

T = TypeVar("T")


class Footprint(NamedTuple):
    """Bytes: of the weights, of live tensors at most besides weights and pair, of the process at most, and by part."""

    weights: int
    peak: int
    resident: int | None
    parts: dict[Trail, int]


def fresh(function: Callable[..., T], *args: object) -> T:
    """``function(*args)`` in a new process, both importable by name; its errors arrive here."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(function, *args).result()
        except BrokenProcessPool as error:
            raise PolzooError("the process that measures memory was killed; most likely memory ran out") from error


def footprint(text: str, form: Form, setting: Setting, iterations: int | None) -> Footprint:
    """Memory of one inference of a model; see :class:`Ready`. A compiled form is measured as such on a GPU only."""
    torch.set_num_threads(setting.threads)
    ready = Ready(text, form, setting, iterations)
    weights = size([*ready.model.parameters(), *ready.model.buffers()])
    if setting.device.startswith("cuda"):
        with torch.no_grad():
            ready.run()  # the first call allocates what stays: libraries' workspaces, a compiled graph
        return Footprint(weights, peak(ready.run, torch.device(setting.device)), machine.resident(), {})
    with torch.no_grad(), LivePeak() as counter, watched(ready.model, Peak(counter)) as parts:
        ready.plain_run()
    return Footprint(weights, counter.most, machine.resident(), parts)
