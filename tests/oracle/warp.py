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
from rasterio.transform import Affine
from rasterio.warp import Resampling, reproject

# Name, source EPSG and transform, target EPSG and transform, source and target sizes (width, height), gaps.
UTM = Affine(30, 0, 4e5, 0, -30, 5.2e6)
DEGREES = Affine(1 / 3600, 0, 7.6, 0, -1 / 3600, 47.0)
NORTH = Affine(30, 0, 4.8e5, 0, -30, 8.75e6)
CASES = [
    ("UTM to degrees", 32632, UTM, (400, 350), 4326, Affine(0.0004, 0, 7.67, 0, -0.0003, 46.96), (420, 330)),
    ("degrees to UTM", 4326, DEGREES, (700, 500), 32632, UTM, (500, 400)),
    ("UTM to polar stereographic", 32633, NORTH, (500, 500), 3413, Affine(30, 0, 1048000, 0, -30, -564000), (520, 520)),
    ("polar stereographic to UTM", 3413, Affine(30, 0, 1030000, 0, -30, -550000), (1500, 1500), 32633, NORTH, (500, 500)),
    ("polar stereographic to degrees", 3413, Affine(100, 0, 1000000, 0, -100, -500000), (900, 900), 4326, Affine(0.004, 0, 13.6, 0, -0.001, 79.0), (500, 450)),
    ("degrees to polar stereographic", 4326, Affine(0.004, 0, 12.0, 0, -0.001, 79.5), (1500, 1500), 3413, Affine(100, 0, 1040000, 0, -100, -540000), (400, 400)),
    ("antarctic, degrees to polar stereographic", 4326, Affine(0.005, 0, 60.0, 0, -0.002, -70.0), (1200, 900), 3031, Affine(150, 0, 1850000, 0, -150, 1000000), (300, 300)),
    ("half a pixel", 32632, UTM, (300, 200), 32632, UTM * Affine.translation(0.5, 0.5), (300, 200)),
    ("10 m to 30 m", 32632, Affine(10, 0, 4e5, 0, -10, 5.2e6), (600, 600), 32632, UTM, (200, 200)),
    ("10 m to 45 m", 32632, Affine(10, 0, 4e5, 0, -10, 5.2e6), (900, 900), 32632, Affine(45, 0, 4e5, 0, -45, 5.2e6), (200, 200)),
    ("60 m to 10 m", 32632, Affine(60, 0, 4e5, 0, -60, 5.2e6), (100, 100), 32632, Affine(10, 0, 4e5, 0, -10, 5.2e6), (600, 600)),
    ("1 second to 100 m", 4326, DEGREES, (900, 700), 32632, Affine(100, 0, 4e5, 0, -100, 5.2e6), (180, 150)),
]


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
    expected = np.full((to_height, to_width), np.nan, np.float32)
    options = {}
    # GDAL takes the scale from bounding boxes, which rotation makes larger: it would blur a raster that is only turned.
    if "polar" in name:
        options = {"XSCALE": 1, "YSCALE": 1}
    reproject(values, expected, src_transform=transform, src_crs=f"EPSG:{epsg}", src_nodata=np.nan,
              dst_transform=to_transform, dst_crs=f"EPSG:{to_epsg}", dst_nodata=np.nan, tolerance=0,
              resampling=Resampling[method], **options)
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
