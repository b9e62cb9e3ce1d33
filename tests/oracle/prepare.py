"""Checks the tiles of `glavitu prepare` with h5py, rasterio and numpy: attributes, labels, normalised values.

Usage: python3 tests/oracle/prepare.py path/to/glavitu
Needs h5py, numpy and rasterio. Makes a small scene of its own; also takes the reference scene where ../shared/data is present.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import h5py
import numpy as np
import rasterio
from rasterio.features import rasterize
from rasterio.transform import Affine
from rasterio.warp import transform_geom

ROOT = Path(__file__).resolve().parents[2]
STATISTICS = json.loads((ROOT / "datasets/normalisation.json").read_text())
TEXTS = {"region", "subregion", "tile_name"}
INTEGERS = {"epsg", "height", "width", "original_height", "original_width", "padding_height", "padding_width"}
REALS = {"xmin", "xmax", "ymin", "ymax"}


def make_scene(folder):
    """Six bands of scaled integers with a gap, a DEM with another, a glacier with a hole, and its outlines in degrees."""
    rng = np.random.default_rng(7)
    height, width = 130, 170
    transform = Affine(30, 0, 425000, 0, -30, 5145000)
    profile = {"driver": "GTiff", "height": height, "width": width, "crs": "EPSG:32632", "transform": transform}
    bands = rng.integers(300, 6000, (6, height, width)).astype("int16")
    bands[2, 100:110, 20:60] = -9999
    with rasterio.open(folder / "optical.tif", "w", count=6, dtype="int16", nodata=-9999, **profile) as out:
        out.write(bands)
        out.scales = [0.0001] * 6
    rows, cols = np.mgrid[:height, :width]
    dem = (2000 + 5 * rows + 300 * np.sin(cols / 20)).astype("float32")
    dem[:1] = np.nan
    with rasterio.open(folder / "dem.tif", "w", count=1, dtype="float32", nodata=np.nan, **profile) as out:
        out.write(dem, 1)
    place = lambda col, row: transform * (col, row)
    outer = [place(*p) for p in [(20.3, 15.2), (140.1, 40.7), (120.6, 110.4), (35.2, 90.1), (20.3, 15.2)]]
    hole = [place(*p) for p in [(60.2, 50.3), (80.4, 50.1), (70.3, 70.6), (60.2, 50.3)]]
    polygon = transform_geom("EPSG:32632", "EPSG:4326", {"type": "Polygon", "coordinates": [outer, hole]}, precision=12)
    feature = {"type": "Feature", "properties": {"rgi_id": "one"}, "geometry": polygon}
    (folder / "outlines.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    return {
        "optical": [folder / "optical.tif"],
        "elevation": folder / "dem.tif",
        "inventory": folder / "outlines.geojson",
        "more": [],
        "crs": "EPSG:32632",
        "region": ("ALP", "RGI11"),
    }


def reference_scene():
    shared = Path(os.environ.get("GLAVITU_SHARED", ROOT / "../shared")) / "data/athabasca"
    if not shared.is_dir():
        print(f"skipped: no reference scene in {shared}")
        return None
    return {
        "optical": [shared / f"athabasca_2020229_B0{band}_L30.tif" for band in range(2, 8)],
        "elevation": shared / "athabasca_dem.tif",
        "inventory": shared / "athabasca_aoi_rgi7_4glaciers.geojson",
        "more": ["--assume-crs", "EPSG:32611"],
        "crs": "EPSG:32611",
        "region": ("AWA", "RGI02"),
    }


def read(paths):
    """Physical values of all bands, NaN without data, as (height, width, bands)."""
    bands = []
    for path in paths:
        with rasterio.open(path) as dataset:
            for band in dataset.indexes:
                raw = dataset.read(band, masked=True).astype("float64").filled(np.nan)
                bands.append(raw * dataset.scales[band - 1] + dataset.offsets[band - 1])
            transform = dataset.transform
    return np.stack(bands, -1), transform


def check(program, name, scene, side, folder):
    out = folder / f"tiles-{name}"
    command = [program, "prepare", "--optical", *scene["optical"], "--elevation", scene["elevation"]]
    command += ["--inventory", scene["inventory"], "--tile-size", str(side), *scene["more"], "-o", out]
    subprocess.run([str(c) for c in command], check=True, stdout=subprocess.DEVNULL)
    optical, transform = read(scene["optical"])
    elevation, _ = read([scene["elevation"]])
    height, width = optical.shape[:2]
    collection = json.loads(Path(scene["inventory"]).read_text())
    shapes = [transform_geom("EPSG:4326", scene["crs"], f["geometry"]) for f in collection["features"]]
    glacier = rasterize(shapes, (height, width), transform=transform).astype(bool)
    known = ~np.isnan(optical).any(-1) & ~np.isnan(elevation[..., 0])
    windows = {tile["name"]: tile["window"] for tile in json.loads((out / "prepare.json").read_text())["tiles"]}
    met = np.zeros((height, width), int)
    unlabelled = wrong = 0
    for part in ["train", "validation", "test"]:
        with h5py.File(out / f"{part}.hdf5") as file:
            for tile_name, tile in file.items():
                attributes = dict(tile.attrs)
                assert set(attributes) == TEXTS | INTEGERS | REALS, attributes
                assert all(isinstance(attributes[a], str) for a in TEXTS), attributes
                assert all(isinstance(attributes[a], np.int64) for a in INTEGERS), attributes
                assert all(isinstance(attributes[a], np.float64) for a in REALS), attributes
                assert attributes["tile_name"] == tile_name and attributes["epsg"] == 4326
                assert (attributes["region"], attributes["subregion"]) == scene["region"], attributes
                assert (attributes["height"], attributes["width"]) == (side, side)
                assert set(tile) == {"optical", "dem", "outlines"}
                for array, channels in [("optical", 6), ("dem", 2), ("outlines", 2)]:
                    assert tile[array].shape == (side, side, channels) and tile[array].dtype == "float64"
                    assert tile[array].chunks is None and np.isfinite(tile[array]).all()
                row, col, rows, cols = windows[tile_name]
                assert (attributes["original_height"], attributes["original_width"]) == (rows, cols)
                top, left = attributes["padding_height"], attributes["padding_width"]
                own = np.s_[top : top + rows, left : left + cols]
                of_scene = np.s_[row : row + rows, col : col + cols]
                padding = np.ones((side, side), bool)
                padding[own] = False
                assert all((tile[array][:][padding] == 0).all() for array in tile)
                met[of_scene] += 1
                # Values.
                low, high = (np.array(STATISTICS["optical"][k]) for k in ("min", "max"))
                expected = (np.nan_to_num(optical[of_scene]) - low) / (high - low)
                assert np.abs(tile["optical"][:][own] - expected).max() < 1e-6
                low, high = (np.array(STATISTICS["elevation"][k]) for k in ("min", "max"))
                expected = (elevation[of_scene][..., 0] - low) / (high - low)
                assert np.nanmax(np.abs(tile["dem"][:][own][..., 0] - expected)) < 1e-6
                # Labels.
                labels = tile["outlines"][:][own]
                assert np.isin(labels, [0, 1]).all() and (labels.sum(-1) <= 1).all()
                has_label = labels.sum(-1) == 1
                assert (has_label == known[of_scene]).all(), "labels must be where all rasters have data"
                unlabelled += (~has_label).sum()
                wrong += (has_label & (labels[..., 1] != glacier[of_scene])).sum()
                # The box in degrees holds the corners.
                corners = [transform * (c, r) for c in (col, col + cols) for r in (row, row + rows)]
                xs, ys = zip(*corners)
                lon, lat = rasterio.warp.transform(scene["crs"], "EPSG:4326", xs, ys)
                box = [attributes[a] for a in ("xmin", "xmax", "ymin", "ymax")]
                assert np.allclose([box[0], box[1]], [min(lon), max(lon)], atol=1e-5), (box, lon)
                assert np.allclose([box[2], box[3]], [min(lat), max(lat)], atol=1e-5), (box, lat)
    assert (met == 1).all(), "pixels in no tile or in several"
    # Polygons are reprojected by different libraries: a pixel centre on an edge may fall to the other side.
    assert wrong <= 2, f"{wrong} labels differ from GDAL's"
    print(f"{name}: {len(windows)} tiles, every pixel in one; {wrong} labels differ, {unlabelled} pixels without label ({(~known).sum()} lack data)")


def main():
    program = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        check(program, "generated", make_scene(folder), 48, folder)
        scene = reference_scene()
        if scene:
            check(program, "reference", scene, 64, folder)


main()
