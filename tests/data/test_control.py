"""The shuffled control: whose polarization a pair gets, that nothing else changes, and that it reaches the strategy."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

import polzoo
from polzoo import checkpoint
from polzoo.data.control import Control
from polzoo.data.folder import Folder
from polzoo.data.formats import write_disparity, write_image
from polzoo.data.loader import collate
from polzoo.data.options import FolderOptions, SyntheticOptions
from polzoo.data.sample import Sample
from polzoo.data.synthetic import Synthetic
from polzoo.errors import PolzooError
from polzoo.evaluation.evaluate import evaluate, open_data
from polzoo.recipes.options import SupervisedOptions
from polzoo.recipes.supervised import Supervised

SMALL: dict[str, Any] = {"seed": 3, "height": 64, "width": 96, "max_disparity": 16.0}
SPEC = "synthetic(seed=3,length=3,height=64,width=96,max_disparity=16.0{})"
TINY = "raft-lite(hidden_dim=8,context_dim=8,feature_dim=8,width=4,corr_levels=2,corr_radius=2)+{}"
V2C = "v2c(pol_levels=2,pol_radius=2,hidden=8,gate_hidden=4)"


def synthetic(**options: Any) -> Synthetic:
    return Synthetic(SyntheticOptions(**{**SMALL, "length": 5, **options}))


@pytest.fixture(scope="module")
def model():
    """Tiny, and so that polarization matters: a fresh v2c ignores it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = polzoo.build(TINY.format(V2C)).eval()
        for weight in made.fusion.parameters():
            torch.nn.init.normal_(weight, std=0.3)
    return made


def assert_same_but_polarization(one: Sample, other: Sample) -> None:
    for field in fields(Sample):
        if field.name not in ("polarity", "intensity_left", "intensity_right"):
            np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name))


# ── whose polarization ────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.lists(st.integers(0, 10**6), min_size=2, max_size=60, unique=True).map(sorted))
def test_every_polarized_pair_lends_to_one_other(polarized: list[int]) -> None:
    control = Control("shuffled", polarized, "x")
    lenders = [control.lender(index) for index in polarized]
    assert sorted(lenders) == polarized
    assert all(lender != index for lender, index in zip(lenders, polarized, strict=True))


def test_of_a_set_of_any_length_without_listing_it() -> None:
    assert Control("shuffled", range(2**31), "x").lender(2**31 - 1) == 2**30 - 1


def test_generator_pairs_get_another_scenes_views_and_keep_everything_else() -> None:
    plain, shuffled = synthetic(), synthetic(control="shuffled")
    for index in range(5):
        one, other = shuffled[index], plain[(index + 2) % 5]
        assert_same_but_polarization(one, plain[index])
        np.testing.assert_array_equal(one.intensity_left, other.left)
        np.testing.assert_array_equal(one.intensity_right, other.right)
        assert one.polarity == 1 and plain[index].intensity_left is plain[index].intensity_right is None
    with pytest.raises(IndexError):
        shuffled[5]


def test_workers_shuffle_alike() -> None:
    data = synthetic(control="shuffled", length=3)
    loaded = DataLoader(data, batch_size=1, num_workers=1, collate_fn=list)  # pyright: ignore[reportArgumentType]
    for index, (sample,) in enumerate(loaded):
        np.testing.assert_array_equal(sample.intensity_left, data[index].intensity_left)


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Pairs of two sizes; the second has no analysers, the third is crossed-parallel."""
    rng, rows = np.random.default_rng(0), ["left,right,disparity,polarity"]
    for name, size, polarity in (
        ("a", (40, 56), "parallel-crossed"), ("b", (40, 56), "none"), ("c", (64, 48), "crossed-parallel"),
    ):  # fmt: skip
        for side in ("l", "r"):
            write_image(tmp_path / f"{name}{side}.png", rng.integers(0, 256, (*size, 3), dtype=np.uint8))
        write_disparity(tmp_path / f"{name}.pfm", np.full(size, 4, np.float32))
        rows.append(f"{name}l.png,{name}r.png,{name}.pfm,{polarity}")
    (tmp_path / "pairs.csv").write_text("\n".join(rows))
    return tmp_path / "pairs.csv"


def test_pairs_of_a_folder_have_their_own_size_and_the_lenders_polarity(album) -> None:
    plain, shuffled = (Folder(FolderOptions(path=str(album), control=control)) for control in ("none", "shuffled"))
    for index, lender in ((0, 2), (2, 0)):
        one, other = shuffled[index], plain[lender]
        assert_same_but_polarization(one, plain[index])
        assert one.polarity == other.polarity != plain[index].polarity
        for side in ("left", "right"):
            found, own, lent = getattr(one, f"intensity_{side}"), getattr(one, side), getattr(other, side)
            assert found.shape == own.shape and found.dtype == np.float32
            np.testing.assert_allclose(found.mean((1, 2)), lent.mean((1, 2)), atol=0.02)
    assert shuffled[1].intensity_left is None and shuffled[1].polarity == 0


def test_a_control_without_effect_is_refused(album) -> None:
    for options in ({"length": 1}, {"analysers": "none"}):
        with pytest.raises(PolzooError, match="control='shuffled' needs two or more pairs with analysers"):
            synthetic(control="shuffled", **options)
    lines = album.read_text().splitlines()
    album.write_text("\n".join(lines[:3]))
    with pytest.raises(PolzooError, match=r"pairs\.csv has 1"):
        Folder(FolderOptions(path=str(album), control="shuffled"))


# ── on its way to the strategy ────────────────────────────────────────────────────────────────────────────────────────


def test_a_batch_has_intensities_where_a_sample_has_them() -> None:
    plain, shuffled = synthetic(), synthetic(control="shuffled")
    assert "intensity_left" not in collate([plain[0], plain[1]])
    batch = collate([plain[0], shuffled[1]])
    own, lent = shuffled[1].left, plain[3]
    np.testing.assert_array_equal(batch["intensity_left"].numpy(), [plain[0].left, lent.left])
    np.testing.assert_array_equal(batch["intensity_right"].numpy(), [plain[0].right, lent.right])
    np.testing.assert_array_equal(batch["left"][1].numpy(), own)


def test_training_reads_the_lent_polarization(model) -> None:
    recipe = Supervised(SupervisedOptions(), model).eval()
    plain, shuffled = (collate([synthetic(control=c)[i] for i in (0, 1)]) for c in ("none", "shuffled"))
    with torch.no_grad():
        errors = [float(recipe(batch)["epe"]) for batch in (plain, shuffled)]
        given = {name: shuffled[name] for name in ("left", "right", "polarity", "intensity_left", "intensity_right")}
        by_hand = (model(**given).disparity - shuffled["disparity"]).abs().mean()
    assert errors[0] != errors[1] == pytest.approx(float(by_hand), rel=1e-5)


def test_a_model_that_reads_no_polarization_is_the_same_under_the_control() -> None:
    """Its loss, too, where no pixel's weight reads polarization."""
    rgb = Supervised(SupervisedOptions(pol_weight=0.0), polzoo.build(TINY.format("none"))).eval()
    with torch.no_grad():
        losses = [rgb(collate([synthetic(control=c)[0]])) for c in ("none", "shuffled")]
    assert losses[0] == losses[1]


def test_evaluation_reads_the_lent_polarization(model, tmp_path) -> None:
    folder = checkpoint.save(model, tmp_path / "tiny")
    found = {}
    for options in ("", ',control="shuffled"', ',analysers="none"'):
        data, name = open_data(SPEC.format(options))
        result = evaluate([f"dir:{folder}"], data, data=name, limit=1, iterations=2)
        found[options] = result["methods"][0]["regions"]["all"]["epe"]["pixels"]
        assert result["data"]["spec"] == SPEC.format(options)
    assert len(set(found.values())) == 3
    data, plain = open_data(SPEC.format(',control="shuffled"'))[0], open_data(SPEC.format(""))[0]
    sample, lender = data[0], plain[1]
    views = {"left": sample.left, "right": sample.right}
    views |= {"intensity_left": lender.left, "intensity_right": lender.right}
    with torch.no_grad():
        out = model(**{k: torch.from_numpy(v)[None] for k, v in views.items()}, polarity=1.0, iterations=2)
    error = np.abs(out.disparity[0, 0].numpy().astype(np.float64) - sample.disparity[0]).mean()
    assert found[',control="shuffled"'] == pytest.approx(error, rel=1e-5)


def test_without_analysers_the_intensities_do_not_matter(model) -> None:
    """Polarity 0: every signed difference is exactly 0, whatever lies there."""
    sample = synthetic(analysers="none")[0]
    assert sample.polarity == 0
    views = [torch.from_numpy(view)[None] for view in (sample.left, sample.right)]
    other = torch.rand(2, *views[0].shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        call = {"polarity": torch.tensor([0.0]), "iterations": 2}
        same = model(*views, **call).disparity
        lent = model(*views, intensity_left=other[0], intensity_right=other[1], **call).disparity
        assert torch.equal(same, lent)
        read = model(*views, intensity_left=other[0], intensity_right=other[1], polarity=1.0, iterations=2)
    assert not torch.equal(same, read.disparity)


def test_a_wrong_polarity_is_the_opposite_sign(model) -> None:
    """Swapping the views' intensities in place and the polarity with them is the same pixel for pixel difference."""
    sample = synthetic()[0]
    views = [torch.from_numpy(view)[None] for view in (sample.left, sample.right)]
    dark, light = (torch.full_like(views[0], value) for value in (0.2, 0.7))
    with torch.no_grad():
        right = model(*views, intensity_left=light, intensity_right=dark, polarity=1.0, iterations=2).disparity
        named = model(*views, intensity_left=dark, intensity_right=light, polarity=-1.0, iterations=2).disparity
        wrong = model(*views, intensity_left=light, intensity_right=dark, polarity=-1.0, iterations=2).disparity
    torch.testing.assert_close(right, named)
    assert not torch.allclose(right, wrong)
