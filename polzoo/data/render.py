"""Casting and shading of analytic stereo scenes under active polarized light: exact in both views, no forward warping.

Maps are (rows, columns), light is (RGB, rows, columns), float32; light is in units where 1 saturates a camera.

Sources: Fresnel's equations, Born & Wolf, *Principles of Optics*, §1.5.2; sensor model of active polarization stereo
after Po-Ting Lin: a diffuse surface depolarises (I∥ = I⊥), glass keeps the state of what it mirrors (I⊥ = 0).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from polzoo.data.surfaces import SOLID, Map, Surface

GLASS_INDEX = 1.5
TOUCHING = 0.02
"""Two surfaces closer than this in disparity (pixels) do not hide each other; covers float32 rounding."""


@dataclass(frozen=True)
class Camera:
    """What makes one camera differ from the ideal one: gain, gamma, vignetting at the corners, focus blur in pixels."""

    gain: float = 1.0
    gamma: float = 1.0
    vignetting: float = 0.0
    blur: float = 0.0


@dataclass(frozen=True)
class Scene:
    """Everything in front of two rectified cameras whose principal points are the centres of their images.

    Attributes:
        size: (H, W) of both views, pixels.  focal: focal length, pixels.
        surfaces: any order.  environment: (N, N, 3) light arriving from every direction, see ``_reflected``.
        light: direction the form-shading light travels in (x right, y down, z forward).
        extinction: extinction ratio ER of the analysers.  noise: (read, shot) of the sensors, see ``expose``.
    """

    size: tuple[int, int]
    focal: float
    surfaces: tuple[Surface, ...]
    environment: Map
    light: tuple[float, float, float] = (0.0, 0.0, 1.0)
    extinction: float = 1000.0
    cameras: tuple[Camera, Camera] = (Camera(), Camera())
    noise: tuple[float, float] = (0.004, 0.01)


@dataclass(frozen=True)
class View:
    """What reaches one ideal camera: nearest disparity (H, W), glass (H, W) bool, and two layers of light (3, H, W).

    ``diffuse`` is unpolarized: half of it passes either analyser. ``specular`` kept the light's polarization.
    """

    disparity: Map
    glass: NDArray[np.bool_]
    diffuse: Map
    specular: Map

    def analysed(self, extinction: float) -> tuple[Map, Map]:
        """(I∥′, I⊥′), noise free: ½·diffuse + specular and ½·diffuse, each leaking 1/ER of the other."""
        crossed = self.diffuse / 2
        parallel = crossed + self.specular
        return parallel + crossed / extinction, crossed + parallel / extinction


@dataclass(frozen=True)
class Rendered:
    """Both views, and for every left pixel whether the right camera sees that very surface point, (H, W) bool."""

    left: View
    right: View
    visible: NDArray[np.bool_]


def render(scene: Scene) -> Rendered:
    """The noise-free layers of both views of ``scene``, with exact geometry."""
    left, right = _view(scene, 0), _view(scene, 1)
    return Rendered(left, right, _visible(scene, left.disparity))


def reflectance(cosine: Map) -> Map:
    """Share of unpolarized light that ONE face of glass reflects at this cosine of the incidence angle, [0.04, 1]."""
    refracted = np.sqrt(1 - (1 - cosine * cosine) / GLASS_INDEX**2)
    s = (cosine - GLASS_INDEX * refracted) / (cosine + GLASS_INDEX * refracted)
    p = (GLASS_INDEX * cosine - refracted) / (GLASS_INDEX * cosine + refracted)
    return (s * s + p * p) / 2


def expose(scene: Scene, rendered: Rendered, polarity: float, rng: np.random.Generator | None) -> tuple[Map, Map]:
    """The two pictures, (3, H, W) in [0, 1], quantised to 8 bits; ``rng`` draws the sensor noise, ``None``: no noise.

    One exposure for both: a diffuse surface looks the same through either analyser and without any. ``polarity`` as
    in ``Sample``. The noise's variance is read² + shot²·I, I being the recorded value.
    """
    exposure = 2 / (1 + 1 / scene.extinction)
    pictures = []
    for view, camera, sign in zip((rendered.left, rendered.right), scene.cameras, (polarity, -polarity), strict=True):
        if polarity:
            light = exposure * view.analysed(scene.extinction)[0 if sign > 0 else 1]
        else:
            light = view.diffuse + view.specular
        pictures.append(_record(light, camera, scene.noise, rng))
    return pictures[0], pictures[1]


def _view(scene: Scene, side: int) -> View:
    height, width = scene.size
    disparity = np.full((height, width), -np.inf, np.float32)
    glass = np.zeros((height, width), bool)
    diffuse, specular = np.zeros((2, 3, height, width), np.float32)
    # Far to near, so that a soft edge mixes with what is behind it; glass last, as it needs its background finished.
    for surface in sorted(scene.surfaces, key=lambda one: (one.tint is not None, not one.unbounded, one.base)):
        box = _box(surface, scene.size, side)
        if box is None:
            continue
        x, y = _grid(box)
        s = y - np.float32(surface.centre[1])
        t, hit = (x - np.float32(surface.centre[0]), True) if side == 0 else surface.unproject(x, s)
        t = np.broadcast_to(t, (y.size, x.size))
        d = surface.disparity(t, s) if side == 0 else t + np.float32(surface.centre[0]) - x
        near = hit & (d > disparity[box])
        *colours, cover = cv2.split(surface.paint(surface.sprite, t, s))
        solid = near & (cover >= SOLID)
        colour, cover = np.float32(1 / 255) * np.stack(colours), np.float32(1 / 255) * (cover * near)
        behind, polarized = (layer[(slice(None), *box)] for layer in (diffuse, specular))
        if surface.tint is None:
            if surface.height:
                colour *= _shade(scene, surface, t, s, d)
            behind += cover * (colour - behind)
        else:
            mirror, light = _reflected(scene, surface, x, y, t, s, d)
            tint = np.array(surface.tint, np.float32)[:, None, None]
            through = 1 - cover + cover * (1 - mirror) * tint * (1 - colour)
            behind *= through
            behind += cover * colour
            # Only where the mask says glass: polarization is never seen beside it.
            polarized *= through
            polarized += (cover * solid * mirror) * light
        glass[box] = np.where(solid, surface.tint is not None, glass[box])
        disparity[box] = np.where(solid, d, disparity[box])
    return View(disparity, glass, diffuse, specular)


def _visible(scene: Scene, disparity: Map) -> NDArray[np.bool_]:
    """Left pixels whose ray from the right camera meets nothing nearer, and falls within the right frame."""
    width = disparity.shape[1]
    x_right = np.arange(width, dtype=np.float32) - disparity
    visible = (x_right >= 0) & (x_right <= width - 1)
    for surface in scene.surfaces:
        if surface.unbounded:  # a room is a maximum of planes, convex in x: it hides nothing that is before it
            continue
        box = _box(surface, scene.size, side=1, behind=True)
        if box is None:
            continue
        s = _grid(box)[1] - np.float32(surface.centre[1])
        t, hit = surface.unproject(x_right[box], s)
        nearer = t + np.float32(surface.centre[0]) - x_right[box] > disparity[box] + TOUCHING
        visible[box] &= ~(hit & nearer & (surface.paint(surface.coverage, t, s) >= SOLID))
    return visible


def _box(surface: Surface, size: tuple[int, int], side: int, *, behind: bool = False) -> tuple[slice, slice] | None:
    """Rows and columns of a view that can show the surface; ``behind``: left pixels that it can hide in the right."""
    (height, width), (x, y), (half_x, half_y), (low, high) = size, surface.centre, surface.half, surface.span
    if surface.unbounded:
        return slice(0, height), slice(0, width)
    first, last = x - half_x - side * high, x + half_x - side * low + behind * high
    top, bottom = max(0, int(np.floor(y - half_y))), min(height, int(np.ceil(y + half_y)) + 1)
    start, stop = max(0, int(np.floor(first))), min(width, int(np.ceil(last)) + 1)
    return (slice(top, bottom), slice(start, stop)) if top < bottom and start < stop else None


def _grid(box: tuple[slice, slice]) -> tuple[Map, Map]:
    rows, columns = box
    x = np.arange(columns.start, columns.stop, dtype=np.float32)[None, :]
    return x, np.arange(rows.start, rows.stop, dtype=np.float32)[:, None]


def _normal(scene: Scene, surface: Surface, t: Map, s: Map, d: Map) -> tuple[Map | float, Map | float, Map]:
    """Unit normal, away from the cameras. Points of the tangent plane fulfil f·d_x·X + f·d_y·Y + d₀·Z = f·B."""
    height, width = scene.size
    d_x, d_y = surface.gradient(t, s)
    x, y = t + np.float32(surface.centre[0] - (width - 1) / 2), s + np.float32(surface.centre[1] - (height - 1) / 2)
    z = d - d_x * x - d_y * y
    n_x, n_y = scene.focal * d_x, scene.focal * d_y
    length = np.sqrt(n_x * n_x + n_y * n_y + z * z)
    return n_x / length, n_y / length, z / length


def _shade(scene: Scene, surface: Surface, t: Map, s: Map, d: Map) -> Map:
    """Lambert's cosine with a generous ambient share: what makes a ball look round."""
    cosine = sum(a * b for a, b in zip(_normal(scene, surface, t, s, d), scene.light, strict=True))
    return 0.35 + 0.65 * np.maximum(cosine, 0)


def _reflected(scene: Scene, surface: Surface, x: Map, y: Map, t: Map, s: Map, d: Map) -> tuple[Map, Map]:
    """Share of light that a pane's two faces mirror, (n, m), and the light that arrives there, (3, n, m).

    The environment is far away and stored stereographically: its centre is the direction back to the cameras,
    directions at a right angle to the optical axis lie about two thirds of the way to its border.
    """
    height, width = scene.size
    v_x, v_y, v_z = x - np.float32((width - 1) / 2), y - np.float32((height - 1) / 2), np.float32(scene.focal)
    length = np.sqrt(v_x * v_x + v_y * v_y + v_z * v_z)
    v_x, v_y, v_z = v_x / length, v_y / length, v_z / length
    n_x, n_y, n_z = _normal(scene, surface, t, s, d)
    cosine = np.clip(n_x * v_x + n_y * v_y + n_z * v_z, 1e-3, 1)
    face = reflectance(cosine)
    r_x, r_y, r_z = v_x - 2 * cosine * n_x, v_y - 2 * cosine * n_y, v_z - 2 * cosine * n_z
    centre = (len(scene.environment) - 1) / 2
    zoom = np.float32(centre / 1.5) / (1.05 - r_z)
    light = cv2.remap(
        scene.environment, centre + r_x * zoom, centre + r_y * zoom, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    return 2 * face / (1 + face), np.stack(cv2.split(light))


def _record(light: Map, camera: Camera, noise: tuple[float, float], rng: np.random.Generator | None) -> Map:
    _, height, width = light.shape
    if camera.blur:
        light = np.stack([cv2.GaussianBlur(channel, (0, 0), camera.blur) for channel in light])
    if camera.vignetting:
        y, x = np.linspace(-1, 1, height, dtype=np.float32)[:, None], np.linspace(-1, 1, width, dtype=np.float32)
        light = light * (1 - np.float32(camera.vignetting / 2) * (x * x + y * y))
    light = np.float32(camera.gain) * light
    np.clip(light, 0, 1, out=light)  # in place from here on: fresh memory would cost as much as the arithmetic
    if camera.gamma != 1:
        light **= np.float32(camera.gamma)
    if rng is not None:
        read, shot = noise
        spread = np.float32(shot**2) * light
        spread += np.float32(read**2)
        np.sqrt(spread, out=spread)
        spread *= rng.standard_normal(light.shape, np.float32)
        light += spread
        np.clip(light, 0, 1, out=light)
    light *= 255
    np.rint(light, out=light)
    light /= np.float32(255)
    return light
