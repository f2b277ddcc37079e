"""Whatever is wrong with what polzoo is given: one clear line, exit code 2, no traceback, and not a byte changed.

A :class:`Case` is one kind of bad input. ``test_bad_input`` runs each through the command line and, where there is
one, the same through the API, in a copy of the session's ``kitchen``: a folder of good and bad files.
"""

from __future__ import annotations

import errno
import hashlib
import os
import pickle
import resource
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tomli_w
import torch

import polzoo
from polzoo import atomic, checkpoint
from polzoo.cli.app import main
from polzoo.convert import from_official, read_pth
from polzoo.data.formats import write_disparity
from polzoo.data.polarization import as_views, from_angles, from_stokes, read_mosaics
from polzoo.errors import PolzooError
from polzoo.evaluation.evaluate import evaluate, open_data
from polzoo.recipes.config import find, read
from polzoo.recipes.engine import train
from polzoo.registry import registry
from polzoo.spec import parse

TINY = (
    "raft-lite(hidden_dim=8,context_dim=8,feature_dim=8,width=4,corr_levels=2,corr_radius=2)"
    "+v2c(pol_levels=2,pol_radius=2,hidden=8,gate_hidden=4)"
)
SIZE = 40, 72
GREY = np.zeros(SIZE)
DARK = from_stokes(GREY, GREY, GREY)


@dataclass(frozen=True)
class Case:
    """One kind of bad input.

    ``token`` and ``hint`` must be in the error: what was wrong, and what is allowed or nearest. ``api`` is the same
    through Python, given a tiny model. ``fault`` is what the disk does meanwhile.
    """

    id: str
    command: str
    token: str
    hint: str = ""
    api: Callable[[Any], object] | None = None
    fault: str = ""


# ------------------------------------------------------------------------------------------------- kinds of bad input


def spec(id: str, text: str, token: str, hint: str = "") -> Case:
    return Case(id, f"build {shlex.quote(text)} --save out", token, hint, lambda _: polzoo.build(text))


# What a model is made of is typed by hand: every typing error must name the word and the nearest one that exists.
SPECS = [
    spec("unknown part", "raft-lite+v2cc", "'v2cc'", "did you mean 'v2c'?"),
    spec("unknown backbone", "raft-lit", "'raft-lit'", "did you mean 'raft-lite'?"),
    spec("unknown option", "raft-lite+v2c(pol_radus=2)", "'pol_radus'", "did you mean 'pol_radius'?"),
    spec("unknown kind", "fusoin=v2c+raft-lite", "'fusoin'", "did you mean 'fusion'?"),
    spec("option of the wrong type", 'raft-lite(width="wide")', 'width="wide"', "int"),
    spec("option out of range", "raft-lite+v2c(pol_radius=-1)", "pol_radius=-1", "int, 1 to"),
    spec("option not in its list", 'raft-lite+v2c(schedule="linear")', 'schedule="linear"', "literal"),
    spec("option twice", "raft-lite(width=4,width=8)", "'width'", "give it once"),
    spec("option without quotes", "raft-lite+v2c(schedule=literal)", "'literal'", 'a string needs quotes: "literal"'),
    spec("two backbones", "raft+raft-lite", "'raft' and 'raft-lite'", "one backbone"),
    spec("no backbone", "v2c+dense", "'v2c+dense'", "no backbone in"),
    spec("unbalanced", "raft-lite(width=4", "')'", "unbalanced"),
    spec("part missing", "raft-lite++v2c", "'++'", "single '+'"),
    spec("empty", "", "empty spec", "'raft-lite'"),
    spec("hostile nesting", "raft-lite(width=" + "[" * 999, "nested", "16 deep"),
]


def sees(words: str) -> Callable[[Any], object]:
    """The same command is an unknown word to the API, too."""
    return lambda _: registry().get(*words.split())


# Names of everything else that a person types.
NAMES = [
    Case("unknown command", "predct left.png right.png", "'predct'", "did you mean 'predict'?"),
    Case("unknown flag", "predict left.png right.png --modle x", "--modle", "--model"),
    Case("missing argument", "predict left.png", "RIGHT", "polzoo predict --help"),
    Case("unknown component", "info fusion=v2cc", "'v2cc'", "did you mean 'v2c'?", sees("fusion v2cc")),
    Case("unknown kind of component", "list fusoin v2c", "'fusoin'", "'fusion'", sees("fusoin v2c")),
    Case("unknown baseline", "eval sgmb --data data.csv", "'sgmb'", "did you mean 'sgbm'?", sees("baseline sgmb")),
    Case(
        "unknown metric",
        "eval sgbm --data data.csv --metric epee",
        "'epee'",
        "did you mean 'epe'?",
        lambda _: evaluate(["sgbm"], open_data("data.csv")[0], metrics=["epee"]),
    ),
    Case(
        "unknown family",
        "convert plain.pth --family raft-sterio --out out",
        "'raft-sterio'",
        "'raft-stereo'",
        lambda _: from_official({}, "raft-sterio"),
    ),
    Case("spec with an unknown part", "eval raft-lite+v2cc --data data.csv", "'v2cc'", "did you mean 'v2c'"),
    Case("argument without a value", "convert plain.pth --arg n_gru_layers --out out", "'n_gru_layers'", "KEY=VALUE"),
]


def option(id: str, text: str, token: str, hint: str, **call: Any) -> Case:
    """``predict`` with one more option, and ``model.predict`` with the same."""
    api = (lambda model: model.predict("left.png", "right.png", **call)) if call else None
    return Case(id, f"predict left.png right.png --model dir:ck {text}", token, hint, api)


def saving(folder: str) -> Callable[[Any], object]:
    return lambda model: checkpoint.save(model, folder)


OPTIONS = [
    option("negative iterations", "--iterations -3", "-3", "1000", iterations=-3),
    option("no iterations", "--iterations 0", "0", "1000", iterations=0),
    option("iterations in words", "--iterations many", "'many'", "iterations", iterations="many"),
    option("polarity misspelt", "--polarity paralel", "'paralel'", "'parallel-crossed'", polarity="paralel"),
    option("polarity out of range", "--polarity 2", "not 2", "+1 (parallel-crossed)", polarity=2),
    option("unknown device", "--device tpu9", "'tpu9'", "device"),
    option("output is a file", "--out left.png", "left.png", "is a file, not a folder"),
    option("output below a file", "--out left.png/deeper", "left.png", "is a file, not a folder"),
    option("output name too long", f"--out {'x' * 300}", "xxx", "File name too long"),
    Case("weights' name too long", f"build '{TINY}' --save {'x' * 300}", "xxx", "File name too long"),
    Case("recipe's name too long", f"train {'x' * 300}.toml", "xxx", "File name too long"),
    Case("official file's name too long", f"convert {'x' * 300} --out out", "xxx", "not a file"),
    Case("demo into a file", "demo --model dir:ck --out left.png", "left.png", "is a file, not a folder"),
    Case("figures into a file", "eval sgbm --data data.csv --out left.png", "left.png", "a file"),
    Case("figures below a file", "eval sgbm --data data.csv --out left.png/a", "left.png", "a file"),
    Case("run into a file", "train tiny.toml --out left.png", "left.png", "a file"),
    Case(
        "negative iterations in an evaluation",
        "eval dir:ck --data data.csv --iterations -1",
        "-1",
        "1000",
        lambda _: evaluate(["dir:ck"], open_data("data.csv")[0], iterations=-1),
    ),
    Case("weights into a file", f"build '{TINY}' --save left.png", "left.png", "is a file", saving("left.png")),
    Case("weights over a folder", f"build '{TINY}' --save data", "'left'", "not replaced", saving("data")),
]


def view(id: str, file: str, token: str, hint: str = "") -> Case:
    """A bad left view; the right one is good."""
    command = f"predict {file} right.png --model dir:ck --out out"
    return Case(id, command, token, hint, lambda model: model.predict(file, "right.png"))


# OpenCV fills what a cut PNG or JPEG lacks with grey and says nothing, so every cut is looked for.
CUTS = {".png": [4, 20, 40, 0.3, 0.7, -12, -1], ".jpg": [2, 100, 0.4, 0.9, -2]}

VIEWS = [
    view("missing file", "lef.png", "lef.png", "did you mean 'left.png'?"),
    view("missing folder", "nowhere/left.png", "nowhere/left.png", "no folder nowhere"),
    view("folder in place of a view", "data", "data", "is a folder"),
    view("not an image", "tiny.toml", "tiny.toml", "not an image"),
    view("empty file", "empty.png", "empty.png", "is empty"),
    view("one channel", "grey.png", "grey.png", "1 channel (grey); a view must be RGB"),
    view("alpha channel", "alpha.png", "alpha.png", "4 channels (RGB, alpha)"),
    view("floating-point pixels", "truth.pfm", "truth.pfm", "RGB"),
    view("sizes that differ", "small.png", "36×20", "right is 72×40"),
    view("damaged PNG", "flipped.png", "flipped.png", "damaged"),
    view("a bomb", "bomb.png", "bomb.png", "67,108,864"),
    Case(
        "one pixel",
        "predict one.png one.png --model dir:ck --out out",
        "1×1",
        "8 or more",
        lambda model: model.predict("one.png", "one.png"),
    ),
    *(
        view(f"cut at {at} of {suffix}", f"cut{at}{suffix}", f"cut{at}{suffix}")
        for suffix in CUTS
        for at in CUTS[suffix]
    ),
]


def array(id: str, make: Callable[[], Any], token: str, hint: str) -> Case:
    """A bad right view as an array, which only the API can be given."""
    return Case(id, "", token, hint, lambda model: model.predict("left.png", make()))


ARRAYS = [
    array("NaN in an array", lambda: np.full((*SIZE, 3), np.nan), "NaN", "right"),
    array("infinity in an array", lambda: np.full((*SIZE, 3), np.inf), "infinite", "right"),
    array("float array beyond 1", lambda: np.full((*SIZE, 3), 200.0), "200", "divide it by 255"),
    array("channels first", lambda: np.zeros((3, *SIZE), np.uint8), "(3, 40, 72)", "transpose"),
    array("integers of 32 bit", lambda: np.zeros((*SIZE, 3), np.int32), "int32", "uint8, uint16"),
    array("no picture at all", lambda: None, "NoneType", "a path, a PIL image, an array"),
    array("array of another size", lambda: np.zeros((9, 9, 3), np.uint8), "9×9", "72×40"),
]


def mosaics(id: str, files: str, options: str, token: str, hint: str, **call: Any) -> Case:
    """Raw frames of polarization cameras that are none, or options that do not fit them."""
    api = (lambda _: read_mosaics(*files.split(), **call)) if call else None
    return Case(id, f"predict {files} --model dir:ck --out out {options}", token, hint, api)


MOSAICS = [
    mosaics("mosaic of odd size", "odd.png odd.png", "--mosaic grey", "71×40", "multiples of 2", bits=8),
    mosaics("colour mosaic of half blocks", "half.png half.png", "--mosaic colour", "70×40", "of 4", bayer="RGGB"),
    mosaics("mosaic of three channels", "left.png right.png", "--mosaic grey", "left.png", "1 channel", bits=8),
    mosaics("mosaics of two sizes", "grey.png half.png", "--mosaic grey", "half.png", "must be alike", bits=8),
    mosaics("mosaics of 8 and 16 bit", "grey.png deep.png", "--mosaic grey", "deep.png is uint16", "alike", bits=8),
    mosaics("8 bit where 12 were said", "grey.png grey.png", "--mosaic grey --bits 12", "bits=12", "has 8", bits=12),
    mosaics("readings beyond their bits", "deep.png deep.png", "--mosaic grey --bits 12", "bits=12", "4095", bits=12),
    mosaics("missing mosaic", "gray.png grey.png", "--mosaic grey", "gray.png", "did you mean 'grey.png'?", bits=8),
    mosaics("unknown kind of mosaic", "grey.png grey.png", "--mosaic color", "'color'", "'colour'"),
    mosaics("exposure of nothing", "grey.png grey.png", "--mosaic grey --exposure 0", "0.0", "exposure"),
    mosaics("light at no angle", "grey.png grey.png", "--mosaic grey --light nan", "light", "nan"),
    mosaics("light without a mosaic", "left.png right.png", "--light 45", "--light", "needs --mosaic"),
    mosaics("bits without a mosaic", "left.png right.png", "--bits 12", "--bits", "needs --mosaic"),
    Case("a mosaic as a picture", "predict grey.png grey.png --model dir:ck", "1 channel", "--mosaic"),
    Case("angles missing", "", "not 0, 90", "add some of 45, 135", lambda _: from_angles({0: GREY, 90: GREY})),
    Case("angle repeated", "", "180", "twice", lambda _: from_angles({0: GREY, 45: GREY, 180: GREY})),
    Case("negative Stokes S0", "", "S0", "from -1", lambda _: from_stokes(GREY - 1, GREY, GREY)),
    Case(
        "map that is not there", "", "'depth_left'", "Allowed: aolp_left", lambda _: as_views(DARK, DARK, needs="depth")
    ),
]


def weights(id: str, name: str, token: str, hint: str) -> Case:
    """A checkpoint that must not be used."""
    command = f"predict left.png right.png --model {name} --out out"
    return Case(id, command, token, hint, lambda _: polzoo.load(name))


# A checkpoint comes from strangers and over bad lines: it is exactly what was written or it is refused, never executed.
CHECKPOINTS = [
    weights("unknown model", "polstereo-nan", "'polstereo-nan'", "Allowed:"),
    weights("bare name of a folder", "ck", "'ck'", "dir:ck"),
    weights("no such folder", "dir:kc", "'kc'", "no folder"),
    weights("checkpoint is a file", "dir:left.png", "'left.png'", "is a file"),
    weights("missing config.json", "dir:ck-noconfig", "ck-noconfig", "no config.json"),
    weights("config not JSON", "dir:ck-nojson", "ck-nojson/config.json", "JSON"),
    weights("unknown config version", "dir:ck-future", "format 99", "reads up to 1"),
    weights("edited config", "dir:ck-edited", "ck-edited/config.json", "seal"),
    weights("truncated weights", "dir:ck-cut", "ck-cut/model.safetensors", "sha256"),
    weights("bit-flipped weights", "dir:ck-flipped", "ck-flipped/model.safetensors", "sha256"),
    weights("missing weights", "dir:ck-noweights", "ck-noweights", "model.safetensors"),
    weights("pickle in place of weights", "dir:ck-pickle", "ck-pickle/model.safetensors", "pickle, which is never"),
    weights("zip in place of weights", "dir:ck-zip", "ck-zip/model.safetensors", "never executed"),
    Case("verify nothing", "verify", "verify", "--all"),
    Case("verify an unknown name", "verify dir:kc", "'kc'", "no folder", lambda _: checkpoint.verify("dir:kc")),
    Case("convert a pickle", "convert evil.pth --out out", "evil.pth", "can run code", lambda _: read_pth("evil.pth")),
    Case(
        "convert a picture", "convert left.png --out out", "left.png", "no checkpoint", lambda _: read_pth("left.png")
    ),
    Case("convert nothing", "convert no.pth --out out", "no.pth", "not a file", lambda _: read_pth("no.pth")),
    Case(
        "convert other weights",
        "convert plain.pth --out out",
        "update_block.encoder.convc1.weight",
        "no raft-stereo",
        lambda _: from_official(read_pth("plain.pth")),
    ),
]


def training(id: str, file: str, token: str, hint: str = "", *, options: str = "", **call: Any) -> Case:
    """A recipe that must not start."""
    api = lambda _: train(read(Path(f"{file}.toml")), Path("run"), **call)  # noqa: E731
    return Case(id, f"train {file}.toml --out run {options}", token, hint, api)


# A run takes hours: what is wrong must show before the first step, and leave no folder that looks like a run.
RECIPES: dict[str, tuple[dict[str, Any], str, str]] = {
    "badkey": ({"steps": None, "stepz": 3}, "stepz", "did you mean 'steps'?"),
    "badtype": ({"steps": "some"}, "steps", "integer"),
    "badrange": ({"iterations": -1}, "iterations", "greater than or equal to 1"),
    "badname": ({"name": "../up"}, "name", "pattern"),
    "badprecision": ({"precision": "int4"}, "precision", "'bf16'"),
    "badmodel": ({"model": "raft-lte"}, "'raft-lte'", "did you mean 'raft-lite'?"),
    "badrecipe": ({"recipe": "supervise"}, "'supervise'", "did you mean 'supervised'?"),
    "baddata": ({"data": "synthetc"}, "'synthetc'", "did you mean 'synthetic'?"),
    "badoption": ({"options": {"lrr": 1}}, "lrr", "did you mean 'lr'?"),
    "badrate": ({"options": {"lr": -1}}, "lr=-1", "float, above 0"),
    "untrue": ({"data": "folder(path='untrue.csv')"}, "left.png", "no true disparity"),
    "uncontrolled": ({"data": "synthetic(length=1, control='shuffled')"}, "control='shuffled'", "has 1"),
    "gone": ({"data": "folder(path='gone.csv')"}, "lef.png", "did you mean 'left.png'?"),
}
OTHERS: dict[str, tuple[dict[str, Any]]] = {
    "tiny": ({},),
    "other": ({"seed": 7},),
    "worker": ({"data": "folder(path='untrue.csv')", "workers": 1},),
}
TRAININGS = [
    training("missing recipe", "tinny", "tinny.toml", "did you mean 'tiny.toml'?"),
    training("folder in place of a recipe", "folder", "folder.toml", "is a folder"),
    training("picture in place of a recipe", "picture", "picture.toml", "TOML"),
    training("hostile nesting in a recipe", "nested", "nested.toml", "TOML"),
    Case("unknown recipe", "train polstereo-nan", "'polstereo-nan'", "did you mean", lambda _: find("polstereo-nan")),
    *(training(f"recipe {name}", name, token, hint) for name, (_, token, hint) in RECIPES.items()),
    Case("bad data met by a worker", "train worker.toml --out run", "left.png", "no true disparity"),
    Case("stop before the start", "train tiny.toml --out run --stop-after 0", "0", "x>=1"),
    Case(
        "run that is there already",
        "train tiny.toml --out started",
        "started",
        "--resume",
        lambda _: train(read(Path("tiny.toml")), Path("started")),
    ),
    Case(
        "resumed with another recipe",
        "train other.toml --out started --resume",
        "seed was 0 and is now 7",
        "started",
        lambda _: train(read(Path("other.toml")), Path("started"), resume=True),
    ),
    Case(
        "resumed from a damaged state",
        "train tiny.toml --out damaged --resume",
        "damaged/state/step-0000001",
        "cannot be read",
        lambda _: train(read(Path("tiny.toml")), Path("damaged"), resume=True),
    ),
]


def data(id: str, path: str, token: str, hint: str = "") -> Case:
    """Pairs that cannot be evaluated on."""
    command = f"eval sgbm --data {shlex.quote(path)} --out out"
    return Case(id, command, token, hint, lambda _: evaluate(["sgbm"], open_data(path)[0]))


# A data set is somebody's folder or spreadsheet: the row and the file are named.
CSVS = {
    "gone": ("left,right", "lef.png,right.png", "lef.png", "did you mean 'left.png'?"),
    "nocolumn": ("left,disparity", "left.png,truth.pfm", "right", "must be there"),
    "badcolumn": ("left,right,disparty", "left.png,right.png,truth.pfm", "'disparty'", "did you mean 'disparity'?"),
    "cells": ("left,right", "left.png,right.png,truth.pfm", "row 2 has 3 cells", "the header 2"),
    "differ": ("left,right,disparity", "small.png,right.png,truth.pfm", "72×40", "small.png (left) is 36×20"),
    "scale": ("left,right,disparity,scale", "left.png,right.png,truth.pfm,0", "'0'", "other than 0"),
    "polarity": ("left,right,polarity", "left.png,right.png,paralel", "'paralel'", "'parallel-crossed'"),
    "untrue": ("left,right", "left.png,right.png", "left.png", "no true disparity"),
    "none": ("left,right", "", "none.csv", "no pair"),
    "broken": ("left,right", "cut0.3.png,right.png", "cut0.3.png", "row 2"),
    "nofloat": ("left,right,disparity", "left.png,right.png,nan.npy", "nan.npy", "no valid disparity"),
    "pickled": ("left,right,disparity", "left.png,right.png,evil.npy", "evil.npy", "numbers"),
}
DATA = [
    data("unknown data set", "synthetc(seed=1)", "'synthetc'", "did you mean 'synthetic'?"),
    data("option of a data set", "synthetic(seeds=1)", "'seeds'", "did you mean 'seed'?"),
    data("missing data folder", "./nowhere", "nowhere", "no such file"),
    data("missing CSV", "dat.csv", "dat.csv", "did you mean 'data.csv'?"),
    data("folder without pairs", "ck", "left/", "wanted are left/, right/"),
    data("control misspelt", "synthetic(control='shufled')", "shufled", "did you mean 'shuffled'?"),
    data("nobody to shuffle with", "synthetic(length=1,control='shuffled')", "shuffled", "has 1"),
    data("nothing to shuffle", "synthetic(analysers='none',control='shuffled')", "shuffled", "with analysers"),
    data("no analysers to shuffle", "folder(path='data.csv',control='shuffled')", "data.csv has 0", "two or more"),
    data("picture in place of pairs", "./left.png", "left.png", "neither a folder nor a CSV"),
    data("name too long", f"./{'x' * 300}", "xxx", "File name too long"),
    *(data(f"CSV {name}", f"{name}.csv", token, hint) for name, (_, _, token, hint) in CSVS.items()),
]

# root may write anywhere, so the system's refusals are simulated, each where it strikes; "cut" is a limit of the kernel
# under which files really end in the middle. What was there before (old pictures, an old checkpoint) must survive.
FAULTS = {
    "full": "No space left on device",
    "cut": "File too large",
    "denied": "Permission denied",
    "readonly": "Read-only file system",
}
WRITERS = {
    "predict": ("predict left.png right.png --model dir:ck --out {}", "left-disparity"),
    "demo": ("demo --model dir:ck --out {}", "demo.png"),
    "build": (f"build '{TINY}' --save {{}}", ""),
    "train": ("train tiny.toml --out {}", ""),
    "eval": ("eval sgbm --data data.csv --out {}", "pairs-0.jsonl"),
}
OLD = {"predict": "pictures", "build": "ck", "eval": "figures"}
DISKS = [
    Case(f"{fault}: {name} into {out}", command.format(out), f"{out}/{file}".rstrip("/"), FAULTS[fault], fault=fault)
    for fault in FAULTS
    for name, (command, file) in WRITERS.items()
    for out in ("new/deep", *([OLD[name]] if name in OLD else []))
    if name != "demo" or fault == "full"  # it writes as predict does, and takes longer
] + [
    Case(
        f"{fault}: checkpoint.save",
        "",
        "ck",
        FAULTS[fault],
        saving("ck"),
        fault,
    )
    for fault in FAULTS
]

CASES = [*SPECS, *NAMES, *OPTIONS, *VIEWS, *ARRAYS, *MOSAICS, *CHECKPOINTS, *TRAININGS, *DATA, *DISKS]


# -------------------------------------------------------------------------------------------------------- the kitchen


class Evil:
    """A pickle that makes a folder when it is read, which the comparison of trees would show."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("executed",)


TRAINING: dict[str, Any] = {
    "name": "tiny",
    "model": TINY,
    "data": "synthetic(seed=3, length=4, height=32, width=64, max_disparity=12)",
    "iterations": 1,
    "steps": 2,
    "batch_size": 1,
    "workers": 0,
    "save_every": 1,
}


def recipe(**changes: Any) -> str:
    return tomli_w.dumps({key: value for key, value in {**TRAINING, **changes}.items() if value is not None})


@pytest.fixture(scope="session")
def model() -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return polzoo.build(TINY).eval()


@pytest.fixture(scope="session")
def kitchen(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything that a case may be given, good and bad."""
    root = tmp_path_factory.mktemp("kitchen")
    _views(root)
    _checkpoints(root, model)
    for name, (header, row, *_) in CSVS.items():
        (root / f"{name}.csv").write_text(f"{header}\n{row}\n")
    (root / "data.csv").write_text("left,right,disparity\nleft.png,right.png,truth.pfm\n")
    (root / "data" / "left").mkdir(parents=True)
    for name, (changes, *_) in {**RECIPES, **OTHERS}.items():
        (root / f"{name}.toml").write_text(recipe(**changes))
    (root / "nested.toml").write_text(f"name = {'[' * 5000}")
    (root / "picture.toml").write_bytes((root / "left.png").read_bytes())
    (root / "folder.toml").mkdir()
    for name, size in {"started": None, "damaged": 50}.items():
        train(read(root / "tiny.toml"), root / name, stop_after=1)
        os.truncate(root / name / "state" / "step-0000001" / "part-0001.safetensors", size) if size else None
    for file in ("pictures/left-disparity.png", "pictures/left-disparity.npy", "figures/eval.json"):
        (root / file).parent.mkdir(exist_ok=True)
        (root / file).write_text("old, and worth keeping")
    return root


def _views(root: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*SIZE, 4), dtype=np.uint8)
    for name, pixels in {
        "left.png": noise[..., :3],
        "right.png": np.roll(noise[..., :3], -3, axis=1),
        "small.png": noise[:20, :36, :3],
        "one.png": noise[:1, :1, :3],
        "grey.png": noise[..., 0],
        "deep.png": noise[..., 0].astype(np.uint16) * 257,
        "odd.png": noise[:, 1:, 0],
        "half.png": noise[:, 2:, 0],
        "alpha.png": noise,
        "whole.jpg": noise[..., :3],
    }.items():
        assert cv2.imwrite(str(root / name), pixels)
    write_disparity(root / "truth.pfm", np.full(SIZE, 3, np.float32))
    np.save(root / "nan.npy", np.full(SIZE, np.nan, np.float32))
    np.save(root / "evil.npy", np.array([[Evil()]], dtype=object), allow_pickle=True)
    (root / "empty.png").touch()
    whole = {".png": (root / "left.png").read_bytes(), ".jpg": (root / "whole.jpg").read_bytes()}
    for suffix, cuts in CUTS.items():
        for at in cuts:
            kept = int(at * len(whole[suffix])) if isinstance(at, float) else at
            (root / f"cut{at}{suffix}").write_bytes(whole[suffix][:kept])
    png = bytearray(whole[".png"])
    png[len(png) // 2] ^= 1
    (root / "flipped.png").write_bytes(png)
    (root / "bomb.png").write_bytes(whole[".png"][:16] + b"\x00\x01\x00\x00" * 2 + whole[".png"][24:])


def _checkpoints(root: Path, model: Any) -> None:
    good = checkpoint.save(model, root / "ck", summary="a tiny one")

    def spoilt(name: str, file: str, spoil: Callable[[bytes], bytes | None]) -> None:
        target = shutil.copytree(good, root / f"ck-{name}") / file
        changed = spoil(target.read_bytes())
        target.unlink() if changed is None else target.write_bytes(changed)

    evil = pickle.dumps(Evil())
    spoilt("noconfig", "config.json", lambda _: None)
    spoilt("nojson", "config.json", lambda old: old[:-20])
    spoilt("future", "config.json", lambda old: old.replace(b'"format": 1', b'"format": 99'))
    spoilt("edited", "config.json", lambda old: old.replace(b'"iterations": 12', b'"iterations": 13'))
    spoilt("cut", "model.safetensors", lambda old: old[:-100])
    spoilt("flipped", "model.safetensors", lambda old: old[:-9] + bytes([old[-9] ^ 1]) + old[-8:])
    spoilt("noweights", "model.safetensors", lambda _: None)
    spoilt("pickle", "model.safetensors", lambda _: evil)
    torch.save({"weight": torch.zeros(3)}, root / "plain.pth")
    spoilt("zip", "model.safetensors", lambda _: (root / "plain.pth").read_bytes())
    (root / "evil.pth").write_bytes(evil)


def tree(root: Path) -> dict[str, str]:
    """Every name below a folder, with the hash of what is in it."""
    return {
        str(path.relative_to(root)): "folder" if path.is_dir() else hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
    }


@contextmanager
def disk(fault: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The disk refuses: ``full`` when it is flushed, ``cut`` in the middle of a file, ``denied`` at the first thing
    that is made, ``readonly`` at the rename."""

    def refuse(code: int) -> Callable[..., Any]:
        def call(*_: Any, **__: Any) -> Any:
            raise OSError(code, os.strerror(code))

        return call

    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    with monkeypatch.context() as patch:
        if fault == "full":
            patch.setattr(os, "fsync", refuse(errno.ENOSPC))
        elif fault == "readonly":
            patch.setattr(os, "rename", refuse(errno.EROFS))
            patch.setattr(os, "replace", refuse(errno.EROFS))
            patch.setattr(atomic, "_exchange", lambda *_: False)  # as the system's own call answers then
        elif fault == "denied":
            patch.setattr(os, "mkdir", refuse(errno.EACCES))
            patch.setattr(tempfile, "mkstemp", refuse(errno.EACCES))
        elif fault == "cut":
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)


# ---------------------------------------------------------------------------------------------------------- the tests


def check_line(text: str, case: Case) -> None:
    assert text.count("\n") == 1 and text.startswith("polzoo: error: "), text
    assert case.token in text and case.hint in text, text
    assert "Traceback" not in text


@pytest.fixture
def folder(kitchen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the kitchen as the working folder."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(shutil.copytree(kitchen, tmp_path / "kitchen"))
    return Path.cwd()


def test_there_are_enough_kinds() -> None:
    assert len({case.id for case in CASES}) == len(CASES) >= 40


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_bad_input(
    case: Case, model: Any, folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tree(folder)
    if case.command:
        with disk(case.fault, monkeypatch):
            code = main(shlex.split(case.command))
        out, err = capfd.readouterr()
        assert code == 2, err
        check_line(err, case)
        assert "Traceback" not in out
    if case.api is not None:
        with disk(case.fault, monkeypatch), pytest.raises(PolzooError) as caught:
            case.api(model)
        check_line(f"polzoo: error: {caught.value}\n", case)
    assert tree(folder) == before


FROM_OUTSIDE = ["unknown command", "unknown component", "unknown kind of component", "pickle in place of weights"]


@pytest.mark.parametrize("case", [case for case in CASES if case.id in FROM_OUTSIDE], ids=lambda case: case.id)
def test_bad_input_from_outside(case: Case, folder: Path) -> None:
    """The same in a process of its own, as a person sees it."""
    before = tree(folder)
    done = subprocess.run(
        [sys.executable, "-m", "polzoo", *shlex.split(case.command)],
        env={**os.environ, "PYTHONPATH": str(Path(polzoo.__file__).parents[1])},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (2, "")
    check_line(done.stderr, case)
    assert tree(folder) == before


# ------------------------------------------------------------------------------------------------------------- plugins

HOOK = """
from polzoo import hookimpl
@hookimpl
def fusions({argument}):
    {body}
"""


def hook(body: str, argument: str = "register") -> str:
    return HOOK.format(body=body, argument=argument)


FINE = 'register("half", "nowhere:Half", summary="s", licence="MIT")'

# One plugin that is broken or means harm is named with its error; polzoo itself, and every other plugin, works on.
PLUGINS: dict[str, tuple[str, str]] = {
    "raises at import": ("1 / 0", "at import: ZeroDivisionError"),
    "needs what is not there": ("import timm_of_nobody", "at import: ModuleNotFoundError: No module named 'timm_of_n"),
    "is no Python": ("def", "at import: SyntaxError"),
    "leaves at import": ("raise SystemExit('bye')", "at import: SystemExit: bye"),
    "raises what is no Exception": ("raise BaseException('mine')", "at import: BaseException: mine"),
    "writes to the terminal": ("raise ValueError('\\x1b[2J\\nred')", "at import: ValueError: \ufffd[2J red"),
    "raises at the hook": (hook(f"{FINE}; raise RuntimeError('boom')"), "in fusions(): RuntimeError: boom"),
    "leaves at the hook": (hook(f"{FINE}; raise SystemExit(3)"), "in fusions(): SystemExit: 3"),
    "wrong API": (hook(FINE) + "POLZOO_API = 99", "POLZOO_API 99, this polzoo has 1"),
    "wrong argument": (hook("pass", "registry"), "fusions(registry) must be fusions(register)"),
    "misspelt hook": (hook(FINE).replace("fusions", "fusoins"), "did you mean 'fusions'?"),
    "no hook": ("x = 1", "no function marked with @polzoo.hookimpl"),
    "one name twice": (hook(f"{FINE}; {FINE}"), "fusion 'half' is registered twice"),
    "registers a number": (hook(f"{FINE}; register(7, 'a:B', summary='s', licence='MIT')"), "name 7 is not"),
    "registers a path": (hook(f"{FINE}; register('x', '/etc/passwd', summary='s', licence='MIT')"), "'/etc/passwd'"),
    "registers without a licence": (hook(f"{FINE}; register('x', 'a:B', summary='s')"), "licence='…'"),
    "takes a command's name": (
        hook("pass") + "@hookimpl\ndef commands(app):\n    app.command('list')(print)",
        "the command 'list' is taken",
    ),
    "raises at its commands": (
        hook("pass") + "@hookimpl\ndef commands(app): 1 / 0",
        "in commands(): ZeroDivisionError",
    ),
}


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Installs a module as the plugin ``broken``, as pip would."""

    def call(source: str) -> None:
        (tmp_path / "broken-1.0.dist-info").mkdir()
        (tmp_path / "broken-1.0.dist-info" / "METADATA").write_text("Name: broken\nVersion: 1.0\n")
        (tmp_path / "broken-1.0.dist-info" / "entry_points.txt").write_text("[polzoo]\nbroken = broken_plugin\n")
        (tmp_path / "broken_plugin.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setenv("POLZOO_PLUGINS", "broken")
        monkeypatch.delitem(sys.modules, "broken_plugin", raising=False)
        registry.cache_clear()

    yield call
    sys.modules.pop("broken_plugin", None)
    registry.cache_clear()


@pytest.mark.parametrize("kind", PLUGINS)
def test_a_bad_plugin(
    kind: str, install: Callable[[str], None], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, token = PLUGINS[kind]
    install(source)
    assert main(["plugins"]) == 0
    out, err = capfd.readouterr()
    (line,) = [line for line in out.splitlines() if line.startswith("  error: ")]
    assert token in line and err == "" and "Traceback" not in out
    assert out.startswith("polzoo (polzoo ") and "\nbroken (broken 1.0)\n" in out
    assert str(parse("v2c+raft-lite")) == "raft-lite+v2c+dense" and registry().find("fusion", "half") is None
    assert main(["info", "fusion=half"]) == 2
    check_line(capfd.readouterr().err, Case("", "", "'half'", "(plugins with errors: broken"))

    monkeypatch.setenv("POLZOO_STRICT", "1")
    sys.modules.pop("broken_plugin", None)
    registry.cache_clear()
    if token.startswith(("at ", "in ")):
        with pytest.raises(BaseException, match=r"\S") as raised:
            main(["plugins"])
        assert type(raised.value).__name__ in token
    else:
        assert main(["plugins"]) == 2
        check_line(capfd.readouterr().err, Case("", "", token))


RUBBISH = {
    "nowhere:Half": "'nowhere' is not there; reinstall it",
    "json:Half": "has no 'Half'",
    "builtins:int": "not a subclass of polzoo.interfaces.Fusion",
    "json:dumps": "not a subclass of polzoo.interfaces.Fusion",
}


@pytest.mark.parametrize("target", RUBBISH)
def test_a_plugin_that_registers_rubbish_fails_when_it_is_used(
    target: str, install: Callable[[str], None], capfd: pytest.CaptureFixture[str], folder: Path
) -> None:
    install(hook(FINE.replace("nowhere:Half", target)))
    before = tree(folder)
    assert main(["plugins"]) == 0 and "  error: " not in capfd.readouterr().out
    assert main(["build", "raft-lite+half", "--save", "out"]) == 2
    check_line(capfd.readouterr().err, Case("", "", "'half' of broken", RUBBISH[target]))
    with pytest.raises(PolzooError, match="'half' of broken"):
        polzoo.build("raft-lite+half")
    assert tree(folder) == before
