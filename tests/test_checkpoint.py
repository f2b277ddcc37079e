"""The checkpoint folder: what is written is what is read, and nothing else is."""

import json
import os
import pickle
import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

import polzoo
from polzoo import checkpoint, config, golden, names, weights, zoo
from polzoo import spec as specs
from polzoo.cards import Checkpoint
from polzoo.checkpoint import load_folder, save, verify
from polzoo.config import EVAL, FILES, GOLDEN, HASHED, PICTURE, WEIGHTS
from polzoo.errors import PolzooError
from polzoo.interfaces import Fusion
from polzoo.options import Options
from polzoo.settings import InputBlock, Settings

torch.set_num_threads(1)

SPEC = (
    "raft-lite(hidden_dim=8,context_dim=8,feature_dim=8,width=4,corr_levels=2,corr_radius=2)"
    "+v2c(pol_levels=2,pol_radius=2,hidden=8,gate_hidden=4)"
)
SETTINGS = Settings(
    iterations=2, schedule_steps=4, alpha_cap=0.5, input=InputBlock(needs="pair", analysers="crossed-parallel")
)


def fresh():
    torch.manual_seed(0)
    model = polzoo.build(SPEC, SETTINGS)
    for x in model.state_dict().values():  # nothing at a default: zeros would hide mistakes
        x.add_(torch.rand_like(x) * 0.01) if x.is_floating_point() else x.add_(3)
    return model


@pytest.fixture(scope="module")
def model():
    return fresh()


@pytest.fixture(scope="module")
def original(model, tmp_path_factory) -> Path:
    return save(model, tmp_path_factory.mktemp("ck") / "ck", summary="a test", recipe={"steps": 1})


@pytest.fixture
def folder(original, tmp_path) -> Path:
    return shutil.copytree(original, tmp_path / "ck")


def reseal(folder: Path, **changes) -> None:
    """Change the config as one who knows the format would, hashes and seal included."""
    data = {**config.raw(folder), **changes}
    data.pop("seal")
    data["sha256"] = {name: config.digest(folder / name) for name in HASHED if (folder / name).exists()}
    (folder / "config.json").write_text(json.dumps({**data, "seal": config._seal(data)}), encoding="utf-8")


def put(folder: Path, tensors: dict) -> None:
    (folder / WEIGHTS).write_bytes(safetensors.torch.save(tensors))
    reseal(folder)


def one_line(caught) -> str:
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ------------------------------------------------------------------------------------------------------ round trip


def test_round_trip_is_bit_equal(model, original):
    again = load_folder(original)
    assert not again.training
    assert again.spec == model.spec and again.settings == model.settings
    for (name, a), (other, b) in zip(model.state_dict().items(), again.state_dict().items(), strict=True):
        assert name == other and a.dtype == b.dtype and torch.equal(a, b)
    assert {p.name for p in original.iterdir()} == set(FILES) - {EVAL, PICTURE}
    assert verify(f"dir:{original}").ok


def test_config_holds_everything(model, original):
    found = config.read_config(original)
    assert found.spec() == model.spec
    assert found.model == specs.to_dict(model.spec)
    assert (found.format, found.polzoo, found.dtype, found.plugins) == (1, polzoo.__version__, "float32", [])
    assert (found.summary, found.licence, found.execution) == ("a test", "MIT", None)
    assert set(found.sha256) == set(HASHED)
    assert (original / "recipe.toml").read_text() == "steps = 1\n"


def test_saving_twice_gives_the_same_bytes(model, original, tmp_path):
    again = save(model, tmp_path / "ck", summary="a test", recipe={"steps": 1})
    assert all((again / p.name).read_bytes() == p.read_bytes() for p in original.iterdir())


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_reduced_types_are_declared_and_golden_is_of_what_was_read(model, tmp_path, dtype):
    path = save(model, tmp_path / "ck", dtype=dtype)
    kept = safetensors.torch.load_file(path / WEIGHTS)
    wanted = weights.DISK_TYPES[dtype]
    assert config.read_config(path).dtype == dtype
    assert {x.dtype for x in kept.values() if x.is_floating_point()} == {wanted}
    assert any(name.endswith("num_batches_tracked") and x.dtype == torch.int64 for name, x in kept.items())
    again = load_folder(path)
    for name, x in again.state_dict().items():
        assert x.dtype in (torch.float32, torch.int64)
        assert torch.equal(x, model.state_dict()[name].to(kept[name].dtype).to(x.dtype))
    output = safetensors.torch.load_file(path / GOLDEN)
    pair, polarity = [output[n].float() / 255 for n in ("left", "right")], output["polarity"]
    with torch.inference_mode():
        mine = [m.eval()(*pair, polarity=polarity).disparity for m in (again, model)]
    assert torch.allclose(mine[0], output["disparity"], atol=1e-5)
    assert not torch.allclose(mine[1], output["disparity"], atol=1e-5)
    assert verify(str(path)).ok


def test_golden_is_small_and_as_the_settings_say(original):
    assert (original / GOLDEN).stat().st_size <= 100_000
    kept = safetensors.torch.load_file(original / GOLDEN)
    assert kept["left"].dtype == kept["right"].dtype == torch.uint8
    assert kept["polarity"].tolist() == [-1.0]
    assert not torch.equal(kept["left"], kept["right"])


def test_saving_changes_neither_model_nor_random_numbers(tmp_path):
    trained = fresh().train()
    before = {name: x.clone() for name, x in trained.state_dict().items()}
    torch.manual_seed(7)
    save(trained, tmp_path / "ck")
    load_folder(tmp_path / "ck")
    drawn = torch.rand(3)
    torch.manual_seed(7)
    assert torch.equal(drawn, torch.rand(3))
    assert trained.training
    assert all(torch.equal(x, before[name]) for name, x in trained.state_dict().items())


def test_dtype_and_device_of_load(original):
    assert next(polzoo.load(f"dir:{original}", dtype="bfloat16").parameters()).dtype == torch.bfloat16
    assert next(polzoo.load(f"dir:{original}", dtype=torch.float64).parameters()).dtype == torch.float64
    cases: list[dict[str, Any]] = [{"dtype": "int8"}, {"dtype": "floaty"}, {"device": "nowhere"}, {"device": "cuda:99"}]
    for wrong in cases:
        with pytest.raises(PolzooError) as caught:
            polzoo.load(f"dir:{original}", **wrong)
        one_line(caught)


def test_provenance_card_and_licence(model, tmp_path):
    given = {"recipe": "r", "data": ["a", "b"], "steps": 5, "parent": "p", "seed": 1}
    path = save(model, tmp_path / "ck", provenance=given, card="# Mine\n", licence="CC-BY-4.0", recipe='a = "b"\n')
    found = config.read_config(path)
    assert found.provenance.model_dump(exclude_none=True) == given
    assert found.licence == "CC-BY-4.0"
    assert (path / "README.md").read_text() == "# Mine\n"
    with pytest.raises(PolzooError, match="did you mean 'steps'"):
        save(model, tmp_path / "other", provenance={"step": 5})
    with pytest.raises(PolzooError, match="provenance"):
        save(model, tmp_path / "other", provenance={"steps": "many"})
    assert not (tmp_path / "other").exists()


def test_golden_is_computed_in_proper_float32_and_leaves_the_settings(original):
    backend: Any = torch.backends.mkldnn
    before = backend.matmul.fp32_precision
    try:
        for setting in ("bf16", before):
            backend.matmul.fp32_precision = setting
            with torch.autocast("cpu", dtype=torch.bfloat16):
                assert verify(str(original)).ok
            assert backend.matmul.fp32_precision == setting
    finally:
        backend.matmul.fp32_precision = before


# -------------------------------------------------------------------------------------------------------- operators


class Twice(Options):
    density: float = 1.0


def _operator(monkeypatch):
    from polzoo.updates.dense import Dense

    return specs.registry().temporary("update", "sparse-ish", Dense, Twice)


def test_update_overrides_and_takes_options_from_the_execution_block(model, tmp_path, monkeypatch):
    with _operator(monkeypatch):
        path = save(model, tmp_path / "ck", execution="sparse-ish(density=0.3)")
        assert config.read_config(path).execution == "sparse-ish(density=0.3)"
        assert load_folder(path).spec.update.name == "dense"
        by_name = polzoo.load(str(path), update="sparse-ish")
        assert by_name.spec.update.options == Twice(density=0.3)
        assert by_name.operator.options == Twice(density=0.3)
        assert polzoo.load(str(path), update="sparse-ish(density=0.2)").spec.update.options == Twice(density=0.2)
        report = verify(str(path), update="sparse-ish")
        assert report.ok and report.checks[-1].ok is None
        assert verify(str(path), update="dense").checks[-1].ok is True
    with pytest.raises(PolzooError, match="unknown update"):
        load_folder(path, update="densse")


def test_a_wrong_execution_block_is_not_written(model, tmp_path):
    with pytest.raises(PolzooError, match="did you mean 'dense'"):
        save(model, tmp_path / "ck", execution="dens")
    assert not list(tmp_path.iterdir())


def test_fuse_returns_the_copy(original, monkeypatch):
    monkeypatch.setattr("polzoo.model.StereoModel.fuse", lambda self: "fused", raising=False)
    monkeypatch.setattr(weights, "place", lambda *args: None)
    assert str(polzoo.load(f"dir:{original}", fuse=True)) == "fused"


# ---------------------------------------------------------------------------------------------------- what save refuses


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_neither_written_nor_read(folder, tmp_path, value):
    sick = fresh()
    sick.get_parameter("update.gru.convz.weight").data[0, 0, 0, 0] = value
    with pytest.raises(PolzooError, match=r"1 tensors hold NaN or infinite values \(update.gru.convz.weight\)"):
        save(sick, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    put(folder, sick.state_dict())
    with pytest.raises(PolzooError, match=r"update\.gru\.convz\.weight"):
        load_folder(folder)


def test_too_large_for_float16(tmp_path):
    large = fresh()
    large.get_parameter("update.gru.convz.weight").data[0] = 1e5
    with pytest.raises(PolzooError, match="float16"):
        save(large, tmp_path / "new", dtype="float16")
    save(large, tmp_path / "new", dtype="bfloat16")


def test_an_output_that_is_not_finite(tmp_path):
    wild = fresh()
    for p in wild.parameters():
        p.data.mul_(1e30)
    with pytest.raises(PolzooError, match="diverged"):
        save(wild, tmp_path / "new")
    assert not list(tmp_path.iterdir())


def test_copies_and_types_that_are_not_saved(model, tmp_path):
    fused = fresh()
    fused.__dict__["fused"] = True
    with pytest.raises(PolzooError, match="fused"):
        save(fused, tmp_path / "new")
    with pytest.raises(PolzooError, match="reduced precision"):
        save(fresh().half(), tmp_path / "new")
    with pytest.raises(PolzooError, match="did you mean 'float16'"):
        save(model, tmp_path / "new", dtype="float61")  # pyright: ignore[reportArgumentType] it is the point
    assert not list(tmp_path.iterdir())


def test_a_folder_with_anything_else_in_it_is_not_replaced(model, folder):
    (folder / "thesis.tex").write_text("years of work")
    with pytest.raises(PolzooError, match=r"thesis\.tex"):
        save(model, folder)
    assert (folder / "thesis.tex").read_text() == "years of work"
    with pytest.raises(PolzooError, match="is a file"):
        save(model, folder / "config.json")


def test_saving_through_a_link_replaces_what_it_points_to(model, folder, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    save(model, tmp_path / "link", summary="new")
    assert (tmp_path / "link").is_symlink()
    assert config.read_config(folder).summary == "new"


STEPS = [
    (Path, "write_bytes", 1),
    (Path, "write_bytes", 2),
    (Path, "write_text", 1),
    (Path, "write_text", 2),
    (os, "fsync", 1),
    (os, "rename", 1),
    (os, "rename", 2),
    (golden.safetensors, "save", 2),
]


@pytest.mark.parametrize(("where", "what", "when"), STEPS)
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), PermissionError(13, "Permission denied")])
def test_a_full_or_forbidden_disk_at_every_step_keeps_the_old(model, folder, monkeypatch, where, what, when, error):
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    call, count = getattr(where, what), 0

    def failing(*args, **kwargs):
        nonlocal count
        count += 1
        if count == when:
            if what.startswith("write"):
                call(args[0], args[1][: len(args[1]) // 2], **kwargs)
            raise error
        return call(*args, **kwargs)

    monkeypatch.setattr("polzoo.atomic._exchange", lambda *_: False)  # as where the system has no exchange
    monkeypatch.setattr(where, what, failing)
    with pytest.raises(PolzooError, match=f"cannot write .*{error.strerror}"):
        save(model, folder, summary="new")
    monkeypatch.undo()
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    assert [p.name for p in folder.parent.iterdir()] == ["ck"]


# -------------------------------------------------------------------------------------------------------- damage


@pytest.mark.parametrize("name", HASHED)
def test_a_flipped_bit_in_a_hashed_file_is_caught(folder, name):
    data = (folder / name).read_bytes()
    dice = random.Random(name)
    places = [0, 7, 8, 9, len(data) - 1, *(dice.randrange(len(data)) for _ in range(25))]
    for place in (p for p in places if p < len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 1 << dice.randrange(8)
        (folder / name).write_bytes(damaged)
        report = verify(str(folder))
        assert not report.ok and report.checks[-1].name == "hash"
        if name == WEIGHTS:
            with pytest.raises(PolzooError):
                load_folder(folder)


def test_a_flipped_bit_in_the_config_is_caught(folder):
    data = (folder / "config.json").read_bytes()
    meant = json.loads(data)
    dice = random.Random(1)
    for place in sorted({0, len(data) - 1, *(dice.randrange(len(data)) for _ in range(250))}):
        damaged = bytearray(data)
        damaged[place] ^= 1 << dice.randrange(8)
        (folder / "config.json").write_bytes(damaged)
        try:
            config.read_config(folder)
        except PolzooError as error:
            assert "\n" not in str(error)
        else:  # it says the same in other letters, such as 1E-5 for 1e-5
            assert json.loads(damaged) == meant


@pytest.mark.parametrize("name", ["config.json", WEIGHTS, GOLDEN])
def test_truncated_at_any_length(folder, name):
    data = (folder / name).read_bytes()
    dice = random.Random(2)
    for length in [0, 1, 7, 8, 9, len(data) - 1, *(dice.randrange(len(data) - 1) for _ in range(15))]:
        (folder / name).write_bytes(data[:length])
        if name == GOLDEN:
            assert not verify(str(folder)).ok
        elif name != "config.json" or length < len(data.rstrip()):
            with pytest.raises(PolzooError) as caught:
                load_folder(folder)
            one_line(caught)


@pytest.mark.parametrize("name", ["config.json", WEIGHTS, GOLDEN])
def test_missing_files(folder, name):
    (folder / name).unlink()
    if name == GOLDEN:
        report = verify(str(folder))
        assert [c.ok for c in report.checks] == [True, False] and GOLDEN in report.checks[-1].detail
    else:
        with pytest.raises(PolzooError, match=name):
            load_folder(folder)


def test_a_wrong_golden_output_fails_its_check(folder):
    kept = safetensors.torch.load_file(folder / GOLDEN)
    few = kept["disparity"].flatten()
    few[:5] += 100  # fewer than one pixel in a thousand
    (folder / GOLDEN).write_bytes(safetensors.torch.save(kept))
    reseal(folder)
    assert verify(str(folder)).ok
    kept["disparity"][..., :20] += 0.02
    (folder / GOLDEN).write_bytes(safetensors.torch.save(kept))
    reseal(folder)
    report = verify(str(folder))
    assert [check.ok for check in report.checks] == [True, True, True, False]
    (folder / GOLDEN).write_bytes(safetensors.torch.save({"left": kept["left"]}))
    reseal(folder)
    assert "does not hold" in verify(str(folder)).checks[-1].detail


# --------------------------------------------------------------------------------------------------------- config


def test_a_newer_format(folder):
    reseal(folder, format=2)
    with pytest.raises(PolzooError, match=r"format 2.*pip install -U polzoo"):
        load_folder(folder)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": "1"}, "format"),
        ({"format": 0}, "format"),
        ({"surprise": 1}, "surprise"),
        ({"settings": {"iterations": 0}}, r"settings\.iterations"),
        ({"dtype": "int8"}, "dtype"),
        ({"sha256": 3}, "sha256|model"),
        ({"model": {"backbone": {"name": "raft-light", "options": {}}}}, "did you mean 'raft-lite'"),
        ({"model": {"backbone": {"name": "raft-lite", "options": {"widht": 8}}}}, "did you mean 'width'"),
        ({"model": {"fusion": {"name": "v2c"}}}, "no backbone"),
        ({"model": {"backbone": "raft-lite", "fusion": {"name": "v9", "distribution": "polzoo-nine"}}}, "pip install"),
    ],
)
def test_configs_that_do_not_fit(folder, changes, words):
    reseal(folder, **changes)
    if "sha256" in changes:
        data = json.loads((folder / "config.json").read_text()) | changes
        (folder / "config.json").write_text(json.dumps(data))
    with pytest.raises(PolzooError, match=words) as caught:
        load_folder(folder)
    one_line(caught)


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '{"a":' * 5000, '"\\ud800"', "\x00", "1" * 5000])
def test_configs_that_are_no_object(folder, text):
    (folder / "config.json").write_text(text)
    with pytest.raises(PolzooError) as caught:
        load_folder(folder)
    one_line(caught)
    with pytest.raises(PolzooError):
        verify(str(folder))


def test_a_huge_config_is_not_parsed(folder):
    (folder / "config.json").write_text(" " * (1 << 20) + "{}")
    with pytest.raises(PolzooError, match="no config"):
        load_folder(folder)


def test_a_config_without_a_hash_of_the_weights(folder):
    data = config.raw(folder)
    data.pop("seal")
    data["sha256"] = {}
    (folder / "config.json").write_text(json.dumps({**data, "seal": config._seal(data)}))
    with pytest.raises(PolzooError, match="no sha256"):
        load_folder(folder)
    assert not verify(str(folder)).ok


class Third(Fusion):
    """A plugin's fusion."""


def test_a_plugin_is_recorded_and_asked_for_when_missing(tmp_path, monkeypatch):
    zoo_registry = specs.registry()
    with zoo_registry.temporary("fusion", "third", Third) as entry:
        theirs = replace(entry, distribution="polzoo-third", version="1.2")
        monkeypatch.setitem(zoo_registry._entries, ("fusion", "third"), theirs)
        path = save(polzoo.build(SPEC.split("+")[0] + "+third", Settings(iterations=2)), tmp_path / "ck")
        assert [p.model_dump() for p in config.read_config(path).plugins] == [
            {"distribution": "polzoo-third", "version": "1.2"}
        ]
        load_folder(path)
    with pytest.raises(PolzooError, match="pip install polzoo-third"):
        load_folder(path)


# -------------------------------------------------------------------------------------------------------- tensors


def test_every_fault_of_the_tensors_in_one_error(folder):
    kept = safetensors.torch.load_file(folder / WEIGHTS)
    gone = [name for name in kept if name.startswith("fusion.")]
    for name in gone:
        del kept[name]
    kept["update.extra"] = torch.zeros(1)
    kept["update.gru.convz.weight"] = kept["update.gru.convz.weight"][:1].clone()
    kept["update.gru.convr.weight"] = kept["update.gru.convr.weight"].half()
    kept["backbone.fnet.what"] = torch.zeros(1)
    put(folder, kept)
    with pytest.raises(PolzooError) as caught:
        load_folder(folder)
    text = one_line(caught)
    for words in (
        f"{len(gone)} missing (fusion.",
        "…)",
        "2 unexpected (",
        "update.extra",
        "1 misshapen (update.gru.convz.weight: (1, ",
        "1 of another type (update.gru.convr.weight: torch.float16 instead of torch.float32)",
    ):
        assert words in text
    assert [c.ok for c in verify(str(folder)).checks] == [True, True, False]


def test_a_counter_that_is_no_integer(folder):
    kept = safetensors.torch.load_file(folder / WEIGHTS)
    name = next(name for name in kept if name.endswith("num_batches_tracked"))
    kept[name] = kept[name].float()
    put(folder, kept)
    with pytest.raises(PolzooError, match="num_batches_tracked"):
        load_folder(folder)


# -------------------------------------------------------------------------------------------- hostile weight files


class Payload:
    """Unpickling this creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def hostile(kind: str, path: Path) -> bytes:
    good = safetensors.torch.save({"a": torch.zeros(2)})
    length = int.from_bytes(good[:8], "little")
    header = good[8 : 8 + length]
    if kind.startswith("pickle"):
        return pickle.dumps(Payload(path), protocol=int(kind[-1]))
    if kind == "torch":
        torch.save({"a": Payload(path)}, path.with_suffix(".tmp"))
        return path.with_suffix(".tmp").read_bytes()
    return {
        "empty": b"",
        "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n",
        "garbage": random.Random(3).randbytes(5000),
        "oversized header": (2**63 - 1).to_bytes(8, "little") + header,
        "header beyond the end": len(good).to_bytes(8, "little") + good[8:],
        "no json": (8).to_bytes(8, "little") + b"{nonsens" + bytes(8),
        "offsets beyond the end": good.replace(b"[0,8]", b"[0,9]"),
        "offsets overlap": good.replace(b"[0,8]", b"[4,8]"),
        "unknown type": good.replace(b'"F32"', b'"Q32"'),
        "trailing": good + b"extra",
        "truncated": good[:-1],
        "deep": (60000).to_bytes(8, "little") + b"{" + b'"a":[' * 11999 + b" " * 4 + bytes(8),
    }[kind]


KINDS = ["pickle0", "pickle2", "pickle4", "torch", "empty", "lfs", "garbage", "oversized header"]
KINDS += ["header beyond the end", "no json", "offsets beyond the end", "offsets overlap", "unknown type"]
KINDS += ["trailing", "truncated", "deep"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_safetensors_file_is_refused_and_not_executed(folder, tmp_path, kind):
    trap = tmp_path / "executed"
    data = hostile(kind, trap)
    (folder / WEIGHTS).write_bytes(data)
    with pytest.raises(PolzooError) as caught:  # its hash is wrong
        load_folder(folder)
    one_line(caught)
    reseal(folder)
    with pytest.raises(PolzooError) as caught:  # its hash is right
        load_folder(folder)
    words = {"pickle2": "pickle", "pickle4": "pickle", "torch": "zip", "lfs": "git lfs pull"}
    assert words.get(kind, "not a safetensors file") in one_line(caught)
    assert not verify(str(folder)).ok
    assert not trap.exists()


def test_a_pickle_beside_is_named_but_not_read(folder, tmp_path):
    (folder / WEIGHTS).rename(tmp_path / "weights")
    (folder / "pytorch_model.bin").write_bytes(hostile("pickle4", tmp_path / "executed"))
    with pytest.raises(PolzooError, match=r"pytorch_model\.bin is not read"):
        load_folder(folder)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("name", ["config.json", WEIGHTS, GOLDEN])
@pytest.mark.parametrize("way", ["absolute", "relative", "dangling", "loop", "folder", "pipe"])
def test_links_and_other_things_in_place_of_files(folder, tmp_path, name, way):
    shutil.move(folder / name, tmp_path / name)
    if way == "folder":
        (folder / name).mkdir()
    elif way == "pipe":
        os.mkfifo(folder / name)
    else:
        targets = {"absolute": tmp_path / name, "relative": f"../{name}", "dangling": "../gone", "loop": name}
        (folder / name).symlink_to(targets[way])
    with pytest.raises(PolzooError) as caught:
        report = verify(str(folder))
        assert name != "config.json" and not report.ok
        raise PolzooError(report.checks[-1].detail)
    one_line(caught)


def test_a_link_inside_the_folder_and_to_the_folder_are_fine(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    assert load_folder(tmp_path / "link").spec == load_folder(folder).spec


# ----------------------------------------------------------------------------------------------------------- names


@pytest.fixture
def published(original, monkeypatch, tmp_path):
    """One model card named ``toy``, another of a plugin, and a working directory with a folder ``toy`` in it."""
    cards = [Checkpoint("toy", "", "", "polzoo", original), Checkpoint("their/toy", "", "", "their", original)]
    monkeypatch.setattr("polzoo.cards.checkpoints", lambda *_: cards)
    monkeypatch.chdir(tmp_path)
    return original


def test_all_sources_of_names(published, folder, monkeypatch):
    assert names.resolve("toy") == names.resolve("their/toy") == names.resolve("toy/") == published
    for text in ("./ck", "dir:ck", f"dir:{folder}", str(folder), Path("ck"), "../" + folder.parent.name + "/ck"):
        assert names.resolve(text).resolve() == folder
    monkeypatch.setenv("HOME", str(folder.parent))
    assert names.resolve("~/ck") == names.resolve("dir:~/ck") == folder


def test_a_bare_name_is_never_the_working_directorys(published, folder):
    shutil.copytree(folder, "toy")
    assert names.resolve("toy") == published
    with pytest.raises(PolzooError, match=r"\./ck or dir:ck"):
        names.resolve("ck")
    assert checkpoint.resolve("dir:toy").resolve() != published


def test_the_folder_of_a_run_hints_at_its_checkpoint(published, folder):
    shutil.copytree(folder, "runs/x/checkpoint")
    for name in ("runs/x", "./runs/x/", "dir:runs/x"):
        with pytest.raises(PolzooError, match=r"the checkpoint of this run is (\./)?runs/x/checkpoint$"):
            names.resolve(name)


def test_a_local_folder_comes_before_the_hub(published, folder, monkeypatch):
    monkeypatch.setattr("polzoo.hub.fetch", lambda repo, revision, **_: Path(f"/hub/{repo}/{revision}"))
    assert names.find("org/name") == Path("/hub/org/name/None")
    assert names.find("hf:org/name@v1") == Path("/hub/org/name/v1")
    shutil.copytree(folder, "org/name")
    assert names.find("org/name") == Path("org/name")
    Path("org/empty").mkdir()
    with pytest.raises(PolzooError, match="hf:org/empty"):
        names.find("org/empty")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("toyy", "did you mean 'toy'"),
        ("toyy/", "did you mean 'toy'"),
        ("", "unknown checkpoint"),
        ("..", "no checkpoint"),
        ("dir:", "no folder"),
        ("dir:gone", "no folder"),
        ("./gone", "no folder"),
        ("/gone/away", "no folder"),
        ("a/b/c", "no folder"),
        ("ck/config.json", "is a file"),
        ("dir:ck/config.json", "is a file"),
        ("~nobody-here/x", "home directory"),
        ("x/" + "y" * 5000, "no usable path"),
        ("x/\x00", "no usable path"),
        ("\x00", "unknown checkpoint"),
        ("y" * 5000, "unknown checkpoint"),
    ],
)
def test_names_of_nothing(published, folder, name, words):
    with pytest.raises(PolzooError, match=words) as caught:
        polzoo.load(name)
    assert len(one_line(caught)) < 500


def test_lists(published):
    assert isinstance(zoo.list_models(), list)
