"""Holds `glavitu warp` against GDAL's warper (rasterio.warp). Usage: warp.py PROGRAM

Bilinear values must agree within 1e-3 of the value range away from edges, nearest ones but for pixels whose centre lies within a hundredth of
a pixel of another, and which pixels have data must agree but for the same few.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import rasterio
from rasterio import warp
from rasterio.enums import Resampling
from rasterio.transform import Affine
from rasterio.vrt import WarpedVRT

UTM = Affine(30, 0, 4e5, 0, -30, 5.2e6)
FINE = Affine(10, 0, 4e5, 0, -10, 5.2e6)
DEGREES = Affine(1 / 3600, 0, 7.6, 0, -1 / 3600, 47.0)
SVALBARD = Affine(30, 0, 4.8e5, 0, -30, 8.75e6)


def around(epsg, transform, size, to_epsg, step, to_size):
    """The transform of a grid in another CRS with the same centre; `step` is the pixel (x, y)."""
    x, y = transform * (size[0] / 2, size[1] / 2)
    (x,), (y,) = warp.transform(f"EPSG:{epsg}", f"EPSG:{to_epsg}", [x], [y])
    return Affine(step[0], 0, x - step[0] * to_size[0] / 2, 0, -step[1], y + step[1] * to_size[1] / 2)


def pair(name, epsg, transform, size, to_epsg, step, to_size):
    return name, epsg, transform, size, to_epsg, around(epsg, transform, size, to_epsg, step, to_size), to_size


# Name, source EPSG, transform and size (width, height), target EPSG, transform and size.
CASES = [
    pair("UTM to degrees", 32632, UTM, (400, 350), 4326, (0.00035, 0.00025), (520, 500)),
    pair("degrees to UTM", 4326, DEGREES, (700, 500), 32632, (20, 20), (800, 900)),
    pair("UTM to polar stereographic", 32633, SVALBARD, (500, 500), 3413, (30, 30), (600, 600)),
    pair("polar stereographic to UTM", 3413, Affine(30, 0, 1030000, 0, -30, -600000), (600, 500), 32633, (30, 30), (600, 600)),
    pair("polar stereographic to degrees", 3413, Affine(100, 0, 1000000, 0, -100, -600000), (500, 600), 4326, (0.004, 0.0008), (700, 700)),
    pair("degrees to polar stereographic", 4326, Affine(0.004, 0, 12.0, 0, -0.001, 79.5), (900, 800), 3413, (80, 80), (800, 700)),
    pair("degrees to the Antarctic", 4326, Affine(0.005, 0, 60.0, 0, -0.002, -70.0), (900, 900), 3031, (150, 150), (900, 900)),
    pair("Antarctic to UTM", 3031, Affine(100, 0, -2400000, 0, -100, 1300000), (500, 500), 32719, (100, 100), (600, 600)),
    pair("1 second to 100 m", 4326, DEGREES, (1800, 1400), 32632, (100, 100), (400, 450)),
    ("half a pixel", 32632, UTM, (300, 200), 32632, UTM * Affine.translation(0.5, 0.5), (300, 200)),
    ("a third of a pixel, turned", 32632, UTM, (300, 300), 32632, UTM * Affine.translation(40.3, 90.7) * Affine.rotation(20), (250, 200)),
    ("10 m to 30 m", 32632, FINE, (600, 600), 32632, UTM, (200, 200)),
    ("10 m to 45 m", 32632, FINE, (900, 900), 32632, Affine(45, 0, 4e5, 0, -45, 5.2e6), (200, 200)),
    ("60 m to 10 m", 32632, Affine(60, 0, 4e5, 0, -60, 5.2e6), (100, 100), 32632, FINE, (600, 600)),
]


def scales(epsg, transform, to_epsg, to_transform, to_size):
    """Target pixels per source pixel along the source's axes, at most 1; from the Jacobian in the target's centre.

    GDAL takes them from bounding boxes, which rotation makes larger: it would blur a raster that is only turned.
    """
    col, row = to_size[0] / 2, to_size[1] / 2
    x, y = zip(*[to_transform * (col + a, row + b) for a, b in ((-0.5, 0), (0.5, 0), (0, -0.5), (0, 0.5))])
    x, y = warp.transform(f"EPSG:{to_epsg}", f"EPSG:{epsg}", x, y)
    west, east, north, south = [~transform * p for p in zip(x, y)]
    sides = [np.hypot(east[i] - west[i], south[i] - north[i]) for i in (0, 1)]
    return [1 / side if 1 / side < 0.95 else 1 for side in sides]


def surface(width, height, gaps):
    """A rough surface: hills of many sizes, as float32, with gaps as NaN."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    z = np.zeros((height, width))
    for wavelength in (9, 17, 40, 90, 300):
        for _ in range(3):
            angle, phase = rng.uniform(0, 2 * np.pi, 2)
            z += wavelength**0.8 * np.sin((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / wavelength + phase)
    z = z.astype(np.float32)
    if gaps:
        z[rng.random(z.shape) < 0.01] = np.nan
        z[height // 3 : height // 3 + 20, width // 2 : width // 2 + 30] = np.nan
    return z


def erode(mask, by):
    """Pixels whose neighbours up to `by` away are all in the mask."""
    out = mask.copy()
    for _ in range(by):
        inner = np.zeros_like(out)
        inner[1:-1, 1:-1] = out[1:-1, 1:-1] & out[:-2, 1:-1] & out[2:, 1:-1] & out[1:-1, :-2] & out[1:-1, 2:]
        out = inner
    return out


def write(path, values, epsg, transform):
    height, width = values.shape
    with rasterio.open(path, "w", driver="GTiff", width=width, height=height, count=1, dtype="float32", nodata=np.nan,
                       crs=f"EPSG:{epsg}", transform=transform) as out:
        out.write(values, 1)


def check(program, folder, case, gaps, method):
    name, epsg, transform, (width, height), to_epsg, to_transform, (to_width, to_height) = case
    values = surface(width, height, gaps)
    source, grid, out = folder / "source.tif", folder / "grid.tif", folder / "out.tif"
    write(source, values, epsg, transform)
    write(grid, np.zeros((to_height, to_width), np.float32), to_epsg, to_transform)
    subprocess.run([program, "warp", source, "--grid", grid, "--method", method, "-o", out], check=True,
                   stdout=subprocess.DEVNULL)
    with rasterio.open(out) as file:
        found = file.read(1)
    across, down = scales(epsg, transform, to_epsg, to_transform, (to_width, to_height))
    # rasterio.warp.reproject approximates positions whatever its tolerance is; the virtual raster obeys.
    with rasterio.open(source) as raster, WarpedVRT(
        raster, crs=f"EPSG:{to_epsg}", transform=to_transform, width=to_width, height=to_height, tolerance=1e-6,
        resampling=Resampling[method], src_nodata=np.nan, nodata=np.nan, XSCALE=across, YSCALE=down,
    ) as warped:
        expected = warped.read(1)
    spread = float(np.nanmax(values) - np.nanmin(values))
    both = ~np.isnan(found) & ~np.isnan(expected)
    assert both.sum() > 2000, f"{name}: only {both.sum()} pixels in common"
    differ = (np.isnan(found) != np.isnan(expected)).mean()
    # Kernels that widen reach further, and GDAL cuts them by whole source windows.
    inside = both if gaps else erode(both, 3)
    error = np.abs(found.astype(np.float64) - expected)[inside] / spread
    if method == "nearest":
        worst = float((error > 0).mean())
        passed = worst < 0.02 and differ < 2e-3
        told = f"{worst:.1e} of the pixels differ"
    else:
        worst = float(error.max())
        passed = worst < 1e-3 and differ < 2e-3
        told = f"worst {worst:.1e} of the range"
    print(f"{'ok  ' if passed else 'FAIL'} {name}, {method}{', gaps' if gaps else ''}: {told}, "
          f"{differ:.1e} have data in one alone, {inside.sum()} compared")
    return passed


def main():
    program = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as folder:
        results = [
            check(program, Path(folder), case, gaps, method)
            for case in CASES
            for gaps, method in ((False, "bilinear"), (True, "bilinear"), (True, "nearest"))
        ]
    print(f"{sum(results)} of {len(results)} agree with GDAL {rasterio.__gdal_version__}")
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
