"""Areas and distances of `glavitu evaluate --distances` against shapely on random polygons with holes.

Usage: distance.py PROGRAM. Exits with 1 at the first value that differs by more than 1e-6 m. Needs numpy and shapely from PyPI.

Distances along boundaries are taken at the points that the program documents: the middles of ceil(length / spacing) equal parts of every edge, weighted by the
parts' lengths. The Hausdorff distance is shapely's of densified boundaries, which is too small by less than the step; then the step is halved where the
maximum lies until it is 1e-7 m.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import shapely
from shapely.geometry import Polygon, mapping

PROGRAM = sys.argv[1]
PAIRS = 50
TOLERANCE = 1e-6
X, Y = 500_000.0, 5_780_000.0


def star(random, corners, radius, centre):
    """A simple polygon around a centre, with a hole in every second one."""
    angles = np.sort(random.random(corners)) * 2 * np.pi
    distances = radius * (0.5 + random.random(corners))
    ring = np.column_stack([centre[0] + distances * np.cos(angles), centre[1] + distances * np.sin(angles)])
    polygon = Polygon(ring).buffer(0)
    if random.random() < 0.5:
        inner = Polygon(np.column_stack([np.cos(angles[::3]), np.sin(angles[::3])]) * 0.2 * radius + centre)
        polygon = polygon.difference(inner.buffer(0))
    return max(getattr(polygon, "geoms", [polygon]), key=lambda part: part.area)


def edges(polygon):
    for ring in [polygon.exterior, *polygon.interiors]:
        points = np.asarray(ring.coords)
        yield from zip(points[:-1], points[1:])


def samples(polygon, other, spacing):
    places, weights = [], []
    for a, b in edges(polygon):
        length = np.hypot(*(b - a))
        n = max(1, int(np.ceil(length / spacing)))
        shares = (np.arange(n) + 0.5) / n
        places.append(a + shares[:, None] * (b - a))
        weights.append(np.full(n, length / n))
    places = shapely.points(np.concatenate(places))
    return shapely.distance(places, other.boundary), np.concatenate(weights)


def quantile(distances, weights, share):
    order = np.argsort(distances, kind="stable")
    sums = np.cumsum(weights[order])
    return distances[order][np.searchsorted(sums, (share - 1e-9) * sums[-1])]


def polis(a, b):
    one = lambda a, b: np.mean(shapely.distance(shapely.points(np.concatenate([np.asarray(r.coords)[:-1] for r in [a.exterior, *a.interiors]])), b.boundary))
    return (one(a, b) + one(b, a)) / 2


def farthest(a, b):
    """The largest distance of a's boundary from b's: sampled every metre, then finer where it may be exceeded."""
    parts = np.array([[p, q] for p, q in edges(a)])
    boundary = b.boundary
    shapely.prepare(boundary)
    best = 0.0
    while len(parts):
        starts, ends = (shapely.distance(shapely.points(parts[:, i]), boundary) for i in (0, 1))
        lengths = np.hypot(*(parts[:, 1] - parts[:, 0]).T)
        best = max(best, starts.max(), ends.max())
        # A distance changes by one metre per metre at most.
        parts = parts[((starts + ends + lengths) / 2 > best + 1e-7) & (lengths > 1e-7)]
        middles = parts.mean(axis=1)
        parts = np.concatenate([np.stack([parts[:, 0], middles], axis=1), np.stack([middles, parts[:, 1]], axis=1)])
    return best


def write(path, polygon):
    feature = {"type": "Feature", "properties": {"rgi_id": "one"}, "geometry": mapping(polygon)}
    crs = {"type": "name", "properties": {"name": "EPSG:32611"}}
    path.write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": [feature]}))


def main():
    random = np.random.default_rng(7)
    worst = dict.fromkeys(["mean_m", "median_m", "rms_m", "percentile_95_m", "hausdorff_m", "polis_m"], 0.0)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for pair in range(PAIRS):
            corners = [int(n) for n in random.integers(10, 400 if pair % 5 == 0 else 40, 2)]
            a = star(random, corners[0], 400, (X, Y))
            b = star(random, corners[1], 400 * (0.5 + random.random()), np.array((X, Y)) + random.normal(size=2) * 100)
            spacing = float(random.choice([0.5, 2.0, 5.0, 50.0]))
            write(folder / "a.geojson", a)
            write(folder / "b.geojson", b)
            args = ["evaluate", "--predicted", folder / "a.geojson", "--reference", folder / "b.geojson", "--distances", "--spacing", str(spacing), "--json"]
            run = subprocess.run([PROGRAM, *args], capture_output=True, text=True)
            if run.returncode != 0:
                sys.exit(f"distance.py: pair {pair}: {run.stderr}")
            found = json.loads(run.stdout)["glaciers"][0]["distances"]
            (d1, w1), (d2, w2) = samples(a, b, spacing), samples(b, a, spacing)
            d, w = np.concatenate([d1, d2]), np.concatenate([w1, w2])
            hausdorff = max(farthest(a, b), farthest(b, a))
            # Shapely's own, of vertices and of points between them, is never larger and nearly as large.
            densified = shapely.hausdorff_distance(a.boundary, b.boundary, densify=0.01)
            if not (densified <= hausdorff + TOLERANCE and hausdorff <= densified + 0.01 * max(a.length, b.length)):
                sys.exit(f"distance.py: pair {pair}: Hausdorff distance {hausdorff}, shapely's {densified}")
            expected = {
                "mean_m": np.average(d, weights=w),
                "median_m": quantile(d, w, 0.5),
                "rms_m": np.sqrt(np.average(d**2, weights=w)),
                "percentile_95_m": quantile(d, w, 0.95),
                "hausdorff_m": hausdorff,
                "polis_m": polis(a, b),
            }
            for name, value in expected.items():
                difference = abs(found[name] - value)
                worst[name] = max(worst[name], difference)
                if difference > TOLERANCE:
                    sys.exit(f"distance.py: pair {pair}: {name} {found[name]} instead of {value}")
    print(f"{PAIRS} pairs of polygons; largest differences " + ", ".join(f"{name} {value:.1e}" for name, value in worst.items()))


main()
