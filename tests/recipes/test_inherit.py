"""Recipes made of other recipes, and changed on the command line."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import polzoo
from polzoo import cards
from polzoo.errors import PolzooError
from polzoo.recipes import config
from polzoo.recipes.inherit import flat, gather, merge, settings
from polzoo.recipes.options import SupervisedOptions
from polzoo.recipes.supervised import Supervised

MODEL = 'name = "x"\nmodel = "raft-lite"\ndata = "synthetic"\nsteps = 10\n'


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.toml").write_text(text)
    return folder


def test_a_recipe_stands_on_its_base(tmp_path):
    write(
        tmp_path,
        ground=MODEL + 'batchnorm = { "a.*" = "eval" }\n[options]\nlr = 1e-4\ngamma = 0.8\n',
        middle='base = "ground.toml"\nsteps = 20\n[options]\nlr = 2e-4\n',
        top='base = "middle.toml"\nname = "top"\nbatchnorm = { "b.*" = "train" }\n',
    )
    found = config.read(tmp_path / "top.toml")
    assert (found.name, found.steps) == ("top", 20)
    assert found.options["lr"] == 2e-4 and found.options["gamma"] == 0.8
    assert found.batchnorm == {"a.*": "eval", "b.*": "train"}


def test_a_base_by_name_and_by_a_path_from_its_own_folder(tmp_path, monkeypatch):
    (tmp_path / "deep").mkdir()
    write(tmp_path, ground=MODEL)
    write(tmp_path / "deep", top='base = "../ground.toml"\n')
    monkeypatch.chdir("/")
    assert config.read(tmp_path / "deep" / "top.toml").steps == 10
    write(tmp_path, named='base = "polstereo-nano"\nname = "mine"\n')
    assert config.read(tmp_path / "named.toml").model == config.read(config.find("polstereo-nano")).model


def test_another_source_replaces_init_as_a_whole(tmp_path):
    write(
        tmp_path,
        ground=MODEL + 'init = { recipe = "polstereo-nano", steps = 3 }\n',
        top='base = "ground.toml"\ninit = { from = "polstereo-nano" }\n',
    )
    more = config.read(tmp_path / "top.toml", {"init": {"new": ["fusion.*"]}}).init
    assert more is not None and (more.source, more.new) == ("polstereo-nano", ("fusion.*",))
    found = config.read(tmp_path / "top.toml").init
    assert found is not None and (found.source, found.recipe, found.steps) == ("polstereo-nano", None, None)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"top": 'base = "top.toml"'}, "bases come back to top.toml"),
        ({"top": 'base = "low.toml"', "low": 'base = "top.toml"'}, "bases come back to top.toml"),
        ({"top": 'base = "polstereo-nanno"'}, "did you mean 'polstereo-nano'"),
        ({"top": 'base = "lou.toml"', "low": MODEL}, "no such file.*did you mean 'low.toml'"),
        ({"top": "base = 3"}, "base is the name or the path of a recipe, not 3"),
        ({"top": 'base = "low.toml"', "low": "steps = "}, "low.toml is not valid TOML"),
    ],
)
def test_a_base_that_cannot_be(tmp_path, files, message):
    with pytest.raises(PolzooError, match=message) as error:
        config.read(write(tmp_path, **files) / "top.toml")
    assert "\n" not in str(error.value) and "top.toml" in str(error.value)


@pytest.mark.parametrize(
    ("pair", "wanted"),
    [
        ("steps=3", {"steps": 3}),
        ("options.lr=1e-4", {"options": {"lr": 1e-4}}),
        ("model=raft-lite+v2c", {"model": "raft-lite+v2c"}),
        ('model="raft"', {"model": "raft"}),
        ("init.from=some/where", {"init": {"from": "some/where"}}),
        ('freeze=["a.*", "b"]', {"freeze": ["a.*", "b"]}),
        ('thaw."backbone.*"=0.5', {"thaw": {"backbone.*": 0.5}}),
        ("summary = a = b", {"summary": "a = b"}),
    ],
)
def test_a_change_on_the_command_line(pair, wanted):
    assert settings([pair]) == wanted


def test_changes_come_together():
    assert settings(["init.new=['a']", "steps=3", "init.from=x"]) == {"init": {"new": ["a"], "from": "x"}, "steps": 3}


@pytest.mark.parametrize("pairs", [["steps"], ["=3"], ["a b=3"], ["a..b=1"], [""], ["a=1", "a=2"], ["a=1", "a.b=2"]])
def test_what_is_no_change(pairs):
    with pytest.raises(PolzooError, match="--set"):
        settings(pairs)


TABLES = st.recursive(
    st.dictionaries(st.sampled_from("abc"), st.integers(0, 3), max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("abc"), st.one_of(st.integers(0, 3), inner), max_size=3),
)


@given(TABLES, TABLES)
def test_merging_keeps_all_that_is_not_replaced(under, over):
    merged, top, bottom = flat(merge(under, over)), flat(over), flat(under)
    assert top.items() <= merged.items()
    assert all(key in top or bottom.get(key) == value for key, value in merged.items())


def test_every_shipped_recipe_is_whole(tmp_path):
    """Bases of bases apart, each can be read, and says the same when it is written and read again."""
    for name, path in cards.recipes().items():
        table = gather(path, config.find)
        changes = {} if {"model", "data", "steps"} <= table.keys() else {"model": "raft-lite", "data": "x", "steps": 9}
        found = config.read(path, changes)
        assert found.name == name or "base" not in path.read_text()
        (tmp_path / "again.toml").write_text(config.write(found))
        assert config.read(tmp_path / "again.toml") == found


def test_what_the_papers_train():
    raft, igev, pol = (config.read(config.find(n)) for n in ("raft-stereo", "selective-igev", "polarization-blueprint"))
    assert (raft.steps, raft.batch_size, raft.iterations, raft.options["lr"]) == (200_000, 8, 22, 2e-4)
    assert (raft.options["gamma_at"], raft.options["eps"], raft.warmup) == (16, 1e-8, 0.01)
    assert igev.options["max_disparity"] == 192 and igev.batchnorm["backbone.regulariser.*"] == "train"
    assert (pol.steps, pol.batch_size, pol.iterations, pol.options["lr"]) == (70_000, 8, 24, 3e-4)
    assert [pol.options[k] for k in ("glass_weight", "strict_weight", "pol_weight", "pol_lr_mult")] == [5, 0.5, 2, 5]
    for name in ("finetune-kitti", "finetune-eth3d"):
        assert config.read(config.find(name), {"model": "raft-lite"}).steps == 100_000
    pip = config.read(config.find("pip-paper"), {"model": "raft-lite"})
    assert (pip.recipe, pip.steps, pip.options["lr"], 8 * pip.batch_size) == ("pip", 50_000, 2e-4, 64)


def test_the_cap_of_cross_attention_rises_as_in_the_blueprints():
    """0.05 → 1 over 5,000 steps, all else as for the other fusions (spec "polarization" §5, §6)."""
    one, other = (config.read(config.find(name)) for name in ("crossattn-blueprint", "polarization-blueprint"))
    options = SupervisedOptions(**one.options)
    caps = [Supervised(options, polzoo.build(one.model)).alpha_cap(step) for step in (0, 2500, 5000, 70_000)]
    assert caps == pytest.approx([0.05, 0.525, 1, 1])
    assert {**one.options, "alpha_cap_warmup": 0} == other.options
    assert one.model_copy(update={k: getattr(other, k) for k in ("name", "summary", "model", "options")}) == other


def test_a_recipe_without_a_model_trains_that_of_its_checkpoint(tmp_path):
    write(tmp_path, top='name = "x"\ndata = "synthetic"\nsteps = 3\ninit = { from = "polstereo-nano" }')
    assert config.read(tmp_path / "top.toml").model.startswith("raft-lite(hidden_dim=48")
