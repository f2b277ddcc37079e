"""Tiny data sets in the layout of the published ones, written with Pillow, numpy and struct, never with polzoo.

Each function makes a root and returns what a reader must find in its first pair. The right view is the left one moved
by 8 pixels, so that the truth, 8 everywhere but for marked pixels, can be checked by warping.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
from PIL import Image

HEIGHT, WIDTH, SHIFT = 24, 450, 8
TEXTURE = np.random.default_rng(0).integers(0, 256, (HEIGHT // 4, (WIDTH + SHIFT) // 2, 3), dtype=np.uint8)
SCENE = np.asarray(Image.fromarray(TEXTURE).resize((WIDTH + SHIFT, HEIGHT), Image.Resampling.BICUBIC))
LEFT, RIGHT = SCENE[:, :WIDTH], SCENE[:, SHIFT:]
EIGHT = np.full((HEIGHT, WIDTH), 8.0)
KNOWN = np.ones((HEIGHT, WIDTH), bool)
KNOWN[0, :5] = KNOWN[-1, -1] = False
"""Where the sets whose truth has holes have it: they are not the same upside down or mirrored."""
SEEN = KNOWN & (np.arange(WIDTH) >= SHIFT)


def views(left: Path, right: Path, *, mode: str = "RGB") -> None:
    for path, picture in ((left, LEFT), (right, RIGHT)):
        path.parent.mkdir(parents=True, exist_ok=True)
        made = Image.fromarray(picture).convert(mode)
        made.save(path, quality=95) if path.suffix == ".jpg" else made.save(path)


def pfm(path: Path, values: np.ndarray, scale: str = "-1.0") -> None:
    """Bottom row first, a number at a time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    order = "<" if scale.startswith("-") else ">"
    rows = b"".join(struct.pack(f"{order}{len(row)}f", *row) for row in values[::-1])
    path.write_bytes(f"Pf\n{values.shape[1]} {values.shape[0]}\n{scale}\n".encode() + rows)


def png(path: Path, values: np.ndarray, kind: type = np.uint16) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values.astype(kind)).save(path)


def units(scale: float) -> np.ndarray:
    return np.where(KNOWN, EIGHT * scale, 0)


def calib(path: Path) -> None:
    path.write_text(
        "cam0=[999.421 0 294.182; 0 999.421 252.932; 0 0 1]\ncam1=[999.421 0 326.96; 0 999.421 252.932; 0 0 1]\n"
        "doffs=32.778\nbaseline=193.001\nwidth=741\nheight=497\nndisp=70\nisint=0\nvmin=7\nvmax=65\n"
    )


def sceneflow(root: Path) -> None:
    for scene in ("FlyingThings3D/{}/TRAIN/A/0000", "FlyingThings3D/{}/TEST/A/0000", "Monkaa/{}/lonetree_x2",
                  "Driving/{}/15mm_focallength/scene_backwards/fast"):  # fmt: skip
        for render in ("frames_cleanpass", "frames_finalpass"):
            folder = root / scene.format(render)
            for number in ("0006", "0007"):
                views(folder / "left" / f"{number}.png", folder / "right" / f"{number}.png")
        for number in ("0006", "0007"):
            for side, sign in (("left", 1), ("right", -1)):
                pfm(root / scene.format("disparity") / side / f"{number}.pfm", sign * EIGHT)
    (root / "FlyingThings3D" / "all_unused_files.txt").write_text(
        "TEST/A/0000/left/0007.png\nTRAIN/B/0001/left/1.png\n"
    )


def _kitti(root: Path, folders: tuple[str, str], occ: str, noc: str) -> None:
    for number in ("000000_10", "000000_11", "000001_10"):
        for split in ("training", "testing"):
            views(*(root / split / folder / f"{number}.png" for folder in folders))
        if number.endswith("10"):
            png(root / "training" / occ / f"{number}.png", units(256))
            png(root / "training" / noc / f"{number}.png", np.where(SEEN, 8 * 256, 0))


def kitti12(root: Path) -> None:
    _kitti(root, ("colored_0", "colored_1"), "disp_occ", "disp_noc")
    views(root / "training/image_0/000000_10.png", root / "training/image_1/000000_10.png", mode="L")
    matrix = "7.070912e+02 0 6.018873e+02 {} 0 7.070912e+02 1.831104e+02 0 0 0 1 0"
    lines = [f"P{camera}: {matrix.format(shift)}" for camera, shift in enumerate((0, -3.798145e02, 45, -3.341e02))]
    (root / "training/calib").mkdir()
    (root / "training/calib/000000.txt").write_text("\n".join(lines) + "\n")


def kitti15(root: Path) -> None:
    _kitti(root, ("image_2", "image_3"), "disp_occ_0", "disp_noc_0")
    for number in ("000000_10", "000001_10"):
        png(root / f"training/disp_occ_1/{number}.png", units(256))
    objects = np.zeros((HEIGHT, WIDTH))
    objects[5:9, 20:60] = 2
    png(root / "training/obj_map/000000_10.png", objects, np.uint8)
    lines = ["calib_time: 09-Jan-2012 14:00:15"]
    for camera, shift in (("02", 44.85728), ("03", -339.5242)):
        lines.append(f"P_rect_{camera}: 721.5377 0 609.5593 {shift} 0 721.5377 172.854 0.2163791 0 0 1 0.002745884")
    (root / "training/calib_cam_to_cam").mkdir()
    (root / "training/calib_cam_to_cam/000000.txt").write_text("\n".join(lines) + "\n")


def middlebury03(root: Path) -> None:
    views(root / "teddy/im2.png", root / "teddy/im6.png")
    png(root / "teddy/disp2.png", units(4), np.uint8)


def middlebury05(root: Path) -> None:
    for place in ("Illum1/Exp1", "Illum3/Exp0"):
        views(root / "Art" / place / "view1.png", root / "Art" / place / "view5.png")
    png(root / "Art/disp1.png", units(3), np.uint8)
    views(root / "Dwarves/Illum1/Exp1/view1.png", root / "Dwarves/Illum1/Exp1/view5.png")


def middlebury06(root: Path) -> None:
    views(root / "Aloe/view1.png", root / "Aloe/view5.png")
    png(root / "Aloe/disp1.png", units(3), np.uint8)


def _mask(path: Path) -> None:
    png(path, np.where(SEEN, 255, np.where(KNOWN, 128, 0)), np.uint8)


def middlebury14(root: Path) -> None:
    for folder in ("Piano-perfect", "Piano-imperfect"):
        views(root / folder / "im0.png", root / folder / "im1.png")
        views(root / folder / "im0.png", root / folder / "im1E.png")
        pfm(root / folder / "disp0.pfm", np.where(KNOWN, EIGHT, np.inf), "1")
        calib(root / folder / "calib.txt")


def middlebury(root: Path) -> None:
    for split in ("training", "test"):
        folder = root / "MiddEval3" / f"{split}Q" / "Adirondack"
        views(folder / "im0.png", folder / "im1.png")
        calib(folder / "calib.txt")
    folder = root / "MiddEval3/trainingQ/Adirondack"
    pfm(folder / "disp0GT.pfm", np.where(KNOWN, EIGHT, np.inf))
    _mask(folder / "mask0nocc.png")


def eth3d(root: Path) -> None:
    for split in ("training", "test"):
        folder = root / f"two_view_{split}" / "delivery_area_1l"
        views(folder / "im0.png", folder / "im1.png", mode="L")
        calib(folder / "calib.txt")
    pfm(root / "two_view_training_gt/delivery_area_1l/disp0GT.pfm", np.where(KNOWN, EIGHT, np.inf))
    _mask(root / "two_view_training_gt/delivery_area_1l/mask0nocc.png")


def sintel(root: Path) -> None:
    for render in ("clean", "final"):
        views(*(root / "training" / f"{render}_{side}" / "alley_1" / "frame_0001.png" for side in ("left", "right")))
    packed = np.zeros((HEIGHT, WIDTH, 3))
    packed[..., 0], packed[..., 1], packed[..., 2] = 1, 255, 128  # 4 + 255/64 + 128/16384 = 7.9921875
    png(root / "training/disparities/alley_1/frame_0001.png", packed, np.uint8)
    border = np.arange(WIDTH) < SHIFT
    png(root / "training/outofframe/alley_1/frame_0001.png", np.where(border & (EIGHT > 0), 255, 0), np.uint8)
    png(root / "training/occlusions/alley_1/frame_0001.png", np.where(KNOWN, 0, 255), np.uint8)


def fallingthings(root: Path) -> None:
    for scene in ("single/002_master_chef_can_16k/kitchen_0", "mixed/kitedemo_0"):
        folder = root / scene
        views(folder / "000000.left.jpg", folder / "000000.right.jpg")
        depth = np.where(KNOWN, 57612, 0)  # 768.16 · 0.06 m / 8 px = 5.7612 m
        depth[1, 1] = 65535
        png(folder / "000000.left.depth.png", depth)
        intrinsics = {"fx": 768.16058349609375, "fy": 768.16058349609375, "cx": 480, "cy": 270, "s": 0}
        png(folder / "000000.right.depth.png", depth)
        (folder / "_camera_settings.json").write_text(
            json.dumps({"camera_settings": [{"name": "left", "intrinsic_settings": intrinsics}]})
        )


def tartanair(root: Path) -> None:
    for trajectory in ("office/Easy/P000", "ocean/ocean/Hard/P001"):
        folder = root / trajectory
        views(folder / "image_left/000000_left.png", folder / "image_right/000000_right.png")
        (folder / "depth_left").mkdir()
        np.save(folder / "depth_left/000000_left_depth.npy", np.full((HEIGHT, WIDTH), 10, np.float32))


def crestereo(root: Path) -> None:
    for part in ("hole", "reflective", "shapenet", "tree"):
        folder = root / part
        views(folder / "1_left.jpg", folder / "1_right.jpg")
        for side in ("left", "right"):
            png(folder / f"1_{side}.disp.png", units(32))


def instereo2k(root: Path) -> None:
    for scene in ("train/part1/000000", "test/000040"):
        views(root / scene / "left.png", root / scene / "right.png")
        png(root / scene / "left_disp.png", units(100))


def drivingstereo(root: Path) -> None:
    for weather in ("cloudy", "foggy", "rainy", "sunny"):
        for size, suffix, scale in (("half", "jpg", 256), ("full", "png", 128)):
            places = {kind: root / weather / f"{kind}-{size}-size" for kind in ("left-image", "right-image")}
            views(*(place / f"2018-10-25_1.{suffix}" for place in places.values()))
            png(root / weather / f"disparity-map-{size}-size/2018-10-25_1.png", units(scale))
    views(*(root / f"train-{side}-image/2018-07-09/2018-07-09_1.jpg" for side in ("left", "right")))
    png(root / "train-disparity-map/2018-07-09/2018-07-09_1.png", units(256))
    places = [
        root / f"test-{side}-image/{side}-image-full-size/2018-07-11/2018-07-11_1.png" for side in ("left", "right")
    ]
    views(*places)
    png(root / "test-disparity-map/disparity-map-full-size/2018-07-11/2018-07-11_1.png", units(128))


def fsd(root: Path) -> None:
    data = root / "manipulation_v5_realistic_kitchen_2500_1/dataset/data"
    views(data / "left/rgb/0000.jpg", data / "right/rgb/0000.jpg")
    packed = np.zeros((HEIGHT, WIDTH, 3))
    packed[..., 1], packed[..., 2] = 31, 95  # 31 · 255 + 95 = 8000
    png(data / "left/disparity/0000.png", packed, np.uint8)


def bts(root: Path) -> None:
    parts = {"SceneFlow": sceneflow, "CREStereo": crestereo, "TartanAir": tartanair, "SintelStereo": sintel}
    for folder, make in {**parts, "FallingThings": fallingthings, "InStereo2K": instereo2k}.items():
        make(root / folder)
