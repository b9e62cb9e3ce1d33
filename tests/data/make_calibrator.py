"""Makes calibrator*.pickle and calibrator.json: a calibrator of made-up numbers, fitted by scikit-learn.

    pip install scikit-learn; python3 make_calibrator.py
"""
import json, pathlib, pickle
import numpy as np
from sklearn.kernel_ridge import KernelRidge

here = pathlib.Path(__file__).parent
x = np.linspace(0, 1, 31) ** 1.3
y = 0.4 + 0.6 * x**2 + 0.01 * np.cos(25 * x)
y[0] = 0
alpha = 1e-3 * (1 + np.sin(9 * x) ** 2)
model = KernelRidge(kernel="laplacian", alpha=alpha).fit(x[:, None], y)
check = np.linspace(0, 1, 41)
values = np.clip(model.predict(check[:, None]), 0, 1)
(here / "calibrator.json").write_text(json.dumps({"check_c": check.tolist(), "check_f": values.tolist()}) + "\n")
for protocol in (2, 4, 5):
    name = "calibrator.pickle" if protocol == 4 else f"calibrator_protocol{protocol}.pickle"
    (here / name).write_bytes(pickle.dumps(model, protocol=protocol))
(here / "calibrator_rbf.pickle").write_bytes(pickle.dumps(KernelRidge(kernel="rbf", gamma=2.0).fit(x[:, None], y), protocol=4))
