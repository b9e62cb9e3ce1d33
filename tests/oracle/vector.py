"""Opens what `glavitu convert` writes with GDAL (pyogrio) and shapely: CRS, counts, areas, attributes, validity, the spatial index.

Usage: vector.py PROGRAM. Exits with 1 at the first thing that is not as it must be. Needs pyogrio, shapely and pyproj from PyPI.
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import xml.dom.minidom

import pyogrio.raw
import pyproj
import shapely

PROGRAM = sys.argv[1]
EPSG = 32611
X, Y = 480_000.0, 5_780_000.0


def check(condition, message):
    if not condition:
        sys.exit(f"vector.py: {message}")


def square(x, y, side):
    return [[X + x, Y + y], [X + x + side, Y + y], [X + x + side, Y + y + side], [X + x, Y + y + side], [X + x, Y + y]]


def features():
    """A grid of squares with holes, one feature of two polygons, one without attributes."""
    for row in range(12):
        for col in range(12):
            x, y = 1000.0 * col, 1000.0 * row
            polygon = [square(x, y, 900.0), square(x + 300.0, y + 300.0, 200.0)]
            name = f"Glætscher {row}/{col}"
            properties = {"name": name, "area_km2": 0.77 + row / 7, "pixels": 100 * row + col, "mean_confidence": 0.5}
            yield properties, [polygon]
    yield dict.fromkeys(["name", "area_km2", "pixels", "mean_confidence"]), [[square(2e4, 0, 500.0)], [square(3e4, 0, 700.0)]]


def main():
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        source = folder / "source.geojson"
        rows = [
            {"type": "Feature", "properties": properties, "geometry": {"type": "MultiPolygon", "coordinates": polygons}}
            for properties, polygons in features()
        ]
        crs = {"type": "name", "properties": {"name": f"EPSG:{EPSG}"}}
        source.write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": rows}))
        expected_area = 144 * (810_000 - 40_000) + 250_000 + 490_000
        to_earth = pyproj.Transformer.from_crs(EPSG, 4326, always_xy=True)
        geod = pyproj.Geod(ellps="WGS84")
        for name in ["a.gpkg", "a.fgb", "a.shp", "a.geojson"]:
            target = folder / name
            subprocess.run([PROGRAM, "convert", source, target, "--style"], check=True, stdout=subprocess.DEVNULL)
            xml.dom.minidom.parse(str(target.with_suffix(".qml")))
            meta, _, geometry, values = pyogrio.raw.read(target, read_geometry=True)
            shapes = shapely.from_wkb(geometry)
            found = pyproj.CRS.from_user_input(meta["crs"])
            wanted = 4326 if name.endswith("geojson") else EPSG
            check(found.to_epsg(min_confidence=70) == wanted, f"{name}: CRS {found.to_string()}")
            check(len(shapes) == len(rows), f"{name}: {len(shapes)} features")
            check(shapely.is_valid(shapes).all(), f"{name}: {shapely.is_valid_reason(shapes)}")
            fields = dict(zip(meta["fields"], values))
            short = "mean_confi" if name.endswith("shp") else "mean_confidence"
            check(list(meta["fields"]) == ["name", "area_km2", "pixels", short], f"{name}: {meta['fields']}")
            if wanted == EPSG:
                check(abs(shapely.area(shapes).sum() - expected_area) < 1e-3, f"{name}: area {shapely.area(shapes).sum()}")
            else:
                area = sum(geod.geometry_area_perimeter(shape)[0] for shape in shapes)
                check(area > 0, f"{name}: exteriors run clockwise")
                plane = expected_area / 0.9996**2
                check(abs(area / plane - 1) < 2e-4, f"{name}: area {area} instead of about {plane}")
            by_name = {text: number for number, text in enumerate(fields["name"])}
            for properties, polygons in features():
                number = by_name[properties["name"]]
                for field, value in properties.items():
                    got = fields[short if field == "mean_confidence" else field][number]
                    same = got == value or (value is None and got != got) or abs(got - value) < 1e-12
                    check(same, f"{name}: {field} of {properties['name']} is {got!r} instead of {value!r}")
                corner = polygons[0][0][0]
                x, y = to_earth.transform(*corner) if wanted == 4326 else corner
                check(shapely.distance(shapes[number], shapely.Point(x, y)) < 1e-6, f"{name}: {properties['name']} lies elsewhere")
            # Through the spatial index, where the format has one.
            part = (X + 2_950, Y + 2_950, X + 4_950, Y + 4_950)
            if wanted == EPSG:
                _, _, geometry, _ = pyogrio.raw.read(target, bbox=part)
                box = shapely.box(*part)
                check(len(geometry) == shapely.intersects(shapes, box).sum() == 4, f"{name}: {len(geometry)} in a part")
            info = pyogrio.read_info(target, layer=None)
            if name.endswith(("gpkg", "fgb")):
                check(info["capabilities"]["fast_spatial_filter"], f"{name}: no spatial index")
                check(info["geometry_type"] == "MultiPolygon", f"{name}: {info['geometry_type']}")
    print("vector.py: four formats as GDAL", ".".join(map(str, pyogrio.__gdal_version__)), "reads them")


main()
