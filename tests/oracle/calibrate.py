"""Holds `glavitu calibrate` against numpy, scikit-learn and SciPy.

    python calibrate.py target/release/glavitu

Needs numpy, scipy and scikit-learn from PyPI. Five sets of confidences are made up. For each: calibration errors, Brier score and log-likelihood before and after equal those of plain
numpy to 1e-12; kernel ridge equals scikit-learn's KernelRidge, given the array of ridges that the published method names, to 1e-8, and with
--ridge per-bin numpy's solution of (K + diag(ridges)) a = y; the temperature is SciPy's minimum; isotonic regression is scikit-learn's. Ends with 1 if
anything differs.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
from scipy.optimize import minimize_scalar
from sklearn.isotonic import IsotonicRegression
from sklearn.kernel_ridge import KernelRidge

PROGRAM = sys.argv[1]
CELLS = 1 << 16
CLIP = 1e-6


def check(condition, message):
    if not condition:
        sys.exit(f"calibrate.py: {message}")


def confidence(p):
    p, q = np.clip(p, CLIP, 1 - CLIP), np.clip(1 - p, CLIP, 1 - CLIP)
    return 1 + (p * np.log(p) + q * np.log(q)) / np.log(2)


def cases():
    """Name, confidences, whether right, and the logits that made them, if some did."""
    rng = np.random.default_rng(11)
    logit = np.abs(rng.normal(0, 1.2, 200_000))
    right = rng.random(logit.size) < 1 / (1 + np.exp(-2.5 * logit))
    yield "not sure enough", confidence(1 / (1 + np.exp(-logit))), right, logit
    logit = np.abs(rng.normal(0, 6, 50_000))
    right = rng.random(logit.size) < 1 / (1 + np.exp(-0.4 * logit))
    yield "too sure", confidence(1 / (1 + np.exp(-logit))), right, np.minimum(logit, np.log((1 - CLIP) / CLIP))
    c = rng.beta(2, 5, 30_000)
    yield "not monotone", c, rng.random(c.size) < 0.6 + 0.3 * np.sin(9 * c), None
    c = np.round(rng.random(2000), 2)
    yield "on the edges of bins, 0 and 1 among them", c, rng.random(c.size) < c, None
    c = np.array([0.3, 0.3, 0.3, 0.3, 0.8])
    yield "five pixels", c, np.array([1, 0, 1, 1, 1], bool), None


def ece(c, right, n):
    bins = np.minimum((c * n).astype(int), n - 1)
    sums = [np.bincount(bins, weights, n) for weights in (c, right.astype(float))]
    return np.abs(sums[1] - sums[0]).sum() / c.size


def adaptive_ece(c, right, n):
    """Bins of equally many samples; cells of 1/65536 are shared out as their means."""
    cell = np.minimum((c * CELLS).astype(int), CELLS - 1)
    _, inverse, count = np.unique(cell, return_inverse=True, return_counts=True)
    mean = np.bincount(inverse, c) / count
    accuracy = np.bincount(inverse, right.astype(float)) / count
    end = np.cumsum(count).astype(float)
    first = end - count
    edges = c.size * np.arange(n + 1) / n
    total = 0.0
    for low, high in zip(edges[:-1], edges[1:]):
        share = np.clip(np.minimum(end, high) - np.maximum(first, low), 0, None)
        total += abs((share * (accuracy - mean)).sum())
    return total / c.size


def measures(c, right):
    chance = np.clip(np.where(right, c, 1 - c), CLIP, 1 - CLIP)
    found = {f"ece_{n}": ece(c, right, n) for n in (10, 15, 100)}
    found |= {f"adaptive_ece_{n}": adaptive_ece(c, right, n) for n in (15, 100)}
    return found | {
        "accuracy": right.mean(), "mean_confidence": c.mean(), "brier": ((c - right) ** 2).mean(),
        "nll": -np.log(chance).mean(),
    }


def calibrate(folder, c, right, *options):
    table = folder / "samples.csv"
    table.write_text("confidence,correct\n" + "".join(f"{x!r},{int(y)}\n" for x, y in zip(c.tolist(), right)))
    command = [PROGRAM, "calibrate", "--samples", table, "-o", folder / "c.json", "--json", *options]
    run = subprocess.run(command, capture_output=True, text=True)
    check(run.returncode == 0, f"{command}: {run.stderr}")
    return json.loads(run.stdout), json.loads((folder / "c.json").read_text())["curve"]


def curve_values(curve, c):
    if curve["kind"] == "kernel":
        x, a = np.array(curve["points"]), np.array(curve["coefficients"])
        values = np.concatenate([np.exp(-np.abs(part[:, None] - x)) @ a for part in np.array_split(c, c.size // 5000 + 1)])
        return np.clip(values, 0, 1)
    return np.interp(c, curve["points"], curve["values"])


def points(c, right):
    """Means, accuracies and ridges of 100 bins and the anchors."""
    bins = np.minimum((c * 100).astype(int), 99)
    count = np.bincount(bins, minlength=100)
    used = count > 0
    x = (np.bincount(bins, c, 100)[used] / count[used]).tolist()
    y = (np.bincount(bins, right.astype(float), 100)[used] / count[used]).tolist()
    w = ((count[used] / count.max()) ** 0.1).tolist()
    if x[0] > 0:
        x, y, w = [0.0, *x], [0.0, *y], [1.0, *w]
    if x[-1] < 1:
        x, y, w = [*x, 1.0], [*y, 1.0], [*w, 1.0]
    return np.array(x), np.array(y), (1 - np.array(w)) * 1e-2


def compare_measures(name, report, c, right, after):
    worst = 0.0
    for part, values in (("before", c), ("after", after)):
        found = report["fitted"][part]
        check(found["samples"] == c.size, f"{name}: {found['samples']} pixels of {c.size}")
        for key, expected in measures(values, right).items():
            difference = abs(found[key] - expected)
            check(difference <= 1e-12, f"{name}, {part}: {key} is {found[key]}, numpy has {expected}")
            worst = max(worst, difference)
    return worst


with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    at = np.linspace(0, 1, 1001)
    for case, c, right, logit in cases():
        worst = []
        # As published: scikit-learn takes the first of the ridges for all points.
        report, curve = calibrate(folder, c, right, "--method", "kernel-ridge")
        x, y, ridge = points(c, right)
        ridge_of_first = ridge.copy()
        if x.size > 1 and ridge[0] != 0:
            # A bin has taken the place of the anchor, whose ridge is 0.
            ridge_of_first = np.zeros_like(ridge)
        model = KernelRidge(kernel="laplacian", gamma=1, alpha=ridge_of_first).fit(x[:, None], y)
        check(np.abs(np.array(curve["points"]) - x).max() < 1e-12, f"{case}: other points")
        expected = np.clip(model.predict(at[:, None]), 0, 1)
        worst.append(np.abs(curve_values(curve, at) - expected).max())
        check(worst[-1] <= 1e-8, f"{case}: kernel ridge differs by {worst[-1]:.1e} from scikit-learn")
        numbers = compare_measures(f"{case}, kernel ridge", report, c, right, curve_values(curve, c))

        report, curve = calibrate(folder, c, right, "--method", "kernel-ridge", "--ridge", "per-bin")
        kernel = np.exp(-np.abs(x[:, None] - x))
        expected = np.clip(np.exp(-np.abs(at[:, None] - x)) @ np.linalg.solve(kernel + np.diag(ridge), y), 0, 1)
        worst.append(np.abs(curve_values(curve, at) - expected).max())
        check(worst[-1] <= 1e-8, f"{case}: kernel ridge by bin differs by {worst[-1]:.1e} from numpy")
        numbers = max(numbers, compare_measures(f"{case}, by bin", report, c, right, curve_values(curve, c)))

        report, curve = calibrate(folder, c, right, "--method", "isotonic")
        cell = np.minimum((c * CELLS).astype(int), CELLS - 1)
        _, inverse, count = np.unique(cell, return_inverse=True, return_counts=True)
        mean, accuracy = np.bincount(inverse, c) / count, np.bincount(inverse, right.astype(float)) / count
        model = IsotonicRegression(out_of_bounds="clip").fit(mean, accuracy, count)
        worst.append(np.abs(curve_values(curve, at) - model.predict(at)).max())
        check(worst[-1] <= 1e-8, f"{case}: isotonic regression differs by {worst[-1]:.1e} from scikit-learn")
        numbers = max(numbers, compare_measures(f"{case}, isotonic", report, c, right, curve_values(curve, c)))

        report, curve = calibrate(folder, c, right, "--method", "temperature")
        words = ""
        if logit is not None:
            def loss(b):
                return np.logaddexp(0, np.where(right, -1, 1) * b * logit).mean()

            best = 1 / minimize_scalar(loss, bounds=(1e-2, 1e2), method="bounded", options={"xatol": 1e-12}).x
            difference = abs(report["temperature"] / best - 1)
            # The minimum is flat: SciPy finds it to about the root of the machine's precision.
            check(difference <= 1e-6, f"{case}: temperature {report['temperature']}, SciPy has {best}")
            words = f", temperature {best:.4f} (differs by {difference:.0e})"
        print(f"{case}: {c.size} pixels, measures within {numbers:.0e}; kernel ridge, by bin, isotonic within "
              f"{', '.join(f'{w:.0e}' for w in worst)}{words}")
