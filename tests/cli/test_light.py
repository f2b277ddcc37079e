"""The command line starts at once: little CPU time, and none of the heavy packages."""

from __future__ import annotations

import os
import resource
import subprocess
import sys

import pytest

HEAVY = ("torch", "torchvision", "timm", "numpy", "cv2", "PIL", "matplotlib", "huggingface_hub", "accelerate")
COMMANDS = [[], ["--help"], ["list"], ["list", "--json"], ["plugins"], ["info", "raft"], ["info", "raft+v2c"]]
COMMANDS += [["info", "polstereo-nano"], ["list", "checkpoints"], ["plugins", "--json"]]
LIMIT = 0.5  # CPU-seconds


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "POLZOO_PLUGINS": ""}
    return subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, check=True, timeout=120
    )


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_nothing_heavy_is_imported(arguments: list[str]) -> None:
    script = (
        "import sys; from polzoo.cli.app import main; code = main(sys.argv[1:]);"
        f"print(code, [name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    )
    assert run("-c", script, *arguments).stderr == "0 []\n"


WRONG = ["predict no.png no.png", "predict {file} {file} --model nobody", "predict {file} {file} --out {file}"]
WRONG += ["explain {file} no.png", "explain {file} {file} --truth no.pfm"]


@pytest.mark.parametrize("arguments", WRONG)
def test_what_is_not_there_is_said_before_torch_is_loaded(arguments: str) -> None:
    script = (
        "import sys; from polzoo.cli.app import main; code = main(sys.argv[1:]);"
        "print(code, 'torch' in sys.modules, file=sys.stderr)"
    )
    assert run("-c", script, *arguments.format(file=__file__).split()).stderr.endswith("\n2 False\n")


def test_nothing_heavy_comes_with_the_package() -> None:
    script = (
        "import sys, polzoo; polzoo.hookimpl; polzoo.PolzooError; polzoo.list_components(); polzoo.list_models();"
        f"print([name for name in (*{HEAVY}, 'pydantic', 'click') if name in sys.modules])"
    )
    assert run("-c", script).stdout == "[]\n"


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_starts_within_half_a_cpu_second(arguments: list[str]) -> None:
    def spent() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        run("-m", "polzoo", *arguments)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert any(spent() < LIMIT for _ in range(5))  # a busy machine inflates even CPU time: one honest run is enough
