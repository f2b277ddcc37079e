"""Checkpoints that lean on another: deltas store what differs from a base, aliases only how a target is run."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

import polzoo
from polzoo import config, delta, weights
from polzoo.checkpoint import load_folder, save, save_alias, verify
from polzoo.cli.app import main
from polzoo.config import CONFIG, FILES, WEIGHTS
from polzoo.errors import PolzooError
from polzoo.names import effective, find, follow, resolve
from polzoo.settings import Settings
from polzoo.spec import format_part

SPEC = "raft-lite(hidden_dim=8,context_dim=8,feature_dim=8,width=4,corr_levels=2,corr_radius=2)"
SETTINGS = Settings(iterations=2, schedule_steps=8)
FLASH = "flashgru(density=0.3)"


def model(cell: float = 0.0, spec: str = SPEC):
    """Seeded weights, those of the cell moved by ``cell``."""
    torch.manual_seed(0)
    made = polzoo.build(spec, SETTINGS)
    for p in made.update.parameters():
        p.data += cell * torch.rand_like(p)
    return made


@pytest.fixture(scope="module")
def shelf(tmp_path_factory) -> Path:
    """A base ``x``, its delta ``x-p1``, and the aliases ``x-flash`` and ``x-p1-flash``, in one folder."""
    root = tmp_path_factory.mktemp("shelf")
    save(model(), root / "x", dtype="float16", summary="the base")
    save(model(0.1), root / "x-p1", base=f"dir:{root / 'x'}", summary="a stage", recipe={"steps": 1})
    save_alias(root / "x-flash", f"dir:{root / 'x'}", FLASH)
    save_alias(root / "x-p1-flash", f"dir:{root / 'x-p1'}", FLASH, summary="fast")
    return root


@pytest.fixture
def here(shelf, tmp_path) -> Path:
    """A copy of the shelf, which a test may damage."""
    return shutil.copytree(shelf, tmp_path / "shelf")


def reseal(folder: Path, **changes) -> None:
    data = {**config.raw(folder), **changes}
    data.pop("seal")
    (folder / CONFIG).write_text(json.dumps({**data, "seal": config._seal(data)}))


def base_name(folder: Path) -> str | None:
    base = config.read_config(folder).base
    return base and base.name


def fails(name: str, words: str) -> None:
    """Loading raises one line with these words, and verifying says the same."""
    with pytest.raises(PolzooError, match=words) as caught:
        polzoo.load(name)
    assert "\n" not in str(caught.value)
    report = verify(name)
    assert not report.ok and re.search(words, report.checks[-1].detail)


# ---------------------------------------------------------------------------------------------------------- deltas


def test_a_delta_stores_what_differs_and_loads_as_if_it_were_whole(shelf, tmp_path):
    stored = safetensors.torch.load_file(shelf / "x-p1" / WEIGHTS)
    assert stored and all(name.startswith("update.") for name in stored)
    assert len(stored) < len(safetensors.torch.load_file(shelf / "x" / WEIGHTS))
    alone = save(model(0.1), tmp_path / "alone", dtype="float16")
    one, other = (load_folder(folder).state_dict() for folder in (shelf / "x-p1", alone))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    report = verify(str(shelf / "x-p1"))
    assert report.ok and "the tensors of x that it shares" in report.checks[2].detail


def test_written_whole_it_is_the_checkpoint_that_saving_without_a_base_gives(shelf, tmp_path):
    files = delta.whole(shelf / "x-p1")
    plain = save(model(0.1), tmp_path / "x-p1", dtype="float16", summary="a stage", recipe={"steps": 1})
    assert {name: (plain / name).read_bytes() for name in files} == files
    assert set(files) == {CONFIG, WEIGHTS} and delta.whole(plain) == {}
    hashes = {config.read_config(folder).weights_sha256 for folder in (plain, shelf / "x-p1")}
    assert hashes == {config.digest(plain / WEIGHTS)}


def test_what_is_equal_after_rounding_is_not_stored(shelf, tmp_path):
    """1e-7 is less than half a step of float16 at the weights' size, so the stage's rounded tensors are the base's."""
    near = model()
    for p in near.backbone.parameters():
        p.data.copy_(p.data.half().float() * (1 + 1e-7))
    folder = save(near, tmp_path / "near", base=str(shelf / "x"))
    assert safetensors.torch.load_file(folder / WEIGHTS) == {}
    assert verify(str(folder)).ok


def test_a_base_elsewhere_is_found_by_its_path_and_one_beside_it_moves_along(shelf, here, tmp_path):
    away = save(model(0.1), tmp_path / "away", base=str(shelf / "x"))
    assert [base_name(folder) for folder in (away, here / "x-p1")] == [f"dir:{shelf / 'x'}", "x"]
    assert verify(str(away)).ok and verify(str(here / "x-p1")).ok


def test_a_published_base_is_found_by_its_name(shelf, tmp_path, monkeypatch):
    monkeypatch.setattr("polzoo.cards.folders", lambda: {"x": shelf / "x"})
    stage = save(model(0.1), tmp_path / "stage", base="x")
    assert base_name(stage) == "x"
    assert verify(str(stage)).ok


def test_a_base_that_changed_under_its_stage_is_noticed(here):
    save(model(0.2), here / "x", dtype="float16")
    fails(f"dir:{here / 'x-p1'}", "is a delta of 'x', whose weights have changed")
    shutil.rmtree(here / "x")
    fails(f"dir:{here / 'x-p1'}", "is a delta of 'x', which is not here: unknown checkpoint 'x'")


def test_depth_is_one(here):
    stage = str(here / "x-p1")
    with pytest.raises(PolzooError, match="is a delta itself, so it is no base; take that of 'x'"):
        save(model(0.2), here / "x-p2", base=stage)
    with pytest.raises(PolzooError, match="is an alias, so it is no base"):
        save(model(0.2), here / "x-p2", base=str(here / "x-flash"))
    with pytest.raises(PolzooError, match="cannot be its own base"):
        save(model(0.2), here / "x", base=str(here / "x"))
    assert not (here / "x-p2").exists()
    for name, words in (("x-p1", "is a delta itself; a base is whole"), ("x-flash", "is an alias; a base is whole")):
        shutil.copytree(here / "x-p1", here / "second", dirs_exist_ok=True)
        reseal(here / "second", base={**config.raw(here / "x-p1")["base"], "name": name})
        fails(f"dir:{here / 'second'}", words)


def test_a_base_that_does_not_fit_is_refused(shelf, tmp_path):
    wider = model(spec=SPEC.replace("width=4", "width=6"))
    with pytest.raises(PolzooError, match=r"is no base for this model: it differs in backbone\..*save it whole"):
        save(wider, tmp_path / "new", base=str(shelf / "x"))
    with pytest.raises(PolzooError, match=r"in its base's type, float16; leave out dtype='float32'"):
        save(model(), tmp_path / "new", base=str(shelf / "x"), dtype="float32")
    with pytest.raises(PolzooError, match="unknown checkpoint 'nowhere'"):
        save(model(), tmp_path / "new", base="nowhere")
    assert not list(tmp_path.iterdir())


def test_tensors_that_are_not_the_deltas_are_refused(here):
    stage = here / "x-p1"
    stored = safetensors.torch.load_file(stage / WEIGHTS)
    stored[min(stored)] += 1
    (stage / WEIGHTS).write_bytes(weights.pack(stored))
    fails(f"dir:{stage}", "does not match the sha256")
    reseal(stage, sha256={**config.raw(stage)["sha256"], WEIGHTS: config.digest(stage / WEIGHTS)})
    fails(f"dir:{stage}", "the two together are not what its config.json describes")


@pytest.mark.parametrize("base", [{}, {"name": "x"}, {"name": "", "sha256": "0" * 64, "joined": "0" * 64}, "x"])
def test_a_base_block_that_is_incomplete(here, base):
    reseal(here / "x-p1", base=base)
    fails(f"dir:{here / 'x-p1'}", "config.json: base")


TENSORS = st.dictionaries(
    st.sampled_from("abcd"),
    st.tuples(st.sampled_from([torch.float16, torch.float32, torch.int64]), st.lists(st.integers(-2, 2), max_size=3)),
    max_size=4,
)


@given(TENSORS, st.randoms())
def test_base_and_difference_make_the_whole(drawn, random):
    """Whatever the types and shapes, scalars and empty ones among them: bit for bit, −0 and 0 apart."""
    base = {name: torch.tensor(values, dtype=dtype) for name, (dtype, values) in drawn.items()}
    base |= {"scalar": torch.tensor(1), "zero": torch.tensor([0.0])}
    changed = {name: -x if random.random() < 0.5 else x.clone() for name, x in base.items()}
    stored = weights.differing(changed, base, "it")
    assert weights.pack({**base, **stored}) == weights.pack(changed)
    assert all(weights.pack({name: x}) != weights.pack({name: base[name]}) for name, x in stored.items())
    with pytest.raises(PolzooError, match="differs in zero"):
        weights.differing({**changed, "zero": torch.zeros(2)}, base, "it")
    with pytest.raises(PolzooError, match="differs in extra"):
        weights.differing({**changed, "extra": torch.zeros(2)}, base, "it")


# --------------------------------------------------------------------------------------------------------- aliases


@pytest.mark.parametrize("name", ["x-flash", "x-p1-flash"])
def test_an_alias_is_its_target_under_its_execution(shelf, name):
    alias, target = (polzoo.load(f"dir:{shelf / one}") for one in (name, name.removesuffix("-flash")))
    assert format_part("update", alias.spec.update) == FLASH
    assert alias.spec.backbone == target.spec.backbone and alias.settings == target.settings
    assert all(torch.equal(x, target.state_dict()[name]) for name, x in alias.state_dict().items())
    assert polzoo.load(f"dir:{shelf / name}", update="dense").spec == target.spec
    assert polzoo.load(f"dir:{shelf / name}", update="flashgru").spec == alias.spec
    assert {file.name for file in (shelf / name).iterdir()} == {CONFIG, "README.md"}


def test_names_of_an_alias_lead_to_the_tensors(shelf):
    name = f"dir:{shelf / 'x-flash'}"
    assert find(name) == shelf / "x-flash" and resolve(name) == shelf / "x"
    found, alias = follow(shelf / "x-flash")
    assert found == shelf / "x" and alias is not None and alias.alias.name == "x"
    assert follow(shelf / "x") == (shelf / "x", None)
    shown = effective(shelf / "x-p1-flash")
    assert (shown.summary, shown.execution, shown.spec().update.name) == ("fast", FLASH, "flashgru")
    assert effective(shelf / "x") == config.read_config(shelf / "x")
    with pytest.raises(PolzooError, match="is an alias and holds no tensors"):
        config.read_config(shelf / "x-flash")


def test_verifying_an_alias_verifies_its_target(here):
    report = verify(f"dir:{here / 'x-p1-flash'}")
    assert [check.ok for check in report.checks] == [True] * 4 and report.folder == here / "x-p1-flash"
    assert "an alias of x-p1" in report.checks[0].detail and "flashgru" in report.checks[2].detail
    golden = here / "x-p1" / "golden.safetensors"
    golden.write_bytes(golden.read_bytes()[:-1] + b"\0")
    assert not verify(f"dir:{here / 'x-p1-flash'}").ok


def test_an_alias_survives_its_target_being_written_whole(here):
    for name, data in delta.whole(here / "x-p1").items():
        (here / "x-p1" / name).write_bytes(data)
    assert verify(f"dir:{here / 'x-p1-flash'}").ok


def test_a_target_that_changed_or_went_away_is_noticed(here):
    name = f"dir:{here / 'x-flash'}"
    save(model(0.2), here / "x", dtype="float16")
    fails(name, "is an alias of 'x', whose weights have changed")
    shutil.rmtree(here / "x")
    fails(name, "is an alias of 'x', which is not here")


def test_an_alias_of_an_alias_and_of_itself(here):
    with pytest.raises(PolzooError, match="is an alias itself; name the checkpoint with the tensors"):
        save_alias(here / "again", str(here / "x-flash"), FLASH)
    for target in ("x-p1-flash", "x-flash"):
        reseal(here / "x-flash", alias={**config.raw(here / "x-flash")["alias"], "name": target})
        fails(f"dir:{here / 'x-flash'}", f"is an alias of '{target}', which is an alias itself")


def test_an_execution_that_is_none_is_refused(here):
    with pytest.raises(PolzooError, match="did you mean 'flashgru'"):
        save_alias(here / "new", str(here / "x"), "flashgr")
    assert not (here / "new").exists()
    reseal(here / "x-flash", execution="flashgr")
    fails(f"dir:{here / 'x-flash'}", "did you mean 'flashgru'")


@pytest.mark.parametrize("changes", [{"alias": {}}, {"alias": 3}, {"settings": {}}, {"format": 2}, {"execution": None}])
def test_an_aliass_config_that_does_not_fit(here, changes):
    reseal(here / "x-flash", **changes)
    fails(f"dir:{here / 'x-flash'}", "config.json")


def test_a_flipped_bit_in_an_aliass_config_is_caught(here):
    file = here / "x-flash" / CONFIG
    file.write_text(file.read_text().replace("0.3", "0.4"))
    fails(f"dir:{here / 'x-flash'}", "does not match its seal")


def test_an_alias_replaces_a_checkpoint_and_nothing_else(here):
    (here / "x-p1" / "thesis.tex").write_text("years of work")
    with pytest.raises(PolzooError, match=r"thesis\.tex"):
        save_alias(here / "x-p1", str(here / "x"), FLASH)
    os.unlink(here / "x-p1" / "thesis.tex")
    save_alias(here / "x-p1", str(here / "x"), FLASH)
    assert set(os.listdir(here / "x-p1")) <= set(FILES) and polzoo.load(here / "x-p1").spec.update.name == "flashgru"


def test_list_and_info_show_them(shelf, monkeypatch, capsys):
    monkeypatch.setattr("polzoo.cards.folders", lambda: {path.name: path for path in sorted(shelf.iterdir())})
    assert main(["list", "checkpoints"]) == 0
    shown = capsys.readouterr().out
    assert "the base, run by flashgru(density=0.3)" in shown and "fast" in shown and "a stage" in shown
    assert main(["info", "x-flash"]) == 0
    assert "alias    of x, run by flashgru(density=0.3)" in capsys.readouterr().out
    assert main(["info", "x-p1"]) == 0
    assert "base     x, with which it shares" in capsys.readouterr().out
    assert polzoo.load("x-p1-flash").spec.update.name == "flashgru"
    assert main(["verify", "--all"]) == 0
