"""The pages under docs/ say what the code says, and their examples run."""

import importlib.util
import re
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from polzoo.registry import Registry, registry
from polzoo.testing import checks

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "interfaces.md").read_text(encoding="utf-8")
EXAMPLES = dict(re.findall(r"### (\w+)\n.*?```python\n(.*?)```", PAGE, re.S))


@pytest.fixture(scope="module")
def maker():
    spec = importlib.util.spec_from_file_location("make_reference", DOCS / "make_reference.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_backbones_holds_what_was_measured():
    path = DOCS.parent / "benchmarks" / "backbones_page.py"
    made = importlib.util.spec_from_file_location("backbones_page", path)
    assert made is not None and made.loader is not None
    module = importlib.util.module_from_spec(made)
    made.loader.exec_module(module)
    text = (DOCS / "backbones.md").read_text(encoding="utf-8")
    assert text.count("<!-- end -->") == 3
    assert module.page(text) == text, "run python benchmarks/backbones_page.py"


@pytest.mark.parametrize("name", ["interfaces.md", "plugins.md"])
def test_what_a_page_takes_from_the_source_is_what_it_says(maker, name):
    page = (DOCS / name).read_text(encoding="utf-8")
    assert maker.refreshed(page) == page, "run python docs/make_reference.py"


def test_every_public_name_is_on_the_page_with_its_signatures(maker):
    for name, said in maker.reference().items():
        assert f"<!-- {name} -->\n{said}\n<!-- end -->" in PAGE, f"{name} is missing on docs/interfaces.md"


def test_every_name_has_an_example(maker):
    assert set(EXAMPLES) == set(maker.reference()) - {"Pairwise"}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_short_and_runs(name):
    assert len([line for line in EXAMPLES[name].splitlines() if line]) <= 12
    exec(compile(EXAMPLES[name], f"docs/interfaces.md, {name}", "exec"), {"__name__": "example"})


def test_the_plugin_of_the_walk_keeps_the_contract(tmp_path, monkeypatch):
    """Its files as they stand on the page, registered as an entry point is."""
    page = (DOCS / "plugins.md").read_text(encoding="utf-8")
    for name, text in re.findall(r"```python\n# (my_package/\w+\.py)\n(.*?)```", page, re.S):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    added = Registry().add(EntryPoint("my-residual", "my_package.plugin", "polzoo"))
    assert added.error is None
    (entry,) = added.components
    with registry().temporary("fusion", entry.name, entry.target, entry.config):
        found = [check for check in checks("fusion", entry.name) if "raft-lite" in str(check.subject)]
        for check in found:
            check()
    for module in [name for name in sys.modules if name.partition(".")[0] == "my_package"]:
        monkeypatch.delitem(sys.modules, module)
