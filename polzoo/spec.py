"""A model as text: ``raft(gru_levels=2)+v2c+dense`` ⇄ ModelSpec ⇄ JSON / TOML.

::

    spec   = part { "+" part }              part  = [ kind "=" ] name [ "(" option { "," option } ")" ]
    option = key "=" value                  value = a TOML scalar or array (strings in quotes)

Parts come in any order and are found by their kind; ``kind=`` is needed only where a name lives in two kinds, and
``distribution/name`` only where two plugins use one name. Left-out parts are the backbone's own defaults.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from polzoo.components import NAME, OURS, Entry, kind_of, with_article
from polzoo.errors import PolzooError, nearest, one_line, shorten, unknown
from polzoo.options import Options, describe, toml_text
from polzoo.registry import Registry, registry

MODEL_KINDS = ("backbone", "fusion", "update")
MAX_LENGTH = 10_000
MAX_DEPTH = 16


@dataclass(frozen=True)
class Part:
    """One component of a model: its registered name and its validated options."""

    name: str
    options: Options


@dataclass(frozen=True)
class ModelSpec:
    """What a model is made of. Equal when every name and every option is."""

    backbone: Part
    fusion: Part
    update: Part

    def __str__(self) -> str:
        return format(self)


# --------------------------------------------------------------------------------------------------------------- text


def parse(text: str, within: Registry | None = None) -> ModelSpec:
    """The model that ``text`` names; a PolzooError says what is wrong, what is allowed and the nearest match."""
    zoo = within if within is not None else registry()
    given: dict[str, Part] = {}
    for piece in _pieces(text):
        kind, part = _read(piece, zoo, MODEL_KINDS)
        if kind in given:
            raise PolzooError(f"two {kind}s, {given[kind].name!r} and {part.name!r}; a model has one {kind}")
        given[kind] = part
    return _complete(given, zoo, f"the spec {shorten(text)!r}")


def parse_part(kind: str, text: str, within: Registry | None = None) -> Part:
    """One component of a known kind: ``parse_part("update", "flashgru(density=0.2)")``."""
    zoo, kind = within if within is not None else registry(), kind_of(kind)
    pieces = _pieces(text)
    if len(pieces) > 1:
        raise PolzooError(f"{shorten(text)!r} names {len(pieces)} parts; here one {kind} is expected")
    return _read(pieces[0], zoo, (kind,))[1]


def make_part(kind: str, name: str, options: Mapping[str, Any] | None = None, within: Registry | None = None) -> Part:
    """One component from its name and a table of its options, as a TOML or JSON file has them."""
    entry = (within if within is not None else registry()).get(kind, name)
    return Part(entry.key, _validated(entry, options or {}))


def format(spec: ModelSpec, within: Registry | None = None) -> str:
    """The canonical text: backbone+fusion+update, options where they differ from the defaults."""
    zoo = within if within is not None else registry()
    return "+".join(_write(kind, getattr(spec, kind), zoo, MODEL_KINDS) for kind in MODEL_KINDS)


def format_part(kind: str, part: Part, within: Registry | None = None) -> str:
    """The canonical text of one component, which ``parse_part`` reads back."""
    kind = kind_of(kind)
    return _write(kind, part, within if within is not None else registry(), (kind,))


# ----------------------------------------------------------------------------------------------------- JSON and TOML


def to_dict(spec: ModelSpec, within: Registry | None = None) -> dict[str, Any]:
    """JSON-able, every option resolved: ``{"backbone": {"name": …, "options": {…}}, "fusion": …, "update": …}``."""
    return {kind: part_to_dict(kind, getattr(spec, kind), within) for kind in MODEL_KINDS}


def from_dict(data: Mapping[str, Any], within: Registry | None = None) -> ModelSpec:
    """What ``to_dict`` wrote, or a person: a part may also be its text, options and parts may be left out."""
    zoo = within if within is not None else registry()
    if not isinstance(data, Mapping):
        raise PolzooError(f"a model is a table with {', '.join(MODEL_KINDS)}, not {shorten(repr(data))}")
    for key in data:
        if key not in MODEL_KINDS:
            raise unknown("key of a model", key, MODEL_KINDS)
    return _complete({kind: part_from_dict(kind, part, zoo) for kind, part in data.items()}, zoo, "the model")


def part_to_dict(kind: str, part: Part, within: Registry | None = None) -> dict[str, Any]:
    """One part; a third party's carries its distribution, so that it is found again whatever else is installed."""
    entry = (within if within is not None else registry()).find(kind, part.name)
    if entry is None or entry.distribution in ("", OURS):
        return {"name": part.name, "options": _dump(part)}
    return {"name": entry.name, "distribution": entry.distribution, "options": _dump(part)}


def part_from_dict(kind: str, data: Any, within: Registry | None = None) -> Part:
    """One part from a table with ``name``, ``options`` and ``distribution``, or from its text."""
    zoo = within if within is not None else registry()
    if isinstance(data, str):
        return parse_part(kind, data, zoo)
    if not isinstance(data, Mapping) or not isinstance(data.get("name"), str):
        raise PolzooError(f"a {kind} is a table with a 'name', or its text, not {shorten(repr(data))}")
    for key in data:
        if key not in ("name", "options", "distribution"):
            raise unknown(f"key of {kind} {data['name']!r}", key, ("name", "options", "distribution"))
    name, origin, options = data["name"], data.get("distribution"), data.get("options", {})
    if not isinstance(options, Mapping):
        raise PolzooError(f"options of {kind} {name!r} are a table, not {shorten(repr(options))}")
    if origin is not None and not (isinstance(origin, str) and NAME.fullmatch(origin)):  # it goes into a command
        raise PolzooError(f"{kind} {shorten(name)!r} comes from {shorten(repr(origin))}, which is no package's name")
    if origin is not None and zoo.find(kind, f"{origin}/{name}") is None:
        raise PolzooError(f"{kind} {name!r} comes from {origin!r}; install it: pip install {origin}{zoo.hint(name)}")
    return make_part(kind, f"{origin}/{name}" if origin is not None else name, options, zoo)


def to_toml(spec: ModelSpec, within: Registry | None = None) -> str:
    """``to_dict`` as a TOML document."""
    import tomli_w

    return tomli_w.dumps(to_dict(spec, within))


def from_toml(text: str, within: Registry | None = None) -> ModelSpec:
    """The model of a TOML document that ``to_toml`` or a person wrote."""
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise PolzooError(f"not TOML: {one_line(error)}") from error
    return from_dict(data, within)


# ---------------------------------------------------------------------------------------------------------- reading

_PART = re.compile(r"(?:([^()=\s]*)\s*=)?\s*([^()=\s]+)\s*(?:\((.*)\))?", re.DOTALL)
_OPTION = re.compile(r"\s*([^=\s]+)\s*(=?)(.*)", re.DOTALL)
_MARKS = re.compile(
    r'''"""(?:\\.|[^\\])*?"""|\'{3}.*?\'{3}|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'|["\'#+,()\[\]{}]''', re.DOTALL
)
_CLOSES = {"(": ")", "[": "]", "{": "}"}


def _pieces(text: str) -> list[str]:
    """The parts of a spec, split at every ``+`` outside brackets and strings."""
    if not isinstance(text, str):
        raise PolzooError(f"a spec is text such as 'raft-lite+v2c', not {shorten(repr(text))}")
    if len(text) > MAX_LENGTH:
        raise PolzooError(f"a spec of {len(text)} characters is too long; at most {MAX_LENGTH} are read")
    if not text.strip():
        raise PolzooError("an empty spec; write a backbone, such as 'raft-lite', or parts joined by '+'")
    pieces = [piece.strip() for piece in _split(text, "+")]
    if not all(pieces):
        where = "trailing '+'" if not pieces[-1] else "leading '+'" if not pieces[0] else "'++'"
        raise PolzooError(f"{where} in {shorten(text)!r}: a part is missing; join parts by single '+'")
    return pieces


def _split(text: str, at: str) -> list[str]:
    """Split at a character outside strings and brackets; refuse what does not balance."""
    pieces, start, awaited = [], 0, []
    for mark in _MARKS.finditer(text):
        token = mark.group()
        if token in _CLOSES:
            awaited.append(_CLOSES[token])
            if len(awaited) > MAX_DEPTH:
                raise PolzooError(f"brackets nested more than {MAX_DEPTH} deep in {shorten(text)!r}")
        elif token in _CLOSES.values():
            if not awaited or awaited.pop() != token:
                raise PolzooError(f"unbalanced {token!r} at character {mark.start() + 1} of {shorten(text)!r}")
        elif token in "\"'#":
            problem = "a comment" if token == "#" else f"an unclosed {token}"
            raise PolzooError(f"{problem} at character {mark.start() + 1} of {shorten(text)!r}")
        elif token == at and not awaited:
            pieces.append(text[start : mark.start()])
            start = mark.end()
    if awaited:
        raise PolzooError(f"a {awaited[-1]!r} is missing at the end of {shorten(text)!r}: unbalanced brackets")
    return [*pieces, text[start:]]


def _read(piece: str, zoo: Registry, kinds: tuple[str, ...]) -> tuple[str, Part]:
    """One part: its kind (found by the name among ``kinds``) and its validated options."""
    match = _PART.fullmatch(piece)
    if match is None:
        raise PolzooError(f"{shorten(piece)!r} is not a part; write name or name(option=value,option=value)")
    prefix, name, options = match.groups()
    if prefix is not None and prefix not in kinds:
        raise unknown(f"kind in {shorten(piece)!r}:", prefix, kinds)
    entry = _find(name, zoo, (prefix,) if prefix else kinds)
    return entry.kind, Part(entry.key, _validated(entry, {} if options is None else _options(options, entry)))


def _find(name: str, zoo: Registry, kinds: tuple[str, ...]) -> Entry:
    if len(kinds) == 1:
        return zoo.get(kinds[0], name)
    found = [entry for entry in (zoo.find(kind, name) for kind in kinds) if entry]
    if len(found) > 1:
        ways = " or ".join(f"{entry.kind}={name}" for entry in found)
        raise PolzooError(f"{name!r} is {' and '.join(with_article(entry.kind) for entry in found)}; write {ways}")
    if not found:
        error = unknown("part", name, [entry.key for kind in kinds for entry in zoo.entries(kind)])
        raise PolzooError(f"{error}{zoo.hint(name)}")
    return found[0]


def _options(text: str, entry: Entry) -> dict[str, Any]:
    """The options between a part's parentheses as plain values."""
    if not text.strip():
        raise PolzooError(f"empty parentheses after {entry}; leave them out, or write (option=value)")
    values: dict[str, Any] = {}
    for option in _split(text, ","):
        match = _OPTION.fullmatch(option)
        if match is None:
            raise PolzooError(f"{shorten(option.strip())!r} is not an option of {entry}; write option=value")
        key, equals, value = match.groups()
        if key not in entry.options().model_fields:
            raise unknown(f"option of {entry}:", key, entry.options().model_fields)
        if not equals or not value.strip():
            raise PolzooError(f"option {key!r} of {entry} has no value; write {key}={_example(entry, key)}")
        if key in values:
            raise PolzooError(f"option {key!r} of {entry} is given twice; give it once")
        values[key] = _value(value.strip(), f"option {key!r} of {entry}")
    return values


def _example(entry: Entry, key: str) -> str:
    info = describe(entry.options())[key]
    return info.default if info.default not in ("required", "unset") else f"… ({info.type})"


def _value(text: str, where: str) -> Any:
    """One TOML scalar or array."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        parsed = {}
    if set(parsed) != {"value"}:
        hint = {"True": "; write true", "False": "; write false"}.get(text, "")
        if not hint and re.fullmatch(r"[^\W\d][\w.-]*", text):
            hint = f"; a string needs quotes: {toml_text(text)}"
        raise PolzooError(f"{where}: {shorten(text)!r} is not a TOML value{hint}")
    _refuse_foreign(parsed["value"], where, text)
    return parsed["value"]


def _refuse_foreign(value: Any, where: str, text: str) -> None:
    """Dates, times, tables and infinities are TOML, but no option's value."""
    if isinstance(value, list):
        for item in value:
            _refuse_foreign(item, where, text)
    elif not isinstance(value, (bool, int, float, str)) or value in (float("inf"), -float("inf")) or value != value:
        raise PolzooError(
            f"{where}: {shorten(text)!r} is not allowed; a value is a finite number, true, false, a string or an array"
        )


def _complete(given: Mapping[str, Part], zoo: Registry, what: str) -> ModelSpec:
    """Fill what was left out with the backbone's own defaults."""
    if "backbone" not in given:
        known = ", ".join(entry.key for entry in zoo.entries("backbone"))
        raise PolzooError(f"no backbone in {what}; add one of: {known or 'none is installed'}")
    parts = dict(given)
    for kind, text in {**Options.parts, **type(given["backbone"].options).parts}.items():
        if kind in MODEL_KINDS and kind not in parts:
            try:
                parts[kind] = parse_part(kind, text, zoo)
            except PolzooError as error:
                raise PolzooError(f"default {kind} of backbone {given['backbone'].name!r}: {error}") from error
    return ModelSpec(**parts)


# ------------------------------------------------------------------------------------------------- checking options


def _validated(entry: Entry, values: Mapping[str, Any]) -> Options:
    """The component's options, types taken exactly as TOML and JSON have them ("3" is no number, true no 1)."""
    options = entry.options()
    plain = {}
    for key, value in values.items():
        if key not in options.model_fields:
            raise unknown(f"option of {entry}:", key, options.model_fields)
        try:
            plain[key] = json.dumps(value, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise PolzooError(f"option {key!r} of {entry}: {shorten(repr(value))} is not a plain value") from error
    try:
        return options.model_validate_json(
            "{" + ",".join(f"{json.dumps(key)}:{value}" for key, value in plain.items()) + "}", strict=True
        )
    except ValidationError as error:
        raise PolzooError(_explain(entry, error)) from error


def _explain(entry: Entry, error: ValidationError) -> str:
    """pydantic's findings as one line: option path, value, what is expected."""
    found, named, known = [], set(), describe(entry.options())
    for fault in error.errors(include_url=False):
        first, *rest = fault["loc"] or ("",)
        path = str(first) + "".join(f"[{step}]" for step in rest if isinstance(step, int))  # names are a union's types
        if path and path in named:
            continue  # the second type of a union that the value is not, either
        named.add(path)
        message = " ".join(fault["msg"].removeprefix("Value error, ").split()).replace("Input should", "should")
        expected = known[str(fault["loc"][0])].type if fault["loc"] and fault["loc"][0] in known else ""
        if not fault["loc"]:
            found.append(message)
        elif fault["type"] == "missing":
            example = f'{path}="…"' if expected.startswith("str") else f"{path}=…"
            meaning = known[path].description if path in known else ""
            found.append(f"option {path} is required ({meaning or expected}): {entry.key}({example})")
        else:
            if fault["type"] in ("literal_error", "enum"):
                message = "is not allowed"
            words = re.findall(r'"([^"]*)"', expected) if isinstance(fault["input"], str) else ()
            value = shorten(toml_text(fault["input"]))
            found.append(f"option {path}={value} {message} ({expected}){nearest(fault['input'], words)}")
    more = f"; and {len(found) - 3} more" if len(found) > 3 else ""
    return f"{entry}: {'; '.join(dict.fromkeys(found[:3]))}{more}"


# ---------------------------------------------------------------------------------------------------------- writing


def _dump(part: Part) -> dict[str, Any]:
    """Every option as a plain value; what is unset is left out."""
    values = part.options.model_dump(mode="json")
    for key, value in values.items():
        if value is None and type(part.options).model_fields[key].default is not None:
            raise PolzooError(f"option {key!r} of {part.name!r} is None, which a spec cannot say: it means the default")
    return {key: value for key, value in values.items() if value is not None}


def _changed(part: Part) -> dict[str, Any]:
    """The options that differ from their defaults, in the order of their declaration."""
    values, fields = _dump(part), type(part.options).model_fields
    required = {key: value for key, value in values.items() if fields[key].is_required()}
    try:
        defaults = _dump(Part(part.name, type(part.options).model_validate_json(json.dumps(required), strict=True)))
    except ValidationError:  # the defaults do not fit these required values: say everything
        return values
    defaults |= json.loads(json.dumps(part.options.implied()))
    return {key: value for key, value in values.items() if key in required or value != defaults.get(key)}


def _write(kind: str, part: Part, zoo: Registry, kinds: tuple[str, ...]) -> str:
    ambiguous = any(zoo.find(other, part.name) for other in kinds if other != kind)
    options = ",".join(f"{key}={toml_text(value)}" for key, value in _changed(part).items())
    return f"{kind}=" * ambiguous + part.name + f"({options})" * bool(options)
