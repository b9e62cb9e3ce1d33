"""Holds `glavitu vectorise` against GDAL and GEOS.

    python polygons.py target/release/glavitu

Needs numpy, rasterio, shapely and pyogrio (wheels of PyPI; GDAL and GEOS come with them). Eight rasters of classes are made up. For each:
count and total area of the polygons equal those of rasterio.features.shapes, class by class; all are valid, also simplified and as iso-lines; simplified
neighbours do not overlap and leave no gaps; the GeoPackage opens in GDAL with the raster's CRS. Ends with 1 if anything differs.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import pyogrio
import rasterio
import rasterio.features
import shapely
from rasterio.transform import Affine

NODATA = 255


def smooth(rng, height, width, passes):
    field = rng.random((height, width))
    for _ in range(passes):
        field = (field + np.roll(field, 1, 0) + np.roll(field, -1, 0) + np.roll(field, 1, 1) + np.roll(field, -1, 1)) / 5
    return (field - field.min()) / (field.max() - field.min())


def cases():
    """Name, classes, transform, EPSG code."""
    rng = np.random.default_rng(5)
    utm = Affine(10, 0, 480000, 0, -10, 5780000)
    yield "noise", (rng.random((300, 200)) < 0.5).astype(np.uint8), utm, 32611
    rows, cols = np.indices((101, 60))
    yield "chequerboard", ((rows + cols) % 2).astype(np.uint8), utm, 32611
    rows, cols = np.indices((121, 121))
    nested = np.maximum(abs(rows - 60), abs(cols - 60))
    yield "nested islands", ((nested // 3) % 2).astype(np.uint8), utm, 32611
    rows, cols = np.indices((80, 90))
    yield "stripes", ((rows + 2 * cols) // 7 % 2).astype(np.uint8), utm, 3413
    yield "many classes", (smooth(rng, 200, 210, 8) * 7).astype(np.uint8), utm, 32611
    holes = (smooth(rng, 150, 150, 4) * 3).astype(np.uint8)
    holes[smooth(rng, 150, 150, 3) > 0.6] = NODATA
    yield "nodata", holes, utm, 32611
    turned = Affine.translation(500000, 8700000) * Affine.rotation(30) * Affine.scale(20, 20)
    yield "rotated, rows going north", (smooth(rng, 140, 130, 5) * 4).astype(np.uint8), turned, 32633
    yield "large blobs", (smooth(rng, 700, 600, 30) > 0.5).astype(np.uint8), utm, 32611


def write(path, values, transform, epsg, nodata):
    height, width = values.shape
    with rasterio.open(
        path, "w", driver="GTiff", height=height, width=width, count=1, dtype=values.dtype, crs=f"EPSG:{epsg}",
        transform=transform, nodata=nodata,
    ) as file:
        file.write(values, 1)


class Check:
    def __init__(self, program, folder):
        self.program, self.folder, self.failures = program, folder, 0

    def hold(self, condition, message):
        if not condition:
            self.failures += 1
            print(f"  FAILED: {message}")

    def vectorise(self, *options):
        target = self.folder / "out.gpkg"
        command = [self.program, "vectorise", *map(str, options), "--json", "-o", str(target)]
        done = subprocess.run(command, capture_output=True, text=True)
        self.hold(done.returncode == 0, f"{' '.join(command)}: {done.stderr}")
        if done.returncode != 0:
            return None, None
        info = pyogrio.read_info(target)
        _, _, geometry, fields = pyogrio.raw.read(target)
        table = dict(zip(info["fields"], fields))
        polygons = shapely.from_wkb(geometry)
        valid = shapely.is_valid(polygons)
        self.hold(valid.all(), f"{(~valid).sum()} not valid: {[shapely.is_valid_reason(p) for p in polygons[~valid][:3]]}")
        self.hold(json.loads(done.stdout)["outlines"] == len(polygons), "the report counts otherwise than GDAL")
        return info, (polygons, table)

    def raster(self, name, values, transform, epsg):
        source = self.folder / "classes.tif"
        write(source, values, transform, epsg, NODATA)
        pixel = abs(transform.determinant)
        info, found = self.vectorise(source)
        if found is None:
            return
        polygons, table = found
        self.hold(rasterio.crs.CRS.from_user_input(info["crs"]).to_epsg() == epsg, f"CRS {info['crs']}")
        expected = {}
        shapes = rasterio.features.shapes(values, mask=values != NODATA, connectivity=4, transform=transform)
        for shape, value in shapes:
            expected.setdefault(int(value), []).append(shapely.geometry.shape(shape).area)
        self.hold(sorted(expected) == sorted(set(table["class"])), "other classes")
        for value, areas in expected.items():
            own = polygons[table["class"] == value]
            self.hold(len(own) == len(areas), f"class {value}: {len(own)} polygons, rasterio has {len(areas)}")
            area = shapely.area(own).sum()
            self.hold(abs(area - sum(areas)) < 1e-6 * sum(areas), f"class {value}: area {area} instead of {sum(areas)}")
            pixels = table["pixels"][table["class"] == value]
            self.hold(np.allclose(np.sort(shapely.area(own)), np.sort(pixels * pixel), rtol=1e-6), "areas are not those of the pixels")
        whole = shapely.area(polygons).sum()
        print(f"{name}: {len(polygons)} polygons, {shapely.get_num_coordinates(polygons).sum()} vertices")

        tolerance = 1.5 * pixel**0.5
        info, found = self.vectorise(source, "--simplify", tolerance)
        if found is None:
            return
        simple, simple_table = found
        self.hold(len(simple) == len(polygons), "simplified: another count")
        self.hold((simple_table["pixels"] == table["pixels"]).all(), "simplified: another order")
        tree = shapely.STRtree(simple)
        a, b = tree.query(simple, predicate="intersects")
        a, b = a[a < b], b[a < b]
        overlap = shapely.area(shapely.intersection(simple[a], simple[b])).sum()
        self.hold(overlap < 1e-6 * pixel, f"simplified: neighbours overlap by {overlap} square units")
        union = shapely.area(shapely.union_all(simple))
        self.hold(abs(union - shapely.area(simple).sum()) < 1e-6 * whole, "simplified: the union is not the sum")
        # Each boundary may move by the tolerance.
        moved = max(shapely.hausdorff_distance(p, s) for p, s in zip(polygons[:2000], simple[:2000]))
        self.hold(moved <= tolerance * (1 + 1e-6), f"simplified: moved by {moved}, more than {tolerance}")
        holes = shapely.get_num_interior_rings
        self.hold((holes(simple) == holes(polygons)).all(), "simplified: other holes")
        print(f"  simplified: {shapely.get_num_coordinates(simple).sum()} vertices, moved by {moved:.1f} of {tolerance:.1f}")

        # A probability whose level is near the boundary of a class.
        rng = np.random.default_rng(7)
        value = int(np.unique(values[values != NODATA])[-1])
        probability = np.where(values == value, 0.55, 0.3) + 0.4 * rng.random(values.shape)
        probability = np.clip(probability, 0, 1).astype(np.float32)
        probability[values == NODATA] = np.nan
        line_source = self.folder / "probability.tif"
        write(line_source, probability, transform, epsg, np.nan)
        options = [source, "--class", value, "--iso-line", "--probability", line_source]
        for more in [[], ["--simplify", tolerance]]:
            _, found = self.vectorise(*options, *more)
            if found is None:
                return
            lines, lines_table = found
            above = int((probability > 0.5).sum())
            self.hold(lines_table["pixels"].sum() == above, f"iso-line: {lines_table['pixels'].sum()} pixels instead of {above}")
            if not more:
                # Centres above the level lie inside, all others outside.
                rows, cols = np.nonzero(values != NODATA)
                x, y = transform * (cols + 0.5, rows + 0.5)
                # The large geometry first: it is prepared once, for all its points.
                centres = shapely.STRtree(shapely.points(x, y))
                inside = np.unique(centres.query(lines, predicate="contains")[1])
                expected_inside = np.nonzero(probability[rows, cols] > 0.5)[0]
                self.hold(np.array_equal(inside, expected_inside), "iso-line: other pixels inside")
            a, b = shapely.STRtree(lines).query(lines, predicate="overlaps")
            self.hold(len(a) == 0, f"iso-line {more}: {len(a) // 2} overlaps")
        print(f"  iso-line: {len(lines)} polygons")


def main():
    with tempfile.TemporaryDirectory() as folder:
        check = Check(sys.argv[1], pathlib.Path(folder))
        for case in cases():
            check.raster(*case)
    print(f"{check.failures} failures")
    sys.exit(check.failures != 0)


if __name__ == "__main__":
    main()
