"""Compile FlashGRU's Triton kernels for several GPUs, none of which is needed, and read what the assembler made.

    python benchmarks/triton_compile.py                         six targets, every tile, fp16 and bf16: 8 minutes
    python benchmarks/triton_compile.py --targets 90 --out DIR  one target, elsewhere

Writes ``triton_compile.json`` and ``.md``: registers, shared memory, spills, tensor-core instructions, and the bytes
that the programs ask for, by a formula (``polzoo.evaluation.benchmark_flashgru_bytes``) and counted while the
interpreter runs them.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.errors import PTXASError

from polzoo.evaluation.benchmark_flashgru_bytes import Gru, counted, moved, requested
from polzoo.updates.flashgru import kernels
from polzoo.updates.flashgru.kernels import TILES, Tile

RESULTS = Path(__file__).parent / "results"
TARGETS = {  # compute capability: name, shared memory that a program may have, bytes
    80: ("A100", 163 << 10),
    86: ("RTX 30", 99 << 10),
    87: ("Orin", 163 << 10),
    89: ("RTX 40", 99 << 10),
    90: ("H100, H200", 227 << 10),
    100: ("B200", 227 << 10),
}
TYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}
KERNELS = {"gates": kernels.gates_kernel, "blend": kernels.blend_kernel, "convolve": kernels.convolve_kernel}
GRU = Gru(hidden=128, inputs=256, size=2)
ROWS, ACTIVE = 1000, 640
"""What bytes are counted for: a typical share of rows around the active ones."""

BIN = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
TENSOR_CORES = re.compile(r"\b(HMMA|HGMMA|UTC\w*MMA)\b")
SPILLS = re.compile(r"\b(?:LDL|STL)\b")


def compiled(phase: str, tile: Tile, capability: int, dtype: str) -> dict[str, Any]:
    """Registers, shared memory, spills and tensor-core instructions of one kernel; an error where there is none."""
    row: dict[str, Any] = {"capability": capability, "phase": phase, "tile": list(tile), "dtype": dtype}
    try:
        kernel = triton.compile(
            _source(phase, tile, dtype),
            target=GPUTarget("cuda", capability, 32),
            options={"num_warps": tile.warps, "num_stages": tile.stages, "enable_fp_fusion": True},
        )
    except (PTXASError, RuntimeError, ValueError) as error:  # a target that this Triton or its assembler does not know
        return row | {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
    with tempfile.NamedTemporaryFile(suffix=".cubin") as binary:
        binary.write(kernel.asm["cubin"])
        binary.flush()
        usage = _tool("cuobjdump", "-res-usage", binary.name)
        code = _tool("nvdisasm", "-c", binary.name)
    numbers = {name.lower(): int(value) for name, value in re.findall(r"\b(REG|STACK|LOCAL):(\d+)", usage)}
    return row | {
        "registers": numbers["reg"],
        "shared": kernel.metadata.shared,
        "fits": kernel.metadata.shared <= TARGETS[capability][1],
        "spilled_bytes": numbers["stack"] + numbers["local"],
        "spill_instructions": len(SPILLS.findall(code)),
        "tensor_cores": dict(Counter(TENSOR_CORES.findall(code))),
    }


def _source(phase: str, tile: Tile, dtype: str) -> ASTSource:
    """The kernel as the operator launches it: pointers from PyTorch, which are aligned, and counts not specialised."""
    kernel = KERNELS[phase]
    channels = {"INPUTS": 128, "OUTPUTS": 256} if phase == "convolve" else {"HIDDEN": GRU.hidden, "INPUTS": GRU.inputs}
    constants = {**channels, "TAPS": GRU.taps, "PRECISION": "ieee", "WIDEN": False, **tile.blocks}
    kinds = {"index": "*i32", "index_h": "*i32", "index_x": "*i32", "index_rh": "*i32", "centre": "*i64"}
    kinds |= dict.fromkeys(("rows", "active", "pitch", "nowhere", "size_class"), "i32") | dict.fromkeys(
        constants, "constexpr"
    )
    signature = {name: kinds.get(name, f"*{dtype}") for name in kernel.arg_names}
    pointers = [place for place, kind in enumerate(signature.values()) if kind.startswith("*")]
    aligned = {(place,): [["tt.divisibility", 16]] for place in pointers}
    return ASTSource(kernel, signature, constants, aligned)


def _tool(name: str, *arguments: str) -> str:
    return subprocess.run([BIN / name, *arguments], capture_output=True, text=True, check=True).stdout


def versions() -> dict[str, str]:
    release = re.compile(r"release .*, (V[\d.]+)")
    assemblers = {name: release.findall(_tool(name, "--version"))[0] for name in ("ptxas", "ptxas-blackwell")}
    return {"triton": triton.__version__, "torch": torch.__version__, **assemblers}


def traffic() -> list[dict[str, Any]]:
    """Bytes of either phase per active row under each tile, by the formula and counted."""
    out = subprocess.run(
        [sys.executable, __file__, "--count"],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found = []
    for tile, *counts in json.loads(out):
        gates = requested(GRU, ROWS, 2 * GRU.hidden, Tile(*tile), ACTIVE)
        blend = requested(GRU, ACTIVE, GRU.hidden, Tile(*tile))
        for phase, formula, number in zip(("gates", "blend"), (gates, blend), counts, strict=True):
            found.append({"phase": phase, "tile": tile, "formula": formula / ACTIVE, "counted": number / ACTIVE})
    return found


def count() -> None:
    """Print what the interpreter counts, for :func:`traffic`."""
    print(json.dumps([(tile, *counted(GRU, ROWS, ACTIVE, tile, tile)) for tile in TILES]))


def page(result: dict[str, Any]) -> str:
    """The result as Markdown: a row for each target, phase and tile, fp16 / bf16 where they differ."""
    made = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    lines = [
        "# FlashGRU's Triton kernels, compiled ahead of time",
        "",
        f"`{result['command']}`, {result['date']}; {made}. No GPU was used: **not measured on a GPU**.",
        "",
        f"State {GRU.hidden}, input {GRU.inputs} channels, 3×3; `convolve` is the head's first layer, 128 to 256 "
        "channels. fp16 / bf16 where they differ. A tile is rows × output "
        "channels × input channels of a block, warps, stages. One whose shared memory a GPU does not have is passed "
        "over there when the operator tunes itself.",
        "",
        "| target | kernel | tile | registers | shared, KiB | fits | spills, bytes | tensor cores |",
        "|---|---|---|---|---|---|---|---|",
    ]
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in result["kernels"]:
        groups.setdefault((row["capability"], row["phase"], _text(row["tile"])), []).append(row)
    for (capability, phase, tile), rows in groups.items():
        head = f"| sm_{capability} ({TARGETS[capability][0]}) | {phase} | {tile} |"
        if any("error" in row for row in rows):
            lines.append(f"{head} not supported by this Triton: {rows[0].get('error')} | | | | |")
            continue
        cells = [
            _both(row["registers"] for row in rows),
            _both(f"{row['shared'] / 1024:.1f}" for row in rows),
            _both("yes" if row["fits"] else "no" for row in rows),
            _both(row["spilled_bytes"] for row in rows),
            _both(", ".join(f"{n} {name}" for name, n in row["tensor_cores"].items()) or "none" for row in rows),
        ]
        lines.append(f"{head} {' | '.join(cells)} |")
    lines += [
        "",
        f"## Bytes per active row, fp16, {ACTIVE} active rows and {ROWS - ACTIVE} around them",
        "",
        f"Fetching every row once per launch moves {result['moved']:.0f} bytes per active row, both phases. What the "
        "programs ask for, caches not counted:",
        "",
        "| phase | tile | formula | counted by the interpreter |",
        "|---|---|---|---|",
    ]
    for row in result["bytes"]:
        lines.append(f"| {row['phase']} | {_text(row['tile'])} | {row['formula']:.1f} | {row['counted']:.1f} |")
    return "\n".join(lines) + "\n"


def _text(tile: list[int]) -> str:
    return f"{'×'.join(map(str, tile[:3]))}, {tile[3]} w, {tile[4]} s"


def _both(values: Any) -> str:
    return " / ".join(dict.fromkeys(map(str, values)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", type=int, nargs="+", choices=TARGETS, default=list(TARGETS))
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--count", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.count:
        return count()
    rows = []
    for capability in given.targets:
        rows += [compiled(phase, tile, capability, dtype) for phase in KERNELS for tile in TILES for dtype in TYPES]
        print(f"sm_{capability}: {sum('error' not in row for row in rows if row['capability'] == capability)} kernels")
    result = {
        "command": "python benchmarks/triton_compile.py",
        "date": datetime.now(UTC).date().isoformat(),
        "versions": versions(),
        "kernels": rows,
        "moved": moved(GRU, ACTIVE, ROWS, ROWS + (ROWS - ACTIVE)) / ACTIVE,
        "bytes": traffic(),
    }
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "triton_compile.json").write_text(json.dumps(result, indent=1) + "\n")
    (given.out / "triton_compile.md").write_text(page(result))
    print(given.out / "triton_compile.md")


if __name__ == "__main__":
    main()
