"""``polzoo predict``: the disparity of one pair, in every form that people want it in."""

from __future__ import annotations

import os
from pathlib import Path

import click

DEFAULT_MODEL = "polstereo-nano"
DEFAULT_OUT = "polzoo-output"


@click.command("predict", short_help="Estimate the disparity of a rectified pair.")
@click.argument("left", type=click.Path(path_type=Path))
@click.argument("right", type=click.Path(path_type=Path))
@click.option("--model", default=DEFAULT_MODEL, show_default=True, help="A checkpoint: a name or a folder.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=DEFAULT_OUT, show_default=True, help="Folder to write into."
)
@click.option("--polarity", help="Analysers: parallel-crossed, crossed-parallel, none. [default: the checkpoint's own]")
@click.option("--iterations", type=click.IntRange(1, 1000), help="Refinement steps. [default: the checkpoint's own]")
@click.option("--device", default="cpu", show_default=True, help="Where the model runs.")
def command(
    left: Path, right: Path, model: str, out: Path, polarity: str | None, iterations: int | None, device: str
) -> None:
    """Estimate the disparity of LEFT, matched with RIGHT: two rectified RGB pictures of one size.

    Writes a picture in colour, a 16-bit PNG (1/256 pixel, 0 where it cannot be held), a PFM and an NPY, all or none.
    """
    from polzoo.data.files import write_all
    from polzoo.predict import as_image, as_polarity

    check_out(out)
    sign, views = as_polarity(polarity), (as_image(left, "left"), as_image(right, "right"))
    disparity, seconds, warnings = _run(model, *views, polarity=sign, iterations=iterations, device=device)
    files = _files(out / f"{left.stem}-disparity", disparity, warnings)
    written = write_all(files)
    for warning in warnings:
        click.echo(f"polzoo: warning: {warning}", err=True)
    for path in written:
        click.echo(path)
    height, width = disparity.shape
    click.echo(f"{model}: {width}×{height} in {seconds:.2f} s on {device}", err=True)


def check_out(out: Path) -> None:
    """A PolzooError if ``out`` cannot become a folder, before anything is computed."""
    from polzoo.errors import PolzooError

    existing = next((path for path in (out, *out.parents) if os.path.exists(path)), None)
    if existing is not None and not existing.is_dir():
        raise PolzooError(f"--out {out}: {existing} is a file, not a folder")


def _run(model: str, left, right, *, polarity, iterations, device):
    """(disparity (H, W), seconds, warnings) of a pair."""
    import time

    import numpy as np

    import polzoo
    from polzoo.predict import check_pair, predict

    network = polzoo.load(model, fuse=True, device=device)
    pair = (np.ascontiguousarray(view.transpose(1, 2, 0)) for view in (left, right))
    start = time.perf_counter()
    disparity = predict(network, *pair, polarity=polarity, iterations=iterations)
    seconds = time.perf_counter() - start
    return disparity, seconds, check_pair(left, right, disparity)


def _files(stem: Path, disparity, warnings: list[str]) -> dict:
    """Path → bytes of everything that is written; adds to the warnings what a format cannot hold."""
    import numpy as np

    from polzoo.data.formats import encode_disparity, encode_image, fits_kitti
    from polzoo.visualize import colour

    lost = int(np.size(disparity) - np.count_nonzero(fits_kitti(disparity)))
    if lost:
        warnings.append(f"{lost:,} pixels outside [0, 256) have no value in the 16-bit PNG; PFM and NPY hold them")
    files = {stem.with_name(f"{stem.name}-colour.png"): encode_image(colour(disparity))}
    for suffix in (".png", ".pfm", ".npy"):
        files[stem.with_name(stem.name + suffix)] = encode_disparity(suffix, disparity)
    return files
