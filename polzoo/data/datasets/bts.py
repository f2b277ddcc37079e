"""BTS, the basic training set of Pip-Stereo: Scene Flow, CREStereo, TartanAir, Sintel, Falling Things, InStereo2K."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from polzoo.data.datasets import options as o
from polzoo.data.datasets.crestereo import CREStereo
from polzoo.data.datasets.fallingthings import FallingThings
from polzoo.data.datasets.instereo2k import InStereo2K
from polzoo.data.datasets.published import Published
from polzoo.data.datasets.sceneflow import SceneFlow
from polzoo.data.datasets.sintel import Sintel
from polzoo.data.datasets.tartanair import TartanAir
from polzoo.data.mixture import Mixture
from polzoo.errors import home

PARTS: dict[str, Callable[[str], Published]] = {
    "SceneFlow": lambda root: SceneFlow(o.SceneFlowOptions(root=root)),
    "CREStereo": lambda root: CREStereo(o.CREStereoOptions(root=root)),
    "TartanAir": lambda root: TartanAir(o.TartanAirOptions(root=root)),
    "SintelStereo": lambda root: Sintel(o.SintelOptions(root=root)),
    "FallingThings": lambda root: FallingThings(o.FallingThingsOptions(root=root)),
    "InStereo2K": lambda root: InStereo2K(o.InStereo2KOptions(root=root)),
}
"""Folder below the root → the data set in it, its training split."""


class BTS(Mixture):
    """The union of the six sets, which the paper gives no weights for: every pair is drawn equally often.

    The root holds a folder for each: ``SceneFlow/``, ``CREStereo/``, ``TartanAir/``, ``SintelStereo/``,
    ``FallingThings/``, ``InStereo2K/``. Other weights: name the sets one by one with a weight each.
    """

    def __init__(self, options: o.RootOptions) -> None:
        root = Path(home(options.root))
        super().__init__([part(str(root / folder)) for folder, part in PARTS.items()])
