"""Median time per pair, trainable form against the fused copy, side by side in one run.

    python benchmarks/speed.py --device cpu --out benchmarks/results/speed.json

The two forms take turns, so that whatever else the machine does meets both.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import torch

import polzoo
from polzoo.cards import list_models
from polzoo.evaluation.report import versions
from polzoo.model import StereoModel

SIZES = ((256, 320), (320, 736))


def seconds(model: StereoModel, views: tuple[torch.Tensor, torch.Tensor], device: str) -> float:
    start = time.perf_counter()
    with torch.inference_mode():
        model(*views)
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def compare(model: StereoModel, size: tuple[int, int], device: str, runs: int) -> dict[str, float]:
    """Medians in ms of both forms, run in turn, and the median of the ratios pair by pair."""
    forms = model, model.fuse()
    views = torch.rand(1, 3, *size, device=device), torch.rand(1, 3, *size, device=device)
    times = [[seconds(form, views, device) for form in forms] for _ in range(runs + 1)][1:]
    plain, fused = ([t[i] for t in times] for i in (0, 1))
    ratio = median(b / a for a, b in times)
    return {"plain_ms": 1000 * median(plain), "fused_ms": 1000 * median(fused), "fused_over_plain": ratio}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    models = {name: polzoo.load(name, device=arguments.device) for name in list_models()}
    models["raft (fresh weights)"] = polzoo.build("raft").eval().to(arguments.device)
    rows = [
        {"model": name, "size": f"{h}×{w}", "iterations": model.settings.iterations}
        | compare(model, (h, w), arguments.device, arguments.runs)
        for name, model in models.items()
        for h, w in SIZES
    ]
    run = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": arguments.device,
        "threads": torch.get_num_threads(),
    }
    result = {"rows": rows, "run": run | {"command": f"python {shlex.join(sys.argv)}", "versions": versions()}}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for row in rows:
        times = "plain {plain_ms:8.0f} ms   fused {fused_ms:8.0f} ms   {fused_over_plain:.2f}×".format(**row)
        print(f"{row['model']:24} {row['size']:9} {times}")


if __name__ == "__main__":
    main()
