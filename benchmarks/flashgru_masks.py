"""A picture of where FlashGRU works on the bundled pair: one panel per importance and density.

python benchmarks/flashgru_masks.py --out docs/flashgru-masks.jpg
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
import torch

import polzoo
from polzoo.data.files import write_bytes
from polzoo.predict import as_image

DEMO = Path(polzoo.__file__).parent / "assets" / "demo"
COLOURS = ((214, 60, 20), (235, 170, 60))
"""Of the active pixels, and of those around them whose reset gate they read."""


@click.command()
@click.option("--model", default="polstereo-nano", show_default=True)
@click.option("--importance", "importances", multiple=True, default=("gradient", "motion", "gate"))
@click.option("--density", "densities", multiple=True, type=float, default=(0.1, 0.3))
@click.option("--out", type=click.Path(path_type=Path), required=True)
def main(model: str, importances: tuple[str, ...], densities: tuple[float, ...], out: Path) -> None:
    """Draw the masks, and say what share of the grid every stage worked on."""
    left, right = (as_image(DEMO / f"{side}.png", side) for side in ("left", "right"))
    views = [torch.from_numpy(np.ascontiguousarray(view))[None].float() for view in (left, right)]
    rows = []
    for density in densities:
        panels = []
        for source in importances:
            update = f'flashgru(density={density},importance="{source}",backend="sparse")'
            network: Any = polzoo.load(model, update=update)
            with torch.inference_mode():
                at = network(*views, iterations=2).state.sites
            shares = network.operator.shares(at, network.update, network.fusion.reach)
            click.echo(f"{source:9} {density:4.0%}  " + ", ".join(f"{k} {v:.0%}" for k, v in shares.items()))
            panels.append(panel(left, at.book, f"{source}, {density:.0%}"))
        rows.append(np.hstack(panels))
    write_bytes(out, cv2.imencode(out.suffix, np.vstack(rows)[..., ::-1])[1].tobytes())


def panel(left: np.ndarray, book: Any, title: str) -> np.ndarray:
    """The grey left view (H, W, 3) with the cells of the mask and of its ring in colour."""
    height, width = left.shape[-2:]
    grey = np.repeat((255 * left.mean(0)).astype(np.uint8)[..., None], 3, 2)
    _, h, w = book.shape
    cells = np.zeros(h * w, np.uint8)
    cells[book.ids(1).numpy()], cells[book.ids(0).numpy()] = 2, 1
    cells = cv2.resize(cells.reshape(h, w), None, fx=4, fy=4, interpolation=cv2.INTER_NEAREST)
    top, side = (cells.shape[0] - height) // 2, (cells.shape[1] - width) // 2
    cells = cells[top : top + height, side : side + width]
    for value, colour in enumerate(COLOURS, 1):
        grey[cells == value] = (0.45 * grey[cells == value] + 0.55 * np.array(colour)).astype(np.uint8)
    cv2.putText(grey, title, (8, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 3, cv2.LINE_AA)
    cv2.putText(grey, title, (8, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (20, 20, 20), 1, cv2.LINE_AA)
    return grey


if __name__ == "__main__":
    main()
