"""A rig that is known exactly, and what its cameras record of a chequered plane that polarizes."""

from __future__ import annotations

import math

import cv2
import numpy as np

SIZE = (480, 640)
SQUARE, COLUMNS, ROWS = 0.05, 9, 6  # metres; inner corners
LAYOUT = np.deg2rad([[90, 45], [135, 0]])
DOLP, AOLP = 0.4, 30.0  # of the plane's light; degrees, in the left camera's frame without its roll


def matrices(roll=3.0, skew=2.0):
    """Calibration of two cameras 12 cm apart: lenses of some distortion, rolled and squinting by degrees."""
    camera = np.array([[620.0, 0, 322], [0, 618.0, 243], [0, 0, 1]])
    other = np.array([[625.0, 0, 317], [0, 623.0, 238], [0, 0, 1]])
    left, right = (cv2.Rodrigues(np.deg2rad(turn))[0] for turn in ([0.0, 0.5, roll], [skew / 2, -skew, -roll]))
    turn = right @ left.T
    move = right @ np.array([[-0.12], [0.002], [0.003]])
    return {
        "K1": camera,
        "D1": np.array([[-0.18, 0.05, 0.001, -0.001, 0.0]]),
        "K2": other,
        "D2": np.array([[-0.16, 0.04, -0.001, 0.001, 0.0]]),
        "R": turn,
        "T": move,
    }, (left, right)


def write(path, rig):
    store = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    for name, value in rig.items():
        store.write(name, value)
    store.release()


def record(rig, turns, side, distance=0.9):
    """The raw frame (H, W) uint16 of camera ``side`` (1 or 2): a chequered plane at ``distance`` metres.

    The world is the left camera without its roll and tilt; a camera sees ``turn · (X − centre)``. The plane's light is
    polarized along one direction of the world, so a camera sees that angle turned by its own roll.
    """
    turn = turns[side - 1]
    centre = np.zeros(3) if side == 1 else -turn.T @ rig["T"].ravel()
    x, y = np.meshgrid(np.arange(SIZE[1], dtype=np.float64), np.arange(SIZE[0], dtype=np.float64))
    rays = cv2.undistortPoints(np.stack([x, y], -1).reshape(-1, 1, 2), rig[f"K{side}"], rig[f"D{side}"]).reshape(-1, 2)
    rays = np.concatenate([rays, np.ones((len(rays), 1))], 1) @ turn  # turnᵀ · ray
    points = centre + rays * ((distance - centre[2]) / rays[:, 2:])
    light = 0.15 + 0.6 * _board(*points.T[:2] / SQUARE).reshape(SIZE)
    angle = math.radians(AOLP) - math.atan2(turn[1, 0], turn[0, 0])
    analyser = np.tile(LAYOUT, (SIZE[0] // 2, SIZE[1] // 2))
    seen = 0.5 * light * (1 + DOLP * np.cos(2 * (analyser - angle)))
    return (seen * 65535).round().astype(np.uint16)


def _board(u, v, sharp=8.0):
    """Soft-edged squares, white around them; (u, v) in squares from the middle, corners at whole numbers."""
    u0, v0 = u + (COLUMNS - 1) / 2 % 1, v + (ROWS - 1) / 2 % 1
    value = 0.5 + 0.5 * np.tanh(sharp * np.sin(np.pi * u0)) * np.tanh(sharp * np.sin(np.pi * v0))
    inside = (np.abs(u) < COLUMNS / 2 + 0.5) & (np.abs(v) < ROWS / 2 + 0.5)
    return np.where(inside, value, 1.0)
