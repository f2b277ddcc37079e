"""What a run says while it lasts: progress on stderr, ``log.jsonl``, TensorBoard's events, pictures."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from polzoo import atomic
from polzoo.data.files import write_bytes
from polzoo.recipes.config import TrainingConfig
from polzoo.recipes.events import Events
from polzoo.recipes.state import Training


class Log:
    """Every logged step is a line in ``log.jsonl`` and an event; a resumed run drops the lines it will redo.

    Files are made with the first line, so that a run that could not take a step leaves nothing behind.

    Args:
        out: folder of the run.
        run: whose losses are collected.
        start, end: steps of this part of the run.
        notes: further files of the folder, by name.
        headline: what is trained, said before the first line.
        silent: a process that writes nothing.
    """

    def __init__(
        self, out: Path, run: Training, start: int, end: int, notes: Mapping[str, str], headline: str, silent: bool
    ) -> None:
        self.out, self.run, self.start, self.end, self.silent = out, run, start, end, silent
        self.notes, self.headline = notes, headline
        self.path, self.began, self.waited, self.opened = out / "log.jsonl", time.monotonic(), 0.0, False
        self.events = Events(out, start)

    def write(self, step: int, losses: dict[str, float], norm: float, rates: list[float], waited: float) -> None:
        """``losses`` of a step with its gradient norm, learning rates and the seconds it waited for its data."""
        config: TrainingConfig = self.run.config
        self.waited += waited
        if all(map(math.isfinite, (*losses.values(), norm))):
            self.run.recent.append(losses)
        if step % config.log_every and step != config.steps:
            return
        recent = self.run.recent
        mean = {name: sum(r[name] for r in recent) / len(recent) if recent else None for name in losses}
        self.run.recent = []
        if self.silent:
            return
        pace, wait = ((total / (step - self.start)) for total in (time.monotonic() - self.began, self.waited))
        line = {"step": step, **mean, "grad_norm": norm if math.isfinite(norm) else None, "lr": rates}
        line |= {"s_per_step": pace, "wait_s": wait, "skipped": self.run.skipped, "processes": self.run.world}
        self._append(json.dumps(line) + "\n")
        scalars = {f"loss/{name}": value for name, value in mean.items() if value is not None}
        scalars |= {f"lr/{group}": rate for group, rate in enumerate(rates)}
        self.events.scalars(step, scalars | {"step/seconds": pace, "step/waited": wait, "skipped": self.run.skipped})
        shown = "  ".join(f"{name} {'-' if value is None else f'{value:.3f}'}" for name, value in mean.items())
        lost = f"  {self.run.skipped} skipped" if self.run.skipped else ""
        print(
            f"step {step}/{self.end}  {shown}{lost}  {pace:.2f} s/step  ETA {clock(pace * (self.end - step))}",
            file=sys.stderr,
            flush=True,
        )

    def picture(self, step: int, png: bytes, height: int, width: int) -> None:
        """Keep a picture of the fixed pairs, also where TensorBoard shows it."""
        write_bytes(self.out / "pictures" / f"step-{step:07d}.png", png)
        self.events.image(step, "pairs", png, height, width)

    def _append(self, line: str) -> None:
        if not self.opened:
            old = self.path.read_text(errors="replace") if self.start and self.path.exists() else ""
            whole = [line for line in old.splitlines(keepends=True) if line.endswith("\n")]  # a full disk cuts the last
            kept = [line for number, line in enumerate(whole, 1) if self._step(line, number) <= self.start]
            write_bytes(self.path, "".join(kept).encode())
            for name, text in self.notes.items():
                write_bytes(self.out / name, text.encode())
            print(self.headline, file=sys.stderr, flush=True)
            self.opened = True
        with atomic.writing(self.path), self.path.open("a") as file:
            file.write(line)

    def _step(self, line: str, number: int) -> float:
        """Of a line that was logged; beyond any step where it is damaged, for no run goes on from its log."""
        try:
            return int(json.loads(line)["step"])
        except (ValueError, KeyError, TypeError):
            print(f"polzoo: warning: line {number} of {self.path} cannot be read and is dropped", file=sys.stderr)
            return math.inf


def clock(seconds: float) -> str:
    """``3:05:09``, hours first."""
    left = int(seconds)
    return f"{left // 3600}:{left // 60 % 60:02d}:{left % 60:02d}"
