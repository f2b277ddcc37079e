"""Base of every component's options: typed, validated, frozen, and importable without torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

from pydantic import BaseModel, ConfigDict


class Options(BaseModel):
    """Options of one component, as a spec (``raft(gru_levels=2)``), JSON or TOML gives them.

    A subclass lives in a module that imports no torch, so that listing and parsing stay instant.
    Fields are TOML scalars or arrays; a field whose default is ``None`` is left out where it is unset.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, allow_inf_nan=False, validate_default=True)

    tiny: ClassVar[Mapping[str, Any]] = {}
    """Options that make a combination of this component small enough (< 50k parameters) for contract tests."""

    parts: ClassVar[Mapping[str, str]] = {"fusion": "none", "update": "dense"}
    """Backbones only: the spec text of the parts a model gets when its spec leaves them out."""

    def implied(self) -> Mapping[str, Any]:
        """Values that follow from other options where a spec leaves them out, such as those of a preset."""
        return {}


class OptionInfo(NamedTuple):
    """One option in words: its type with range, its default as TOML text, and what it does."""

    type: str
    default: str
    description: str


def describe(options: type[Options]) -> dict[str, OptionInfo]:
    """Every option of a component by name, for ``polzoo info`` and for error messages."""
    schema = options.model_json_schema()
    found = {}
    for name, field in options.model_fields.items():
        shape = _shape(schema.get("properties", {}).get(name, {}), schema.get("$defs", {}))
        default = field.get_default(call_default_factory=True) if not field.is_required() else ...
        shown = "required" if default is ... else "unset" if default is None else toml_text(default)
        found[name] = OptionInfo(shape, shown, field.description or "")
    return found


def toml_text(value: Any) -> str:
    """A scalar or array as TOML text on one line; anything else as its ``repr``."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(toml_text, value)) + "]"
    return repr(value)


def _shape(schema: Mapping[str, Any], shared: Mapping[str, Any]) -> str:
    """A JSON schema in words: ``int, 1 to 3``, ``"reg" | "alt"``, ``array of 3 int``."""
    if "$ref" in schema:
        return _shape(shared.get(schema["$ref"].rsplit("/", 1)[-1], {}), shared)
    if "enum" in schema or "const" in schema:
        return " | ".join(map(toml_text, schema.get("enum", [schema.get("const")])))
    if "anyOf" in schema:
        return " | ".join(_shape(branch, shared) for branch in schema["anyOf"] if branch.get("type") != "null")
    if schema.get("type") == "array":
        inner = schema.get("items") or next(iter(schema.get("prefixItems", ())), {})
        least, most = schema.get("minItems"), schema.get("maxItems")
        count = f"{least} " if least == most and least is not None else ""
        return f"array of {count}{_shape(inner if isinstance(inner, Mapping) else {}, shared)}"
    name = {"integer": "int", "number": "float", "boolean": "bool", "string": "str"}.get(schema.get("type", ""), "any")
    return name + _range(schema)


def _range(schema: Mapping[str, Any]) -> str:
    words = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    words |= {"multipleOf": "a multiple of", "minLength": "length at least", "maxLength": "length at most"}
    both = "minimum" in schema and "maximum" in schema
    said = f", {schema['minimum']} to {schema['maximum']}" if both else ""
    rest = {key: word for key, word in words.items() if key in schema and not (both and key in ("minimum", "maximum"))}
    return said + "".join(f", {word} {schema[key]}" for key, word in rest.items())
