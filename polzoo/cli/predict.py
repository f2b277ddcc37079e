"""``polzoo predict``: the disparity of one pair, in every form that people want it in."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

if TYPE_CHECKING:
    from polzoo.model import StereoModel

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
@click.option(
    "--mosaic",
    type=click.Choice(["grey", "colour"]),
    help="LEFT and RIGHT are raw frames of polarization cameras, linear and of one exposure, with Sony's layout 90 45 "
    "over 135 0: IMX250MZR (grey), MYR (colour). Each is seen through the analyser that --polarity gives it. Frames to "
    "be rectified first: polzoo.data.polarization.",
)
@click.option("--light", type=float, help="With --mosaic: the parallel angle, degrees ccw from x. [default: 0]")
@click.option(
    "--exposure",
    type=click.FloatRange(0, min_open=True),
    help="With --mosaic: factor on the light of both views. [default: 1]",
)
@click.option("--bits", type=click.IntRange(1, 16), help="With --mosaic: bits of a reading. [default: the file's]")
def command(
    left: Path,
    right: Path,
    model: str,
    out: Path,
    polarity: str | None,
    iterations: int | None,
    device: str,
    mosaic: str | None,
    light: float | None,
    exposure: float | None,
    bits: int | None,
) -> None:
    """Estimate the disparity of LEFT, matched with RIGHT: two rectified RGB pictures of one size.

    Writes a picture in colour, a 16-bit PNG (1/256 pixel, 0 where it cannot be held), a PFM and an NPY, all or none.

    The polarity belongs to the cameras: --polarity none for a pair without analysers, crossed-parallel if LEFT is the
    crossed view; with the wrong one, glass counts as its opposite. If the views are swapped, all disparities are
    negative, which is warned of.
    """
    check_out(out)
    check_given(model, left, right)
    from polzoo.data.files import write_all
    from polzoo.errors import PolzooError
    from polzoo.predict import as_polarity

    sign, camera = as_polarity(polarity), {"light": light, "exposure": exposure}
    given = {name: value for name, value in camera.items() if value is not None}
    if mosaic is not None:
        source = _mosaics((left, right), sign, mosaic, bits, **given)
    elif given or bits is not None:
        raise PolzooError(f"--{next(iter([*given, 'bits']))} is for raw frames: it needs --mosaic grey or colour")
    else:
        source = _pictures(left, right, sign)
    disparity, seconds, warnings = _run(model, source, iterations, device)
    files = _files(out / f"{left.stem}-disparity", disparity, warnings)
    written = write_all(files)
    for warning in warnings:
        click.echo(f"polzoo: warning: {warning}", err=True)
    for path in written:
        click.echo(path)
    height, width = disparity.shape
    click.echo(f"{model}: {width}×{height} in {seconds:.2f} s on {device}", err=True)


def check_given(model: str, *files: Path) -> None:
    """A PolzooError for a file or a checkpoint that is not there, before torch takes its seconds to load."""
    from polzoo.data.files import missing
    from polzoo.names import resolve

    for file in files:
        if not os.path.exists(file):
            raise missing(file)
    resolve(model)


def check_out(out: Path) -> None:
    """A PolzooError if ``out`` cannot become a folder, before anything is computed."""
    from polzoo.errors import PolzooError

    existing = next((path for path in (out, *out.parents) if os.path.exists(path)), None)
    if existing is not None and not existing.is_dir():
        raise PolzooError(f"--out {out}: {existing} is a file, not a folder")


class Given(NamedTuple):
    """What ``polzoo.predict.predict`` is called with, and what was noticed on the way there."""

    left: Any
    right: Any
    call: dict[str, Any]
    warnings: list[str]


Source = Callable[["StereoModel"], Given]


def _pictures(left: Path, right: Path, sign: float | None) -> Source:
    """Two RGB pictures, read now; the same for any model."""
    import numpy as np

    from polzoo.predict import as_image

    first, second = (np.ascontiguousarray(as_image(path).transpose(1, 2, 0)) for path in (left, right))
    return lambda _: Given(first, second, {"polarity": sign}, [])


def _mosaics(paths: tuple[Path, Path], sign: float | None, kind: str, bits: int | None, **light: float) -> Source:
    """Two raw frames, read now; what is made of them is what the model wants."""
    from polzoo.data.polarization import as_views, read_mosaics
    from polzoo.settings import POLARITY

    left, right = read_mosaics(*paths, bayer="RGGB" if kind == "colour" else None, bits=bits)
    warnings = []
    for path, view in zip(paths, (left, right), strict=True):
        if view.saturated is not None and view.saturated.mean() > 1e-3:
            warnings.append(f"{view.saturated.mean():.1%} of {path} is saturated: polarization reads wrong there")

    def make(network: StereoModel) -> Given:
        wanted, needs = network.settings.input, network.fusion.needs
        own = "none" if needs == "rgb" else wanted.analysers
        analysers = own if sign is None else next(name for name, value in POLARITY.items() if value == sign)
        views = as_views(left, right, needs=needs, analysers=analysers, gamma=wanted.gamma, **light)
        call = {"polarity": views.polarity, "polarization": views.polarization}
        return Given(views.left, views.right, call, warnings)

    return make


def _run(model: str, source: Source, iterations: int | None, device: str):
    """(disparity (H, W), seconds, warnings) of a pair."""
    import time

    import polzoo
    from polzoo.predict import check_pair, predict

    network = polzoo.load(model, fuse=True, device=device)
    left, right, call, warnings = source(network)
    start = time.perf_counter()
    disparity = predict(network, left, right, iterations=iterations, **call)
    seconds = time.perf_counter() - start
    return disparity, seconds, warnings + check_pair(left.transpose(2, 0, 1), right.transpose(2, 0, 1), disparity)


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
