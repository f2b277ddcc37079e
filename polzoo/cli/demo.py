"""``polzoo demo``: a bundled scene with glass, matched and explained in one picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from polzoo.cli.predict import DEFAULT_MODEL, check_out

if TYPE_CHECKING:
    from polzoo.data.sample import FloatMap, Sample


@click.command("demo", short_help="Match the bundled scene and save a picture.")
@click.option(
    "--out", type=click.Path(path_type=Path), default="polzoo-demo", show_default=True, help="Folder to write into."
)
@click.option("--model", default=DEFAULT_MODEL, show_default=True, help="A checkpoint: a name or a folder.")
def command(out: Path, model: str) -> None:
    """Match a rendered scene with glass whose true disparity is known, and save one picture that shows how it went."""
    check_out(out)
    from polzoo.data.files import write_all
    from polzoo.data.formats import encode_image

    pair = bundled_pair()
    found = match(model, pair)
    epe, bad = scores(found.disparity, pair)
    title = f"{model}: EPE {epe:.2f} px, bad-3 {bad:.1%}, {found.seconds:.2f} s"
    (path,) = write_all({out / "demo.png": encode_image(draw(pair, found, title))})
    click.echo(path)
    click.echo(title)


class Match(NamedTuple):
    """A disparity (H, W) in pixels, the fusion's last gate (H, W) if it has one, and the time it took."""

    disparity: FloatMap
    gate: FloatMap | None
    seconds: float


def bundled_pair() -> Sample:
    """The scene of ``benchmarks/make_demo_pair.py`` as it lies in the package."""
    from polzoo.data.formats import read_disparity, read_image, read_mask
    from polzoo.data.sample import Sample

    folder = Path(__file__).resolve().parents[1] / "assets" / "demo"
    left, right = (read_image(folder / f"{side}.png").transpose(2, 0, 1).copy() for side in ("left", "right"))
    disparity, valid = read_disparity(folder / "disparity.png")
    glass = read_mask(folder / "glass.png")
    return Sample(left, right, 1.0, disparity[None], valid[None], glass=glass[None], name="demo")


def match(model: str, pair: Sample) -> Match:
    """Run a checkpoint on the pair, recording its gate."""
    import time

    import torch

    import polzoo
    from polzoo.explain import Records
    from polzoo.predict import as_inputs, evaluating
    from polzoo.visualize import on_view

    network, records = polzoo.load(model, fuse=True), Records()
    views = (torch.from_numpy(view) for view in (pair.left, pair.right))
    inputs = as_inputs(network, *views, polarity=pair.polarity)
    start = time.perf_counter()
    with evaluating(network):
        prepared = network.prepare(inputs.left, inputs.right, recorder=records, **inputs.call)
        output = network.refine(prepared)
        seconds = time.perf_counter() - start
    gates = [maps["gate"].cpu().numpy() for maps in records.steps.values() if "gate" in maps]
    gate = on_view(gates[-1], pair.left.shape[1:], prepared.crop) if gates else None
    return Match(output.disparity[0, 0].float().cpu().numpy(), gate, seconds)


def scores(disparity: FloatMap, pair: Sample) -> tuple[float, float]:
    """(end-point error in pixels, share of pixels more than 3 px off), where the truth is known."""
    from polzoo.evaluation.metrics import EPE, Bad

    assert pair.disparity is not None and pair.valid is not None
    measured = (metric(disparity, pair.disparity[0], pair.valid[0]) for metric in (EPE(), Bad()))
    (error, known), (bad, count) = measured
    return error / known, bad / count


def draw(pair: Sample, found: Match, title: str):
    """All seven panels on one sheet, (H, W, 3) uint8."""
    import numpy as np

    from polzoo.visualize import UNKNOWN, colour, error_map, overlay, sheet, view

    assert pair.disparity is not None and pair.valid is not None and pair.glass is not None
    truth, left = pair.disparity[0], view(pair.left)
    low, high = 0.0, float(truth.max())
    panels = [
        ("left (parallel analyser)", left),
        ("right (crossed analyser)", view(pair.right)),
        (f"disparity, {low:.0f} to {high:.0f} px", colour(found.disparity, low, high)),
        ("truth", colour(truth, low, high, pair.valid[0])),
        ("error, white: 5 px and more", error_map(found.disparity, truth, pair.valid[0])),
        ("glass", overlay(left, pair.glass[0])),
    ]
    if found.gate is None:
        panels.append(("gate: this model has none", np.full_like(left, UNKNOWN)))
    else:
        panels.append(("gate, 0 to 1", colour(found.gate, 0, 1)))
    return sheet(panels, columns=4, title=title)
