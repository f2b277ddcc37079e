"""The grammar of specs: every spec survives text, JSON and TOML; every mistake is one clear line."""

from __future__ import annotations

import json
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, model_validator

from polzoo import spec
from polzoo.errors import PolzooError
from polzoo.hookspecs import hookimpl
from polzoo.options import Options, describe
from polzoo.registry import Registry
from polzoo.spec import ModelSpec, Part


class Mode(Enum):
    FAST = "fast"
    EXACT = "exact"


class AOptions(Options):
    levels: int = Field(3, ge=1, le=9, description="how many")
    ratio: float = 0.5
    note: str = "plain"
    flag: bool = False
    norm: Literal["batch", "none"] = "batch"
    dims: tuple[int, int] = (8, 8)
    words: list[str] = []
    grid: list[list[float]] = [[1.0, 2.0]]
    limit: int | None = None
    mode: Mode = Mode.FAST


class BOptions(Options):
    parts = {"fusion": "strong(gain=2.0)", "update": "polzoo/sparse"}
    needed: Annotated[int, Field(ge=0, lt=100)]
    other: str = ""


class StrongOptions(Options):
    gain: float = Field(default=1.0, gt=0)

    @model_validator(mode="after")
    def _not_unlucky(self) -> StrongOptions:
        if self.gain == 13:
            raise ValueError("a gain of 13\nis unlucky")
        return self


class Ours:
    @hookimpl
    def backbones(self, register: Any) -> None:
        register("a", "nowhere:A", config=f"{__name__}:AOptions", summary="s", licence="MIT")
        register("b-2", "nowhere:B", config=f"{__name__}:BOptions", summary="s", licence="MIT")

    @hookimpl
    def fusions(self, register: Any) -> None:
        register("none", "nowhere:F", summary="s", licence="MIT")
        register("both", "nowhere:F", summary="s", licence="MIT")
        register("strong", "nowhere:F", config=f"{__name__}:StrongOptions", summary="s", licence="MIT")

    @hookimpl
    def updates(self, register: Any) -> None:
        register("dense", "nowhere:U", summary="s", licence="MIT")
        register("sparse", "nowhere:U", summary="s", licence="MIT")
        register("both", "nowhere:U", config=f"{__name__}:StrongOptions", summary="s", licence="MIT")

    @hookimpl
    def importances(self, register: Any) -> None:
        register("edges", "nowhere:I", config=f"{__name__}:StrongOptions", summary="s", licence="MIT")


class Theirs:
    @hookimpl
    def updates(self, register: Any) -> None:
        register("sparse", "nowhere:U", config=f"{__name__}:StrongOptions", summary="s", licence="MIT")


ZOO = Registry(strict=True)
ZOO.add(Ours(), name="polzoo", distribution="polzoo")
ZOO.add(Theirs(), name="theirs", distribution="Polzoo_Theirs", version="1.0")

text = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
finite = st.floats(allow_nan=False, allow_infinity=False)
a_options = st.builds(
    AOptions,
    levels=st.integers(1, 9),
    ratio=finite,
    note=text,
    flag=st.booleans(),
    norm=st.sampled_from(["batch", "none"]),
    dims=st.tuples(st.integers(), st.integers()),
    words=st.lists(text, max_size=3),
    grid=st.lists(st.lists(finite, max_size=3), max_size=3),
    limit=st.none() | st.integers(),
    mode=st.sampled_from(Mode),
)
b_options = st.builds(BOptions, needed=st.integers(0, 99), other=text)
strong = st.builds(StrongOptions, gain=st.floats(min_value=0.01, max_value=12))
plain = st.just(Options())


def part(name: str, options: st.SearchStrategy[Any]) -> st.SearchStrategy[Part]:
    return st.builds(Part, st.just(name), options)


specs = st.builds(
    ModelSpec,
    part("a", a_options) | part("b-2", b_options),
    part("none", plain) | part("both", plain) | part("strong", strong),
    part("dense", plain) | part("sparse", plain) | part("both", strong) | part("polzoo-theirs/sparse", strong),
)


@given(specs)
def test_text_round_trip(model: ModelSpec) -> None:
    written = spec.format(model, ZOO)
    assert spec.parse(written, ZOO) == model
    assert spec.format(spec.parse(written, ZOO), ZOO) == written


@given(specs)
def test_json_round_trip(model: ModelSpec) -> None:
    assert spec.from_dict(json.loads(json.dumps(spec.to_dict(model, ZOO))), ZOO) == model


@given(specs)
def test_toml_round_trip(model: ModelSpec) -> None:
    assert spec.from_toml(spec.to_toml(model, ZOO), ZOO) == model


@given(specs, st.permutations([0, 1, 2]))
def test_parts_in_any_order(model: ModelSpec, order: list[int]) -> None:
    kinds = ("backbone", "fusion", "update")
    pieces = [f"{kind}={spec.format_part(kind, getattr(model, kind), ZOO)}" for kind in kinds]
    assert spec.parse("+".join(pieces[index] for index in order), ZOO) == model


@given(st.text(max_size=60) | st.text("ab-2()[]{}=+,\"'\\#.n0 ", max_size=60))
def test_any_text_is_read_or_refused_in_one_line(anything: str) -> None:
    for read in (lambda: spec.parse(anything, ZOO), lambda: spec.parse(f"a(note={anything})", ZOO)):
        try:
            model = read()
        except PolzooError as error:
            assert str(error).isprintable() and len(str(error)) < 600
        else:
            assert spec.parse(spec.format(model, ZOO), ZOO) == model


@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4), st.lists, max_leaves=6)
)
def test_any_value_in_a_table_is_taken_or_refused(value: Any) -> None:
    for key in AOptions.model_fields:
        try:
            part = spec.make_part("backbone", "a", {key: value}, ZOO)
        except PolzooError as error:
            assert "\n" not in str(error)
        else:
            assert spec.parse_part("backbone", spec.format_part("backbone", part, ZOO), ZOO) == part


@pytest.mark.parametrize(
    ("given_text", "canonical"),
    [
        ("a", "a+none+dense"),
        (" a ( levels = 2 , dims=[1, 2] ) + none", "a(levels=2,dims=[1,2])+none+dense"),
        ("dense+a", "a+none+dense"),
        ("a(levels=3,ratio=0.5)", "a+none+dense"),
        ("a(ratio=1)", "a(ratio=1.0)+none+dense"),
        ("a(dims=[1,2],levels=4)", "a(levels=4,dims=[1,2])+none+dense"),
        ("a(words=['+', \"),\", '[']) + dense", 'a(words=["+","),","["])+none+dense'),
        ("a(note='')", 'a(note="")+none+dense'),
        ('a(note="""say "x" """)', 'a(note="say \\"x\\" ")+none+dense'),
        ("a(ratio=1e+5)", "a(ratio=100000.0)+none+dense"),
        ("a(grid=[[1,2],[3.5],[]])", "a(grid=[[1.0,2.0],[3.5],[]])+none+dense"),
        ("a(limit=7)", "a(limit=7)+none+dense"),
        ('a(mode="exact")', 'a(mode="exact")+none+dense'),
        ("a+fusion=both", "a+fusion=both+dense"),
        ("a+update=both+fusion=both", "a+fusion=both+update=both"),
        ("backbone=a+polzoo/sparse", "a+none+sparse"),
        ("a+polzoo-theirs/sparse", "a+none+polzoo-theirs/sparse"),
        ("b-2(needed=1)", "b-2(needed=1)+strong(gain=2.0)+sparse"),
        ("b-2(needed=1)+dense+none", "b-2(needed=1)+none+dense"),
    ],
)
def test_canonical_text(given_text: str, canonical: str) -> None:
    assert spec.format(spec.parse(given_text, ZOO), ZOO) == canonical


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ("", ["empty"]),
        ("  ", ["empty"]),
        (7, ["text", "7"]),
        (None, ["text", "None"]),
        ("a" * 10_001, ["10001", "10000"]),
        ("a+", ["trailing '+'"]),
        ("+a", ["leading '+'"]),
        ("a++none", ["'++'"]),
        ("none", ["no backbone", "add one of: a, b-2"]),
        ("a+b-2(needed=1)", ["two backbones", "'a'", "'b-2'"]),
        ("a+none+strong", ["two fusions"]),
        ("a+stron", ["unknown part 'stron'", "did you mean 'strong'?", "Allowed:", "dense"]),
        ("a+edges", ["'edges' is an importance"]),
        ("a+both", ["'both'", "fusion=both or update=both"]),
        ("a+theirs/sparse", ["theirs/sparse", "polzoo-theirs/sparse"]),
        ("fuson=none+a", ["unknown kind", "'fuson'", "did you mean 'fusion'?"]),
        ("fusion=dense+a", ["unknown fusion 'dense'", "is an update"]),
        ("a(level=3)", ["unknown option of backbone 'a'", "'level'", "did you mean 'levels'?", "ratio"]),
        ("none(x=1)+a", ["unknown option of fusion 'none'", "Allowed: none"]),
        ("a(levels=99)", ["levels=99", "int, 1 to 9"]),
        ("a(levels=2.0)", ["levels=2.0", "integer"]),
        ('a(levels="2")', ['levels="2"', "integer"]),
        ("a(levels=true)", ["levels=true", "integer"]),
        ("a(flag=1)", ["flag=1", "bool"]),
        ("a(flag=True)", ["'True'", "write true"]),
        ("a(norm=batch)", ['needs quotes: "batch"']),
        ('a(norm="bach")', ["norm", '"batch" | "none"', "did you mean 'batch'?"]),
        ('a(mode="exat")', ["mode", '"fast" | "exact"', "did you mean 'exact'?"]),
        ('a(dims=[1,"x"])', ['dims[1]="x"', "array of 2 int"]),
        ("a(dims=[1])", ["dims", "array of 2 int"]),
        ("a(grid=[[1],2])", ["grid[1]=2"]),
        ("b-2", ["option needed is required", "b-2(needed="]),
        ("a+strong(gain=13)", ["fusion 'strong'", "a gain of 13 is unlucky"]),
        ("a+strong(gain=-1)", ["gain=-1", "above 0"]),
        ("a(levels=2", ["unbalanced", "')' is missing"]),
        ("a)levels=2(", ["unbalanced ')'", "character 2"]),
        ("a(dims=[1,2)", ["unbalanced ')'"]),
        ('a(note="x)', ['unclosed "']),
        ("a(levels=2)b", ["'a(levels=2)b' is not a part"]),
        ("a b", ["'a b' is not a part"]),
        ("(levels=2)", ["is not a part"]),
        ("a()", ["empty parentheses"]),
        ("a(levels=2,levels=2)", ["'levels'", "twice"]),
        ("a(levels)", ["'levels'", "no value", "levels=3"]),
        ("a(levels=)", ["'levels'", "no value"]),
        ("a(levels=2,)", ["'' is not an option", "option=value"]),
        ("a(=2)", ["'=2' is not an option"]),
        ("a(limit=)", ["'limit'", "no value"]),
        ("a(note=1979-05-27)", ["'1979-05-27' is not allowed"]),
        ("a(note=07:32:00)", ["'07:32:00' is not allowed"]),
        ("a(note={x=1})", ["'{x=1}' is not allowed"]),
        ("a(ratio=inf)", ["'inf' is not allowed"]),
        ("a(grid=[[nan]])", ["'[[nan]]' is not allowed"]),
        ("a(levels=2 # two)", ["a comment"]),
        ("a(levels=2\nnote='x')", ["levels", "not a TOML value"]),
        ("a(levels=2\n[note])", ["levels", "not a TOML value"]),
        ("a(grid=" + "[" * 40 + "]" * 40 + ")", ["16 deep"]),
    ],
)
def test_errors_name_the_token_and_what_is_allowed(bad: Any, words: list[str]) -> None:
    with pytest.raises(PolzooError) as caught:
        spec.parse(bad, ZOO)
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


def test_one_part_of_any_kind() -> None:
    assert spec.parse_part("importance", "edges(gain=0.5)", ZOO) == Part("edges", StrongOptions(gain=0.5))
    assert spec.parse_part("updates", "update=both", ZOO).name == "both"
    assert spec.format_part("importance", Part("edges", StrongOptions()), ZOO) == "edges"
    with pytest.raises(PolzooError, match="names 2 parts; here one update"):
        spec.parse_part("update", "dense+sparse", ZOO)
    with pytest.raises(PolzooError, match="unknown importance 'edge'; did you mean 'edges'"):
        spec.parse_part("importance", "edge", ZOO)


def test_dict_resolves_every_option_and_leaves_out_what_is_unset() -> None:
    found = spec.to_dict(spec.parse("a+polzoo-theirs/sparse", ZOO), ZOO)
    assert found["backbone"]["options"] == {
        "levels": 3, "ratio": 0.5, "note": "plain", "flag": False, "norm": "batch",
        "dims": [8, 8], "words": [], "grid": [[1.0, 2.0]], "mode": "fast",
    }  # fmt: skip
    assert found["fusion"] == {"name": "none", "options": {}}
    assert found["update"] == {"name": "sparse", "distribution": "polzoo-theirs", "options": {"gain": 1.0}}


def test_dict_by_hand() -> None:
    assert spec.from_dict({"backbone": "a(levels=2)", "update": {"name": "sparse"}}, ZOO) == spec.parse(
        "a(levels=2)+sparse", ZOO
    )


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ([], ["table", "backbone"]),
        ({}, ["no backbone"]),
        ({"backbon": "a"}, ["unknown key of a model 'backbon'", "did you mean 'backbone'?"]),
        ({"backbone": 1}, ["'name'"]),
        ({"backbone": {"options": {}}}, ["'name'"]),
        ({"backbone": {"name": "a", "option": {}}}, ["'option'", "did you mean 'options'?"]),
        ({"backbone": {"name": "a", "options": 1}}, ["a table"]),
        ({"backbone": {"name": "a", "options": {"note": b"x"}}}, ["'note'", "plain value"]),
        ({"backbone": {"name": "a", "options": {"ratio": float("nan")}}}, ["'ratio'", "plain value"]),
        ({"backbone": {"name": "a", "options": {3: 1}}}, ["unknown option", "3"]),
        ({"backbone": {"name": "a", "distribution": "toy"}}, ["'toy'", "pip install toy"]),
    ],
)
def test_dict_errors(bad: Any, words: list[str]) -> None:
    with pytest.raises(PolzooError) as caught:
        spec.from_dict(bad, ZOO)
    assert all(word in str(caught.value) for word in words), caught.value


def test_toml_errors() -> None:
    with pytest.raises(PolzooError, match="not TOML"):
        spec.from_toml("[backbone", ZOO)


def test_a_none_that_is_not_the_default_cannot_be_said() -> None:
    class Odd(Options):
        size: int | None = 4

    with ZOO.temporary("backbone", "odd", object, Odd):
        model = ModelSpec(Part("odd", Odd(size=None)), Part("none", Options()), Part("dense", Options()))
        with pytest.raises(PolzooError, match="'size' of 'odd' is None"):
            spec.format(model, ZOO)


def test_a_wrong_default_part_names_the_backbone() -> None:
    class Lost(Options):
        parts = {"fusion": "gone"}

    with (
        ZOO.temporary("backbone", "lost", object, Lost),
        pytest.raises(PolzooError, match="default fusion of backbone 'lost': unknown fusion 'gone'"),
    ):
        spec.parse("lost", ZOO)


def test_specs_are_values() -> None:
    one, two = (spec.parse("b-2(needed=1)", ZOO) for _ in range(2))
    assert one == two and hash(one) == hash(two)
    with pytest.raises(AttributeError):
        one.backbone = two.backbone  # type: ignore[misc]


def test_describe() -> None:
    assert describe(AOptions)["levels"] == ("int, 1 to 9", "3", "how many")
    assert describe(AOptions)["limit"] == ("int", "unset", "")
    assert describe(AOptions)["grid"].type == "array of array of float"
    assert describe(BOptions)["needed"] == ("int, at least 0, below 100", "required", "")


def test_the_official_lookup_names_are_mapped() -> None:
    assert str(spec.parse('raft(lookup="alt_cuda")')) == 'raft(lookup="alt")+none+dense'
    assert str(spec.parse('raft(lookup="reg_cuda")+v2c')) == "raft+v2c+dense"


@pytest.mark.parametrize("text", ["raft", "raft-lite", "raft-lite+v2c"])
def test_tiny_options_are_valid(text: str) -> None:
    model = spec.parse(text)
    for kind in ("backbone", "fusion", "update"):
        options = type(getattr(model, kind).options)
        assert options.model_validate(dict(options.tiny)).model_fields_set == set(options.tiny)
