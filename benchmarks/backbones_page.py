"""The tables of docs/backbones.md, from what was measured.

cd benchmarks && python side_by_side.py --out results/speed_cpu.json        # raft and igev beside their plain forms
polzoo bench 'repvit(encoder="small")' --against igev --iterations 4 --json benchmarks/results/repvit_small.json
polzoo bench 'repvit(encoder="nano")' --size 320x640 --iterations 1 --json benchmarks/results/repvit_nano.json
polzoo bench igev --size 320x640 --iterations 32 --rounds 3 --json benchmarks/results/igev_32.json
python benchmarks/backbones_page.py                                         # puts them into the page
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from polzoo.data.files import write_bytes

ROOT = Path(__file__).resolve().parents[1]
RESULTS, PAGE = ROOT / "benchmarks" / "results", ROOT / "docs" / "backbones.md"


def page(text: str) -> str:
    """The page's text with every table made anew."""
    tables = {"speed": speed, "parts": parts, "student": student}
    return re.sub(
        r"(<!-- (\w+) -->\n).*?(<!-- end -->)",
        lambda found: found[1] + "\n".join(tables[found[2]]()) + "\n" + found[3],
        text,
        flags=re.DOTALL,
    )


def speed() -> Iterator[str]:
    """Time and peak of polzoo's inference copies over the plain forms."""
    found = read("speed_cpu")
    yield from header("backbone", "iterations", "CPU time", "plain", "ratio", "wall time", "peak", "plain", "ratio")
    for name, rows in found["models"].items():
        for row in rows:
            cpu, wall = row["cpu"], row["wall"]
            yield line(
                f"`{name}`",
                row["iterations"],
                seconds(row["cpu_ms"]),
                seconds(row["plain_cpu_ms"]),
                f"**{cpu['median']:.2f}×** ({cpu['least']:.2f} … {cpu['most']:.2f})",
                f"{wall['median']:.2f}× ({wall['least']:.2f} … {wall['most']:.2f})",
                f"{row['peak_bytes'] / 1e6:.0f} MB",
                f"{row['plain_peak_bytes'] / 1e6:.0f} MB",
                f"**{row['peak']:.2f}×**",
            )
    yield from about(found)


def parts() -> Iterator[str]:
    """CPU time by part, at the largest count."""
    yield from header("backbone", "iterations", "part", "CPU time", "plain", "share")
    for name, rows in read("speed_cpu")["models"].items():
        row = rows[-1]
        total = sum(ours for ours, _ in row["parts_cpu_ms"].values())
        for part, (ours, plain) in row["parts_cpu_ms"].items():
            yield line(f"`{name}`", row["iterations"], part, seconds(ours), seconds(plain), f"{ours / total:.0%}")


def student() -> Iterator[str]:
    """The student beside igev: frames per second, CPU time, memory, operations, parameters."""
    small, nano, igev = read("repvit_small"), read("repvit_nano"), read("igev_32")
    yield from header("model", "size", "iterations", "frames/s", "CPU time", "peak", "GFLOPs", "parameters")
    for found in (small, nano, igev):
        setting = found["setting"]
        for model in found["models"]:
            yield line(
                f"`{model['name']}`",
                f"{setting['height']}×{setting['width']}",
                model["iterations"],
                f"{1000 / model['wall_ms']['median']:.2f}",
                seconds(model["cpu_ms"]["median"]),
                f"{model['peak_bytes'] / 1e6:.0f} MB",
                f"{model['flops'] / 1e9:.1f}",
                f"{max(model['parameters'].values()):,}",
            )
    cpu = small["ratios"]["cpu"]
    yield ""
    share = f"**{cpu['median']:.2f}×** ({cpu['least']:.2f} … {cpu['most']:.2f})"
    yield f"`small` takes {share} of `igev`'s CPU time at 4 iterations."
    yield from about(nano)


def about(found: dict[str, Any]) -> Iterator[str]:
    """How something was measured."""
    setting, run = found["setting"], found["run"]
    versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
    yield ""
    yield (
        f"Medians (least … most) of {setting['rounds']} rounds, {setting['threads']} threads, {setting['dtype']}; "
        f"{run['machine']}, load {run['load']:.1f} at the start; {run['date'][:10]}; {versions}."
    )


def read(name: str) -> dict[str, Any]:
    return json.loads((RESULTS / f"{name}.json").read_text())


def header(*cells: str) -> Iterator[str]:
    yield line(*cells)
    yield "|" + "---|" * len(cells)


def line(*cells: object) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def seconds(ms: float) -> str:
    return f"{ms / 1000:.2f} s"


if __name__ == "__main__":
    write_bytes(PAGE, page(PAGE.read_text()).encode())
