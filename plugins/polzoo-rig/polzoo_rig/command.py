"""``polzoo rig``: rectified pairs as files, and how good the calibration is. What is heavy is imported when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from polzoo_rig.plugin import UNIT

if TYPE_CHECKING:
    from polzoo.data.sample import Sample

BAYER = ("none", "RGGB", "BGGR", "GRBG", "GBRG")


def _options(command: Any) -> Any:
    """What both commands are told of a rig."""
    for given in (
        click.option("--bits", type=click.IntRange(8, 16), help="Bits of a reading; else those of the file."),
        click.option("--bayer", type=click.Choice(BAYER), default="none", help="Colours of the 2×2 blocks."),
        click.option("--unit", type=click.Choice(["m", "mm"]), default="m", help=f"Unit {UNIT}."),
        click.argument("folder", type=click.Path(path_type=Path)),
        click.argument("calibration", type=click.Path(path_type=Path)),
    ):
        command = given(command)
    return command


@click.group("rig", short_help="Rectify pairs of your own polarization rig.")
def rig() -> None:
    """From raw frames of two polarization cameras (FOLDER/left, FOLDER/right) and their CALIBRATION to pairs."""


@rig.command("rectify")
@_options
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write; must not be there.")
@click.option("--light", type=float, default=0.0, help="Angle of the light's polarization, degrees.")
@click.option("--exposure", type=float, default=1.0, help="Factor on the light of both views.")
def rectify(out: Path, light: float, exposure: float, **rig: Any) -> None:
    """Write rectified parallel/crossed pairs: a folder that the data set 'folder' and 'polzoo predict' read."""
    from polzoo import atomic
    from polzoo.data.formats import encode_image
    from polzoo.errors import PolzooError

    samples = _samples(**rig, light=light, exposure=exposure)
    if out.exists():
        raise PolzooError(f"{out} is there already; choose another folder")
    with atomic.folder(out) as work:
        for side in ("left", "right"):
            (work / side).mkdir()
        for sample in samples:
            for side in ("left", "right"):
                (work / side / f"{sample.name}.png").write_bytes(encode_image(_bytes(getattr(sample, side))))
            (work / "calib.txt").write_text(_calib(sample))
    click.echo(f'{out}: {len(samples)} pairs; polzoo data check \'folder(path="{out}",analysers="parallel-crossed")\'')


@rig.command("check")
@_options
def check(**rig: Any) -> None:
    """Say how far matched points lie from a common row after rectification, pair by pair."""
    import cv2

    from polzoo_rig.rectify import row_error

    for sample in _samples(**rig, analysers="none"):
        views = (cv2.cvtColor(_bytes(view), cv2.COLOR_RGB2GRAY) for view in (sample.left, sample.right))
        error, number = row_error(*views)
        found = f"{error:.2f} px (median |Δy| of {number} matches)" if number else "no matches"
        click.echo(f"{sample.name}  {found}")


def _samples(folder: Path, calibration: Path, **rest: Any) -> Any:
    from polzoo.spec import make_part
    from polzoo.zoo import instantiate

    given = {key: value for key, value in rest.items() if value is not None}
    return instantiate(
        "dataset", make_part("dataset", "rig", {"path": str(folder), "calibration": str(calibration), **given})
    )


def _bytes(view: Any) -> Any:
    """(3, H, W) in [0, 1] as (H, W, 3) uint8."""
    import numpy as np

    return np.ascontiguousarray((255 * view + 0.5).astype(np.uint8).transpose(1, 2, 0))


def _calib(sample: Sample) -> str:
    """The rectified camera as Middlebury's calib.txt has it, baseline in millimetres."""
    camera = sample.camera
    assert camera is not None  # the data set has rectified by it
    matrix = f"[{camera.focal} 0 {camera.cx}; 0 {camera.focal} {camera.cy}; 0 0 1]"
    return f"cam0={matrix}\ndoffs={camera.doffs}\nbaseline={1000 * camera.baseline}\n"
