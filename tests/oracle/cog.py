"""Checks the rasters of `glavitu predict` with rio-cogeo and rasterio (GDAL): layout, overviews, pixels.

Usage: python3 tests/oracle/cog.py path/to/glavitu
Needs numpy, rasterio and rio-cogeo.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import rasterio
from rio_cogeo.cogeo import cog_validate


def run(*args):
    subprocess.run([str(a) for a in args], check=True, stdout=subprocess.DEVNULL)


def halved(values, is_class):
    """The next overview by its definition: nodata (NaN) does not count."""
    height, width = values.shape
    padded = np.full((-(-height // 2) * 2, -(-width // 2) * 2), np.nan)
    padded[:height, :width] = values
    parts = np.stack([padded[0::2, 0::2], padded[0::2, 1::2], padded[1::2, 0::2], padded[1::2, 1::2]])
    known = ~np.isnan(parts)
    count = known.sum(0)
    if not is_class:
        return np.where(count > 0, np.where(known, parts, 0).sum(0) / np.maximum(count, 1), np.nan)
    ones = (parts == 1).sum(0)
    first = np.take_along_axis(parts, known.argmax(0)[None], 0)[0]
    return np.where(count == 0, np.nan, np.where(2 * ones == count, first, np.where(2 * ones > count, 1.0, 0.0)))


def pixels(dataset, scale, offset):
    return dataset.read(1, masked=True).astype(float).filled(np.nan) * scale + offset


def check(path, is_class, tolerance):
    valid, errors, warnings = cog_validate(path, quiet=True)
    assert valid and not errors and not warnings, f"{path}: {errors} {warnings}"
    with rasterio.open(path) as dataset:
        # GDAL gives no scale for an overview that is opened on its own.
        scale, offset = dataset.scales[0], dataset.offsets[0]
        whole = pixels(dataset, scale, offset)
        factors = dataset.overviews(1)
        shape = dataset.shape
        crs = dataset.crs
    sides = [max(-(-shape[0] // f), -(-shape[1] // f)) for f in factors]
    assert max(shape) <= 512 and not factors or sides[-1] <= 512 and all(s > 512 for s in sides[:-1]), f"{path}: {factors}"
    expected = whole
    for level in range(len(factors)):
        with rasterio.open(path, overview_level=level) as dataset:
            found = pixels(dataset, scale, offset)
        expected = halved(expected, is_class)
        assert found.shape == expected.shape, f"{path}: overview {level} is {found.shape}"
        assert np.array_equal(np.isnan(found), np.isnan(expected)), f"{path}: gaps of overview {level}"
        worst = np.nanmax(np.abs(found - expected), initial=0)
        assert worst <= tolerance, f"{path}: overview {level} differs by {worst}"
        expected = found
    print(f"{path.parent.name}/{path.name}: {shape}, overviews {factors}, {crs}, valid")
    return whole


def main():
    program = Path(sys.argv[1]).resolve()
    model = Path(__file__).resolve().parents[2] / "datasets/models/small.safetensors"
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        run(program, "dataset", "synthetic", "--scene", "--size", 1100, "--seed", 3, "-o", folder / "scene")
        scene = ["--optical", folder / "scene/optical.tif", "--elevation", folder / "scene/elevation.tif"]
        probabilities = {}
        for kind, tolerance in [("float32", 1e-6), ("uint16", 1.01e-5), ("uint8", 2.01e-3)]:
            out = folder / kind
            run(program, "predict", "--device", "cpu", "--model", model, *scene, "--window", "3,5,1037,1090",
                "--probability-type", kind, "-o", out)
            check(out / "outlines.tif", True, 0)
            check(out / "confidence.tif", False, 1e-6)
            probabilities[kind] = check(out / "probability.tif", False, tolerance)
            worst = np.nanmax(np.abs(probabilities[kind] - probabilities["float32"]))
            assert worst <= tolerance, f"{kind} differs from float32 by {worst}"
            report = json.loads((out / "run.json").read_text())
            assert report["grid"]["width"] == 1090
        run(program, "predict", "--device", "cpu", "--model", model, *scene, "--window", "0,0,300,400", "-o", folder / "small")
        check(folder / "small/outlines.tif", True, 0)
        check(folder / "small/probability.tif", False, 1e-6)


if __name__ == "__main__":
    main()
