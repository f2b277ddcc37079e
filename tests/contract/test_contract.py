"""Every built-in component, and every combination of a backbone, a fusion and an update operator, through the suite
that third parties call: polzoo.testing says what is demanded."""

from pathlib import Path

import numpy as np
import pytest

from polzoo.data.formats import write_disparity, write_image
from polzoo.data.options import SyntheticOptions
from polzoo.data.synthetic import Synthetic
from polzoo.testing import all_checks, checks

CHECKS = all_checks("polzoo", slow=True)
GRAPHS = [check for check in CHECKS if check.rule.slow]
BARE = [check for check in GRAPHS if check.subject.keeps_defaults("fusion")]
FUSED = [check for check in GRAPHS if check.subject.keeps_defaults("update") and check not in BARE]
QUICK = [check for check in BARE if check.rule.name == "exports" and check.subject.keeps_defaults("update")]
SPARSE = [check for check in CHECKS if check.rule.name == "prunes" and not check.subject.keeps_defaults("update")]


@pytest.mark.parametrize("check", [check for check in CHECKS if not check.rule.slow and check not in SPARSE])
def test_contract(check):
    check()


@pytest.mark.slow
@pytest.mark.parametrize("check", SPARSE)
def test_each_sparse_combination_prunes(check):
    check()


@pytest.mark.parametrize("check", QUICK)
def test_each_backbone_exports(check):
    check()


@pytest.mark.slow
@pytest.mark.parametrize("check", [check for check in BARE + FUSED if check not in QUICK])
def test_each_combination_compiles_and_exports(check):
    check()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Three scenes as files."""
    path, scenes = tmp_path_factory.mktemp("pairs"), Synthetic(SyntheticOptions(length=3, height=64, width=96))
    for kind in ("left", "right", "disparity"):
        (path / kind).mkdir()
    for i in range(len(scenes)):
        scene = scenes[i]
        assert scene.disparity is not None
        for kind in ("left", "right"):
            picture = np.rint(255 * getattr(scene, kind)).astype(np.uint8).transpose(1, 2, 0)
            write_image(path / kind / f"{i}.png", np.ascontiguousarray(picture))
        write_disparity(path / "disparity" / f"{i}.pfm", scene.disparity[0])
    return path


@pytest.mark.parametrize("rule", [check.rule.name for check in checks("dataset", "folder")])
def test_a_data_set_that_needs_options(rule, folder):
    found = checks("dataset", "folder", options={"path": str(folder)})
    next(check for check in found if check.rule.name == rule)()
