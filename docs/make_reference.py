"""Refresh what pages take from the source: ``python docs/make_reference.py``.

Between ``<!-- NAME -->`` and ``<!-- end -->`` stands, in ``interfaces.md``, what polzoo/interfaces.py says of a name
(docstring, fields, methods) and, in ``plugins.md``, the rules of polzoo.testing. The rest of the pages, examples
included, is written by hand. tests/test_docs.py holds them to both.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

PAGES = [Path(__file__).with_name(name) for name in ("interfaces.md", "plugins.md")]
SOURCE = Path(__file__).parents[1] / "polzoo" / "interfaces.py"
_SECTION = re.compile(r"^(Attributes|Args|Returns|Raises):$", re.M)


def main() -> None:
    """Rewrite the pages."""
    for page in PAGES:
        page.write_text(refreshed(page.read_text(encoding="utf-8")), encoding="utf-8")


def refreshed(page: str) -> str:
    """The page with every generated part as the source has it now; a KeyError names what the source does not have."""
    found = {**reference(), "rules": rules()}
    return re.sub(
        r"<!-- (\w+) -->\n.*?<!-- end -->",
        lambda match: f"<!-- {match[1]} -->\n{found[match[1]]}\n<!-- end -->",
        page,
        flags=re.S,
    )


def reference() -> dict[str, str]:
    """Every public name of the source → what is said of it, as Markdown."""
    found = {}
    body = ast.parse(SOURCE.read_text(encoding="utf-8")).body
    for node, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.ClassDef):
            found[node.name] = "\n\n".join(_class(node))
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = f"`{ast.unparse(node)}`\n\n{_markdown(_text(after))}"
    return {name: text for name, text in found.items() if not name.startswith("_")}


def rules() -> str:
    """What the contract demands of each kind of component, as Markdown."""
    from polzoo.testing.contract import RULES

    parts = []
    for kind, found in RULES.items():
        parts.append(f"### {'Every combination' if kind == 'model' else kind.capitalize()}")
        lines = (f"- **{one.name}**{' (slow)' if one.slow else ''}: {_markdown(one.demand)}" for one in found)
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _class(node: ast.ClassDef) -> list[str]:
    bases = ", ".join(ast.unparse(base) for base in node.bases)
    meanings: dict[str, str] = {}
    said = _markdown(ast.get_docstring(node), meanings)
    fields = [one for one in node.body if isinstance(one, ast.AnnAssign)]
    told = [(ast.unparse(one), meanings.get(ast.unparse(one.target))) for one in fields]
    listed = "\n".join(f"- `{field}`: {meaning}" if meaning else f"- `{field}`" for field, meaning in told)
    parts = [f"`class {node.name}({bases})`" if bases else f"`class {node.name}`", said, listed]
    for one in node.body:
        if isinstance(one, ast.FunctionDef):
            result = f" -> {ast.unparse(one.returns)}" if one.returns else ""
            parts += [f"**`{one.name}({ast.unparse(one.args)}){result}`**", _markdown(ast.get_docstring(one))]
    return [part for part in parts if part]


def _text(node: ast.stmt | None) -> str:
    """The string that stands alone after an assignment and documents it."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return node.value.value
    return ""


def _markdown(doc: str | None, attributes: dict[str, str] | None = None) -> str:
    """A docstring's paragraphs and sections, as Markdown; what it says of attributes goes to ``attributes``."""
    text = re.sub(r":\w+:`(?:~?[\w.]*\.)?(\w+)`", r"``\1``", doc or "").replace("``", "`")
    pieces = _SECTION.split(text)
    parts = [_join(paragraph) for paragraph in pieces[0].split("\n\n")]
    for title, block in zip(pieces[1::2], pieces[2::2], strict=True):
        items = [_join(item) for item in re.split(r"\n(?= {4}\S)", block.strip("\n"))]
        if title == "Attributes" and attributes is not None:
            attributes.update((name, meaning) for name, _, meaning in (item.partition(": ") for item in items))
        elif title == "Returns":
            parts.append(f"Returns: {' '.join(items)}")
        else:
            named = (item.partition(": ") for item in items)
            parts.append("\n".join([f"{title}:", "", *(f"- `{name}`: {meaning}" for name, _, meaning in named)]))
    return "\n\n".join(part for part in parts if part)


def _join(lines: str) -> str:
    return " ".join(lines.split())


if __name__ == "__main__":
    main()
