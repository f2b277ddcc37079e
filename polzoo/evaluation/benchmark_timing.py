"""Time of several runs that take turns, so that whatever else the machine does meets all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch

Run = Callable[[], object]


class Sample(NamedTuple):
    """One run in milliseconds: on the clock, and on all CPUs together that this process used."""

    wall: float
    cpu: float


def order(count: int, turn: int) -> list[int]:
    """Which run goes when in a round: forwards, then backwards, so that two runs go A B, B A, A B, …"""
    return list(range(count)) if turn % 2 == 0 else list(range(count))[::-1]


def take_turns(runs: Sequence[Run], rounds: int, *, warmup: int = 1, device: str = "cpu") -> list[list[Sample]]:
    """Time every run once per round, after ``warmup`` rounds that do not count; returns [run][round].

    No gradients are kept.
    """
    samples: list[list[Sample]] = [[] for _ in runs]
    with torch.inference_mode():
        for turn in range(-warmup, rounds):
            for place in order(len(runs), turn):
                sample = clock(runs[place], device)
                if turn >= 0:
                    samples[place].append(sample)
    return samples


def clock(run: Run, device: str = "cpu") -> Sample:
    """Time one run; a GPU is waited for before and after."""
    synchronise(device)
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    synchronise(device)
    return Sample(1000 * (time.perf_counter() - wall), 1000 * (time.process_time() - cpu))


def synchronise(device: str) -> None:
    """Wait until a GPU has done what it was asked to."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch compute with so many threads, and afterwards with as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
