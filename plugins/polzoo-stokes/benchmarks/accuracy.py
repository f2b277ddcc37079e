"""Does eac help a stereo model? ``python benchmarks/accuracy.py`` trains three short runs from the same weights.

The backbone of polstereo-nano, its own fusion taken away, goes on for as many steps without a fusion, with v2c, and
with eac, on the generator's scenes. eac needs DoLP and AoLP of each view, so every scene is recorded once more with the
analysers exchanged: S0 and S1 are then known, S2 is not and counts as 0.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

import polzoo
from polzoo import checkpoint
from polzoo.cli.app import main as command_line
from polzoo.data.options import SyntheticOptions
from polzoo.data.render import expose, render
from polzoo.data.sample import Sample
from polzoo.data.stokes import Stokes
from polzoo.data.synthetic import Synthetic, draw_scene
from polzoo.evaluation.evaluate import evaluate
from polzoo.registry import temporary
from polzoo.settings import Settings

STEPS, BATCH, SIZE, TESTED = 40, 4, "height=128,width=256", 40
BACKBONE = "raft-lite(width=32,hidden_dim=48,context_dim=48,feature_dim=64)"
FUSIONS = ("none", "v2c(pol_levels=2,hidden=32,gate_hidden=16)", "eac")

RECIPE = """
name = "arm"
model = '{model}'
data = 'both-analysers(seed=1,length=100000,{size})'
init = {{ from = '{start}', new = [{new}] }}
iterations = 5
steps = {steps}
batch_size = {batch}
seed = {seed}
precision = "bf16"
save_every = 100000
options = {{ lr = 4e-4, pol_lr_mult = 2.0, glass_weight = 2.0, strict_weight = 0.5, pol_weight = 0.0 }}
"""


class BothAnalysers(Synthetic):
    """The generator's scenes with ``dolp_left``, ``aolp_left``, … from both analysers before each camera."""

    def _pair(self, index: int) -> Sample:
        sample, seed = super()._pair(index), self.options.seed
        scene = draw_scene(np.random.default_rng([seed, index]), self.options)
        others = expose(scene, render(scene), -sample.polarity, np.random.default_rng([seed, index, 1]))
        found = {}
        for side, sign, seen, other in zip(
            ("left", "right"), (1, -1), (sample.left, sample.right), others, strict=True
        ):
            s1 = sign * sample.polarity * (seen - other)
            maps = Stokes(np.stack([seen + other, s1, np.zeros_like(s1)])).maps()
            found |= {f"{name}_{side}": maps[name] for name in ("dolp", "aolp")}
        return replace(sample, polarization=found)


def without_fusion(folder: Path) -> Path:
    """polstereo-nano's backbone and cell, alone."""
    nano, plain = polzoo.load("polstereo-nano"), polzoo.build(BACKBONE, Settings(iterations=5))
    plain.load_state_dict({name: x for name, x in nano.state_dict().items() if not name.startswith("fusion.")})
    return checkpoint.save(plain, folder)


def trained(fusion: str, start: Path, folder: Path, seed: int) -> Path:
    text = RECIPE.format(
        model=f"{BACKBONE}+{fusion}",
        start=f"dir:{start}",
        new="" if fusion == "none" else "'fusion.*'",
        size=SIZE,
        steps=STEPS,
        batch=BATCH,
        seed=seed,
    )
    folder.mkdir()
    (folder / "arm.toml").write_text(text, encoding="utf-8")
    code = command_line(["train", str(folder / "arm.toml"), "--out", str(folder / "run")])
    if code:
        sys.exit(code)
    return folder / "run" / "checkpoint"


def main(seed: int) -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as root, temporary("dataset", "both-analysers", BothAnalysers, SyntheticOptions):
        start = without_fusion(Path(root) / "start")
        arms = {fusion: trained(fusion, start, Path(root) / fusion.partition("(")[0], seed) for fusion in FUSIONS}
        scenes = BothAnalysers(SyntheticOptions(seed=9000, length=TESTED, height=128, width=256))
        found = evaluate([f"dir:{folder}" for folder in (start, *arms.values())], scenes, metrics=["epe", "bad"])
    print(f"{'':24}{'all: EPE':>12}{'bad-3':>8}{'glass: EPE':>14}{'bad-3':>8}")
    for name, method in zip(("before", *arms), found["methods"], strict=True):
        cells = [
            method["regions"][region][metric]["pixels"] for region in ("all", "glass") for metric in ("epe", "bad-3")
        ]
        print(f"{name.partition('(')[0]:24}{cells[0]:12.2f}{cells[1]:8.1f}{cells[2]:14.2f}{cells[3]:8.1f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
