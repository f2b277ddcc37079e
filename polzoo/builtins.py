"""polzoo's own components, registered by the hooks that any plugin uses."""

from __future__ import annotations

from polzoo.hookspecs import Register, hookimpl

CREDIT = "Po-Ting Lin, blueprints, potinglin.org/blueprints"


@hookimpl
def backbones(register: Register) -> None:
    options = "polzoo.backbones.options"
    register(
        "raft",
        "polzoo.backbones.raft:RAFTStereo",
        config=f"{options}:RAFTOptions",
        summary="RAFT-Stereo (Lipson et al. 2021), disparity-native; reads the official weights",
        licence="MIT",
    )
    register(
        "raft-lite",
        "polzoo.backbones.raft_lite:RAFTLite",
        config=f"{options}:RAFTLiteOptions",
        summary=f"small one-GRU backbone with cosine correlation ({CREDIT})",
        licence="MIT",
    )


@hookimpl
def fusions(register: Register) -> None:
    register("none", "polzoo.interfaces:Fusion", summary="no fusion: the images alone", licence="MIT")
    register(
        "v2c",
        "polzoo.fusions.v2c:StereoPolVolumeV2C",
        config="polzoo.fusions.options:V2COptions",
        summary=f"gradient-gated polarization residual on every lookup ({CREDIT})",
        licence="MIT",
    )


@hookimpl
def updates(register: Register) -> None:
    register("dense", "polzoo.updates.dense:Dense", summary="refine every pixel in every iteration", licence="MIT")


@hookimpl
def recipes(register: Register) -> None:
    register(
        "supervised",
        "polzoo.recipes.supervised:Supervised",
        config="polzoo.recipes.options:SupervisedOptions",
        summary="sequence loss against ground-truth disparity",
        licence="MIT",
    )


@hookimpl
def datasets(register: Register) -> None:
    options = "polzoo.data.options"
    register(
        "synthetic",
        "polzoo.data.synthetic:Synthetic",
        config=f"{options}:SyntheticOptions",
        summary="scenes rendered on the fly, polarization included",
        licence="MIT",
    )
    register(
        "folder",
        "polzoo.data.folder:Folder",
        config=f"{options}:FolderOptions",
        summary="pairs and disparities from a folder of your own",
        licence="MIT",
    )


@hookimpl
def metrics(register: Register) -> None:
    module = "polzoo.evaluation.metrics"
    register("epe", f"{module}:EPE", summary="mean absolute disparity error in pixels", licence="MIT")
    register(
        "bad",
        f"{module}:Bad",
        config="polzoo.evaluation.options:BadOptions",
        summary="share of pixels whose error exceeds a threshold",
        licence="MIT",
    )
    register("density", f"{module}:Density", summary="share of pixels that have an estimate", licence="MIT")


@hookimpl
def baselines(register: Register) -> None:
    module, options = "polzoo.evaluation.sgbm", "polzoo.evaluation.options:SGBMOptions"
    register("sgbm", f"{module}:SGBM", config=options, summary="OpenCV's semi-global matching", licence="MIT")
    register(
        "sgbm-filled",
        f"{module}:SGBMFilled",
        config=options,
        summary="OpenCV's semi-global matching with its holes filled",
        licence="MIT",
    )
