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
    register(
        "pip",
        "polzoo.recipes.pip:Pip",
        config="polzoo.recipes.options:PipOptions",
        summary="fewer iterations by imitating a model that takes more (after Pip-Stereo's PIP)",
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
        summary="pairs and disparities of your own: a folder, a CSV or a TOML file",
        licence="MIT",
    )
    published, options = "polzoo.data.datasets", "polzoo.data.datasets.options"
    for name, target, config, summary in (
        ("polarized", "polarized:Polarized", "PolarizedOptions", "pairs of polarization cameras of your own"),
        ("sceneflow", "sceneflow:SceneFlow", "SceneFlowOptions", "FlyingThings3D, Monkaa, Driving (Mayer et al. 2016)"),
        ("kitti12", "kitti:Kitti12", "Kitti12Options", "KITTI 2012 (Geiger et al. 2012)"),
        ("kitti15", "kitti:Kitti15", "KittiOptions", "KITTI 2015 with its object maps (Menze & Geiger 2015)"),
        ("middlebury", "middlebury:Middlebury", "MiddleburyOptions", "Middlebury benchmark, version 3 (F, H, Q)"),
        ("middlebury03", "middlebury:Middlebury03", "RootOptions", "Middlebury 2003: cones, teddy"),
        ("middlebury05", "middlebury:Middlebury05", "Middlebury05Options", "Middlebury 2005: Art, Books, …"),
        ("middlebury06", "middlebury:Middlebury06", "Middlebury06Options", "Middlebury 2006: Aloe, Wood2, …"),
        ("middlebury14", "middlebury:Middlebury14", "Middlebury14Options", "Middlebury 2014: Motorcycle, …"),
        ("eth3d", "eth3d:ETH3D", "ETH3DOptions", "ETH3D two-view benchmark (Schöps et al. 2017)"),
        ("sintel", "sintel:Sintel", "SintelOptions", "MPI Sintel stereo (Butler et al. 2012)"),
        (
            "fallingthings",
            "fallingthings:FallingThings",
            "FallingThingsOptions",
            "Falling Things (Tremblay et al. 2018)",
        ),
        ("tartanair", "tartanair:TartanAir", "TartanAirOptions", "TartanAir (Wang et al. 2020)"),
        ("crestereo", "crestereo:CREStereo", "CREStereoOptions", "CREStereo's training set (Li et al. 2022)"),
        ("instereo2k", "instereo2k:InStereo2K", "InStereo2KOptions", "InStereo2K (Bao et al. 2020)"),
        ("drivingstereo", "drivingstereo:DrivingStereo", "DrivingStereoOptions", "DrivingStereo (Yang et al. 2019)"),
        ("fsd", "fsd:FSD", "RootOptions", "FoundationStereo's training set (Wen et al. 2025)"),
        ("bts", "bts:BTS", "RootOptions", "mixture of six synthetic and real sets that Pip-Stereo is trained on"),
    ):
        register(name, f"{published}.{target}", config=f"{options}:{config}", summary=summary, licence="MIT")
    register(
        "real-pairs",
        "polzoo.evaluation.real_pairs:RealPairs",
        config="polzoo.evaluation.options:RealPairsOptions",
        summary="five well-known real and rendered pairs, for a first look",
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
    register("d1", f"{module}:D1", summary="KITTI 2015's outliers: off by more than 3 px and 5 %", licence="MIT")
    register("rmse", f"{module}:RMSE", summary="root of the mean squared error in pixels", licence="MIT")
    register(
        "quantile",
        f"{module}:Quantile",
        config="polzoo.evaluation.options:QuantileOptions",
        summary="error that a share of the pixels stays below: A50, A90, …",
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
