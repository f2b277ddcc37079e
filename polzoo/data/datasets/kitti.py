"""KITTI 2012 (Geiger et al., CVPR 2012) and KITTI 2015 (Menze & Geiger, CVPR 2015)."""

from __future__ import annotations

from polzoo.data.calib import read_kitti
from polzoo.data.datasets.options import Kitti12Options, KittiOptions
from polzoo.data.datasets.published import Files, Maps, Published
from polzoo.data.formats import KITTI, read_disparity, read_numbers
from polzoo.data.sample import Camera


class _Kitti(Published):
    """16-bit PNG disparities, d = v / 256, 0 where unknown (devkit readme). Truth of all pixels is ``disp_occ``;
    ``visible`` is where ``disp_noc``, the pixels not occluded, has truth as well, and None where it is not there."""

    options: KittiOptions
    folders: tuple[str, str]
    known_folders: tuple[str, str]

    def find(self) -> list[str]:
        return self.glob(f"{self.options.split}/{self.folders[0]}/*_10.png")

    def files(self, left: str) -> dict[str, str | None]:
        split, _, name = left.split("/")
        files: dict[str, str | None] = {"right": f"{split}/{self.folders[1]}/{name}"}
        if split == "training":
            all_pixels, not_occluded = self.known_folders
            files["disparity"] = f"{split}/{all_pixels}/{name}"
            files["visible"] = self.has(f"{split}/{not_occluded}/{name}")
            files["objects"] = self.has(f"{split}/obj_map/{name}")
        return files

    def truth(self, files: Files) -> Maps:
        disparity, known = read_disparity(files["disparity"], KITTI, bits=[16])
        maps: Maps = {"disparity": disparity, "known": known}
        if "visible" in files:
            maps["visible"] = read_numbers(files["visible"], "a disparity", bits=[16]) > 0
        if "objects" in files:
            maps["objects"] = read_numbers(files["objects"], "an object map", bits=[8])
        return maps


class Kitti12(_Kitti):
    """KITTI 2012: ``training/`` and ``testing/`` with ``colored_0/`` and ``colored_1/`` (or ``image_0/``, ``image_1/``,
    grey), ``disp_occ/``, ``disp_noc/`` and ``calib/``."""

    title = "kitti12"
    homepage = "https://www.cvlibs.net/datasets/kitti/eval_stereo_flow.php?benchmark=stereo"
    known_folders = ("disp_occ", "disp_noc")

    options: Kitti12Options

    def __init__(self, options: Kitti12Options) -> None:
        self.folders = ("colored_0", "colored_1") if options.colour else ("image_0", "image_1")
        super().__init__(options)

    def files(self, left: str) -> dict[str, str | None]:
        split, _, name = left.split("/")
        return super().files(left) | {"calib": self.has(f"{split}/calib/{name.removesuffix('_10.png')}.txt")}

    def camera(self, files: Files) -> Camera | None:
        keys = ("P2", "P3") if self.options.colour else ("P0", "P1")
        return read_kitti(files["calib"], *keys) if "calib" in files else None


class Kitti15(_Kitti):
    """KITTI 2015: ``training/`` and ``testing/`` with ``image_2/``, ``image_3/``, ``disp_occ_0/``, ``disp_noc_0/``,
    ``obj_map/`` (``objects``: 0 is background, else a car's number) and ``calib_cam_to_cam/``."""

    title = "kitti15"
    homepage = "https://www.cvlibs.net/datasets/kitti/eval_scene_flow.php?benchmark=stereo"
    folders = ("image_2", "image_3")
    known_folders = ("disp_occ_0", "disp_noc_0")

    def files(self, left: str) -> dict[str, str | None]:
        split, _, name = left.split("/")
        return super().files(left) | {"calib": self.has(f"{split}/calib_cam_to_cam/{name.removesuffix('_10.png')}.txt")}

    def camera(self, files: Files) -> Camera | None:
        return read_kitti(files["calib"], "P_rect_02", "P_rect_03") if "calib" in files else None
