"""What a benchmark found, as typed records that go to JSON and come back. Imports no torch."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from polzoo.data.files import read_bytes
from polzoo.errors import PolzooError, one_line
from polzoo.evaluation import machine, report

FORMAT = 1

Form = Literal["inference", "compiled", "plain"]
DType = Literal["float32", "float16", "bfloat16"]


class Record(BaseModel):
    """A frozen record that refuses what it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Setting(Record):
    """How a benchmark runs: batch 1, no gradients; ``rounds`` count after ``warmup`` that do not; ``images``, left and
    right, are resized."""

    height: int = 320
    width: int = 736
    device: str = "cpu"
    dtype: DType = "float32"
    threads: int = 2
    rounds: int = 5
    warmup: int = 1
    compile: bool = False
    seed: int = 0
    images: tuple[str, str] | None = None


class Spread(Record):
    """Several measurements of one thing."""

    median: float
    p95: float
    least: float
    most: float
    each: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """``p95`` interpolates linearly between the values on both sides, as numpy does by default."""
        ranked = sorted(values)
        place = 0.95 * (len(ranked) - 1)
        low, part = ranked[int(place)], place - int(place)
        p95 = low + part * (ranked[min(int(place) + 1, len(ranked) - 1)] - low)
        return cls(median=statistics.median(ranked), p95=p95, least=ranked[0], most=ranked[-1], each=tuple(values))

    @classmethod
    def ratio(cls, one: Spread, other: Spread) -> Spread:
        """one / other, round by round."""
        return cls.of([a / b for a, b in zip(one.each, other.each, strict=True)])


class Part(Record):
    """A method or module of a model: median ms (wall, CPU) of three runs, FLOPs, most live bytes while it ran."""

    path: tuple[str, ...]
    wall_ms: float
    cpu_ms: float
    flops: int
    peak_bytes: int | None


class Measured(Record):
    """One model. ``peak_bytes``: live tensors at most, besides weights and pair; ``resident_bytes``: the whole process.

    Memory is measured in a process of its own. ``form``: the inference copy, the same compiled, or the plain
    trainable form in float32, eager.
    """

    name: str
    spec: str
    weights: str
    form: Form
    iterations: int
    parameters: dict[str, int]
    wall_ms: Spread
    cpu_ms: Spread
    wall_ms_per_iteration: Spread
    cpu_ms_per_iteration: Spread
    flops: int
    flops_per_iteration: int
    weight_bytes: int
    peak_bytes: int
    resident_bytes: int | None
    parts: tuple[Part, ...]


class Ratios(Record):
    """The first model over the second, times round by round. ``differ_px``: of outputs that should agree, at most."""

    wall: Spread
    cpu: Spread
    peak: float
    flops: float
    parameters: float
    differ_px: float | None = None


class Run(Record):
    """When, where and how: ``load`` is the load average at the start, ``busy`` that it left too few CPUs free."""

    date: str
    command: str
    machine: str
    load: float | None
    busy: bool
    versions: dict[str, str]

    @classmethod
    def now(cls, command: str, device: str, threads: int) -> Run:
        load = machine.load()
        return cls(
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            command=command,
            machine=machine.hardware(device),
            load=load,
            busy=load is not None and load + threads > machine.cpus() + 0.5,
            versions=report.versions(),
        )


class Earlier(Record):
    """A model as another run measured it, and the file that says so."""

    file: str
    model: Measured
    run: Run


class Result(Record):
    """One model, or two that took turns; ``polzoo bench MODEL``. ``earlier`` did not take turns with it."""

    format: Literal[1] = FORMAT
    what: Literal["bench"] = "bench"
    setting: Setting
    models: tuple[Measured, ...]
    ratios: Ratios | None = None
    earlier: Earlier | None = None
    run: Run


class FusionRow(Record):
    """One fusion; ratios are over ``none`` in the same round. ``error`` says why there are no figures."""

    name: str
    parameters: int | None = None
    wall_ms: Spread | None = None
    cpu_ms: Spread | None = None
    wall: Spread | None = None
    cpu: Spread | None = None
    peak_bytes: int | None = None
    peak: float | None = None
    error: str | None = None


class FusionResult(Record):
    """Every fusion on one backbone; ``polzoo bench fusions``."""

    format: Literal[1] = FORMAT
    what: Literal["fusions"] = "fusions"
    setting: Setting
    backbone: str
    iterations: int
    rows: tuple[FusionRow, ...]
    run: Run


R = TypeVar("R", Result, FusionResult)


def text(result: Record) -> str:
    """A result as JSON."""
    return result.model_dump_json(indent=1) + "\n"


def read(path: Path, kind: type[R]) -> R:
    """A result of an earlier run; a PolzooError for a file that is not there or holds something else."""
    data: Any = read_bytes(path)
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        command = "polzoo bench MODEL" if kind is Result else "polzoo bench fusions"
        raise PolzooError(f"{path} is no result of {command} --json: {where}: {first['msg']}") from error
    except ValueError as error:
        raise PolzooError(f"{path} cannot be read: {one_line(error)}") from error
