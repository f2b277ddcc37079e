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
    register(
        "igev",
        "polzoo.backbones.igev:IGEVStereo",
        config=f"{options}:IGEVOptions",
        summary="Selective-IGEV (Wang et al. 2024) and IGEV-Stereo (Xu et al. 2023); reads the official weights",
        licence="MIT",
    )
    register(
        "repvit",
        "polzoo.backbones.repvit:RepViTStereo",
        config=f"{options}:RepViTOptions",
        summary="RepViT blocks (Wang et al. 2024) for matching and context, recurrence as in igev: small and fast",
        licence="MIT",
    )


@hookimpl
def fusions(register: Register) -> None:
    register("none", "polzoo.interfaces:Fusion", summary="no fusion: the images alone", licence="MIT")
    for name, target, options, summary in (
        ("concat", "concat:ConcatFusion", "PolEncOptions", "polarization features joined to the matching features"),
        (
            "crossattn",
            "crossattn:CrossAttentionFusion",
            "CrossAttentionOptions",
            "features query polarization features",
        ),
        ("v1", "v1:StereoPolVolume", "PolVolumeOptions", "polarization differences beside the matching costs"),
        ("v2", "v2:StereoPolVolumeV2", "V2Options", "polarization attention and gated fusion of the two lookups"),
        ("v2a", "v2a:StereoPolVolumeV2A", "V2AOptions", "polarization residual on every lookup"),
        ("v2b", "v2b:StereoPolVolumeV2B", "V2BOptions", "polarization residual, let in step by step"),
        ("v2c", "v2c:StereoPolVolumeV2C", "V2COptions", "gradient-gated polarization residual on every lookup"),
        ("v2d", "v2d:StereoPolVolumeV2D", "V2DOptions", "gate on every looked-up cost from colour differences"),
        ("v2e", "v2e:StereoPolVolumeV2E", "V2EOptions", "volume weighed by the difference of each pair of pixels"),
        ("twopass", "twopass:TwoPassFusion", "ContextOptions", "second pass with the contrast the first has aligned"),
        ("film", "film:FiLMFusion", "FiLMOptions", "coarse polarization features scale and shift the context"),
        ("dualvolume", "dualvolume:DualVolumeFusion", "DualVolumeOptions", "two costs blended per pixel"),
        ("confidence", "confidence:GlassConfidence", None, "costs suppressed where polarization says glass"),
        ("sideinfo", "sideinfo:SideInformation", None, "difference, ratio and edge maps into the context"),
    ):
        register(
            name,
            f"polzoo.fusions.{target}",
            config=options and f"polzoo.fusions.options:{options}",
            summary=f"{summary} ({CREDIT})",
            licence="MIT",
        )


@hookimpl
def updates(register: Register) -> None:
    register("dense", "polzoo.updates.dense:Dense", summary="refine every pixel in every iteration", licence="MIT")
    register(
        "flashgru",
        "polzoo.updates.flashgru.flash:FlashGRU",
        config="polzoo.updates.options:FlashGRUOptions",
        summary="refine the most important pixels alone, exactly (after Pip-Stereo's FlashGRU)",
        licence="MIT",
    )


@hookimpl
def importances(register: Register) -> None:
    for name, target, summary in (
        ("attention", "Attention", "the backbone's own map: Selective-Stereo's share of the small kernel"),
        ("attention-inverse", "InverseAttention", "minus the backbone's own map"),
        ("gradient", "Gradient", "edges of the left image"),
        ("motion", "Motion", "magnitude of the last update; the first step is dense"),
        ("gate", "Gate", "the gate that the fusion recorded last; the first step is dense"),
        ("auto", "Auto", "attention where the backbone has it, else gradient"),
    ):
        register(name, f"polzoo.updates.importance:{target}", summary=summary, licence="MIT")


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
