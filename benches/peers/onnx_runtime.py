"""ONNX Runtime's side of the comparison: one model on the CPU, one run per line on standard input.

The first line on standard output describes the model as JSON. Then a line `load DIRECTORY` takes the inputs from
DIRECTORY/NAME.f32 (raw little-endian float32), `run` runs the model once and answers with its seconds, and
`save DIRECTORY` writes the outputs of the last run to DIRECTORY/NAME.f32.
"""

import argparse
import json
import os
import sys
import time

import numpy as np
import onnxruntime


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, required=True)
    args = parser.parse_args()

    onnxruntime.set_default_logger_severity(3)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = args.threads
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    # Threads may spin while a run lasts, which is fastest, but must not take the cores from the competitor's turn.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(args.model, options, providers=["CPUExecutionProvider"])
    inputs = {i.name: i.shape for i in session.get_inputs()}
    names = [o.name for o in session.get_outputs()]
    answer(json.dumps({"version": onnxruntime.__version__, "inputs": inputs, "outputs": names}))

    feeds, results = {}, []
    for line in sys.stdin:
        command, _, directory = line.strip().partition(" ")
        if command == "load":
            for name, shape in inputs.items():
                values = np.fromfile(os.path.join(directory, name + ".f32"), dtype="<f4")
                feeds[name] = values.reshape(shape)
            answer("loaded")
        elif command == "run":
            start = time.perf_counter()
            results = session.run(names, feeds)
            answer(time.perf_counter() - start)
        elif command == "save":
            for name, values in zip(names, results):
                values.astype("<f4").tofile(os.path.join(directory, name + ".f32"))
            answer("saved")
        else:
            sys.exit(f"unknown command {command!r}")


def answer(text):
    print(text, flush=True)


main()
