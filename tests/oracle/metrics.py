"""Scores of `glavitu evaluate` on random masks against scikit-learn's.

Usage: metrics.py PROGRAM. Exits with 1 at the first score that differs by more than 1e-12. Needs numpy, rasterio and scikit-learn from PyPI.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import rasterio
from rasterio.transform import from_origin
from sklearn import metrics

PROGRAM = sys.argv[1]
TOLERANCE = 1e-12
CASES = 30


def write(path, classes, nodata):
    height, width = classes.shape
    profile = dict(driver="GTiff", height=height, width=width, count=1, dtype=classes.dtype, crs="EPSG:32611", nodata=nodata)
    with rasterio.open(path, "w", transform=from_origin(480_000, 5_780_000, 10, 10), tiled=width > 300, compress="deflate", **profile) as out:
        out.write(classes, 1)


def main():
    random = np.random.default_rng(20)
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for case in range(CASES):
            height, width = (int(n) for n in random.integers(1, 700, 2))
            shape = (height, width)
            truth = (random.random(shape) < random.random()).astype(np.uint8)
            flipped = random.random(shape) < random.random() / 2
            predicted = np.where(flipped, 1 - truth, truth).astype(np.uint8)
            truth[random.random(shape) < random.random() / 4] = 255
            predicted[random.random(shape) < random.random() / 8] = 255
            if case % 3 == 0:
                probability = np.where(predicted == 255, np.nan, np.where(predicted == 1, 0.5 + random.random(shape) / 2 + 1e-6, random.random(shape) / 2))
                probability = np.clip(probability, 0, 1).astype(np.float32)
                predicted = np.where(np.isnan(probability), 255, probability > 0.5).astype(np.uint8)
                write(folder / "predicted.tif", probability, np.nan)
            else:
                write(folder / "predicted.tif", predicted, 255)
            write(folder / "truth.tif", truth, 255)
            for unlabelled in ["ignore", "background"]:
                y = np.where(truth == 255, 0, truth) if unlabelled == "background" else truth
                counts = (y != 255) & (predicted != 255)
                if not counts.any():
                    continue
                y, p = y[counts], predicted[counts]
                args = ["evaluate", "--predicted", folder / "predicted.tif", "--reference", folder / "truth.tif", "--unlabelled", unlabelled, "--json"]
                found = json.loads(subprocess.run([PROGRAM, *args], check=True, capture_output=True).stdout)
                tn, fp, fn, tp = metrics.confusion_matrix(y, p, labels=[0, 1]).ravel()
                if found["confusion"] != {"tp": tp, "fp": fp, "fn": fn, "tn": tn}:
                    sys.exit(f"metrics.py: case {case}: {found['confusion']} instead of {tp, fp, fn, tn}")
                expected = {
                    "accuracy": metrics.accuracy_score(y, p),
                    "precision": metrics.precision_score(y, p) if p.any() else None,
                    "recall": metrics.recall_score(y, p) if y.any() else None,
                    "f1": metrics.f1_score(y, p) if p.any() or y.any() else None,
                    "iou": metrics.jaccard_score(y, p) if p.any() or y.any() else None,
                }
                for name, value in expected.items():
                    if (value is None) != (found[name] is None):
                        sys.exit(f"metrics.py: case {case}: {name} {found[name]} instead of {value}")
                    if value is not None:
                        worst = max(worst, abs(found[name] - value))
                        if abs(found[name] - value) > TOLERANCE:
                            sys.exit(f"metrics.py: case {case}: {name} {found[name]} instead of {value}")
    print(f"{CASES} pairs of masks, unlabelled pixels ignored and as background: counts equal, scores differ by {worst:.1e} at most")


main()
