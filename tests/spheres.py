"""Spheres over a floor, seen by a camera: pictures with their true classes, depths and normals.

The camera is at the origin, x to the right, y down, z ahead; the floor is at y = 1 and ends at z = 8. Beyond is sky, of
which depth and normal are unknown.
"""

from __future__ import annotations

import numpy as np

CLASSES = ("sky", "floor", "sphere")
COLOURS = np.array([[0.5, 0.7, 1.0], [0.6, 0.5, 0.4], [0.9, 0.3, 0.3]])
LIGHT = np.array([0.5, -0.7, -0.5]) / np.sqrt(0.99)
END = 8.0


def scene(rng: np.random.Generator, size: int = 32) -> dict[str, np.ndarray]:
    """`picture [H, W, 3]` uint8, `mask [H, W]` uint8, `depth [H, W]` and `normals [H, W, 3]` float32."""
    across = (np.arange(size) + 0.5 - size / 2) / size
    x, y = np.meshgrid(across, across)
    rays = np.stack([x, y, np.ones_like(x)], -1)
    depth = np.where(y > 1 / END, 1 / np.where(y > 0, y, 1), np.inf)
    mask = np.where(np.isfinite(depth), 1, 0).astype(np.uint8)
    normals = np.where(mask[..., None] == 1, [0.0, -1.0, 0.0], np.nan)
    for _ in range(int(rng.integers(1, 4))):
        radius = rng.uniform(0.4, 0.9)
        centre = np.array([rng.uniform(-1.2, 1.2), 1 - radius, rng.uniform(2.5, 5)])
        a, b, c = (rays**2).sum(-1), rays @ centre, centre @ centre - radius**2
        root = b**2 - a * c
        reached = (b - np.sqrt(root.clip(0))) / a
        here = (root > 0) & (reached < depth)
        depth, mask = np.where(here, reached, depth), np.where(here, 2, mask).astype(np.uint8)
        normals = np.where(here[..., None], (rays * reached[..., None] - centre) / radius, normals)
    shade = 0.35 + 0.65 * np.nan_to_num(normals @ LIGHT, nan=1.0).clip(0)
    colours = (COLOURS[mask] * shade[..., None] + rng.normal(0, 0.03, (size, size, 3))).clip(0, 1)
    return {
        "picture": (255 * colours).astype(np.uint8),
        "mask": mask,
        "depth": depth.astype(np.float32),
        "normals": normals.astype(np.float32),
    }
