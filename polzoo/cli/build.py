"""``polzoo build``: a model from its spec, in numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from polzoo.cli.answer import answer, json_option

if TYPE_CHECKING:
    from polzoo.model import StereoModel

SIZE = 320, 736
"""Height and width of the memory estimate: the training crop of most stereo papers."""


@click.command("build", short_help="Build a model from its spec and show its parts and parameters.")
@click.argument("spec")
@click.option("--save", "folder", type=click.Path(path_type=Path), help="Write a checkpoint folder with fresh weights.")
@click.option(
    "--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Seed of the fresh weights."
)
@json_option
def command(spec: str, folder: Path | None, seed: int, as_json: bool) -> None:
    """Build SPEC, such as 'raft-lite+v2c', with fresh weights and show parts, parameters and memory."""
    import torch

    from polzoo.zoo import build

    torch.manual_seed(seed)
    model = build(spec)
    found = describe(model)
    if folder is not None:
        from polzoo.checkpoint import save

        provenance = {"seed": seed, "note": "fresh weights"}
        found["saved"] = str(save(model, folder, summary="fresh weights, untrained", provenance=provenance))
    answer(json.dumps(found, indent=1, ensure_ascii=False) if as_json else _text(found))


def describe(model: StereoModel) -> dict[str, Any]:
    """A model in numbers, JSON-able: parts, parameters, geometry and memory."""
    from polzoo import spec as specs
    from polzoo.errors import one_line
    from polzoo.memory import estimate

    modules = {"backbone": model.backbone, "fusion": model.fusion, "update": model.operator}
    parts = [
        {"kind": kind, **part, "class": f"{type(modules[kind]).__module__}.{type(modules[kind]).__qualname__}"}
        for kind, part in specs.to_dict(model.spec).items()
    ]
    weighty = {"backbone": model.backbone, "fusion": model.fusion, "update cell": model.update}
    counts = {name: sum(p.numel() for p in module.parameters()) for name, module in weighty.items()}
    try:
        memory: dict[str, Any] = estimate(model, *SIZE)._asdict()
    except Exception as error:  # a component that reads values cannot be measured by shapes alone
        memory = {"error": one_line(error, 120)}
    host = model.backbone.host
    execution = getattr(model.operator, "execution", None)
    return {
        "spec": specs.format(model.spec),
        "parts": parts,
        **({} if execution is None else {"execution": execution(model.update, next(model.parameters()).device)}),
        "parameters": {**counts, "total": sum(p.numel() for p in model.parameters())},
        "stride": host.stride,
        "multiple": model.backbone.multiple,
        "lookup": {"backbone": len(host.lookup), "read by the cell": model.fusion.lookup_dim()},
        "passes": model.fusion.passes,
        "memory": {"height": SIZE[0], "width": SIZE[1], **memory},
    }


def _text(found: dict[str, Any]) -> str:
    """The same as a table."""
    lines = [found["spec"], ""]
    for part in found["parts"]:
        options = ", ".join(f"{key}={json.dumps(value)}" for key, value in part["options"].items())
        lines += [f"{part['kind']:12}  {part['name']} ({part['class']})"]
        lines += [f"{'':12}  {options}"] * bool(options)
    if "execution" in found:
        lines += [f"{'execution':12}  {found['execution']}"]
    width = len(f"{found['parameters']['total']:,}")
    lines += ["", "parameters"]
    lines += [f"  {name:12}{count:>{width},}" for name, count in found["parameters"].items()]
    lookup = found["lookup"]
    lines += ["", f"stride        {found['stride']} (images are padded to a multiple of {found['multiple']})"]
    lines += [f"lookup        {lookup['backbone']} channels, {lookup['read by the cell']} read by the cell"]
    lines += [f"passes        {found['passes']}"] * (found["passes"] > 1)
    lines += [f"memory        {_memory(found['memory'])}"]
    if "saved" in found:
        lines += [f"saved         {found['saved']}"]
    return "\n".join(lines)


def _memory(memory: dict[str, Any]) -> str:
    size = f"{memory['height']} × {memory['width']}"
    if "error" in memory:
        return f"not estimated at {size}: {memory['error']}"
    weights, activations = (memory[key] / 1e6 for key in ("weights", "activations"))
    how = f"one pair of {size}, float32, dense; peak of live tensors, without kernels' workspace"
    return f"about {weights:,.1f} MB weights + {activations:,.1f} MB activations ({how})"
