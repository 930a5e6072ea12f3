#!/usr/bin/env python3
"""check_logits.py CASE LOGITS.npy [--slack X]: compares logits with a golden case of tests/goldens; needs numpy.

CASE holds case.json and golden.safetensors. The error of a position is |a - b| / |b| over the vocabulary; at most
max_outlier_positions of them may exceed rel_tol * slack. Prints the largest error; exit code 1 beyond the tolerance."""
import argparse
import json
import pathlib
import struct
import sys

import numpy as np


def golden_logits(path):
    with open(path, "rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        entry = json.loads(file.read(size))["logits"]
        begin, end = entry["data_offsets"]
        file.seek(8 + size + begin)
        return np.frombuffer(file.read(end - begin), np.float32).reshape(entry["shape"]).astype(np.float64)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", type=pathlib.Path)
    parser.add_argument("logits")
    parser.add_argument("--slack", type=float, default=1.0, help="factor on the tolerance; a8 is given 2.5")
    options = parser.parse_args()
    case = json.loads((options.case / "case.json").read_text())
    want = golden_logits(options.case / "golden.safetensors")
    got = np.load(options.logits).astype(np.float64).reshape(want.shape)
    errors = np.linalg.norm(got - want, axis=-1) / np.linalg.norm(want, axis=-1)
    tolerance = case["rel_tol"] * options.slack
    ok = np.isfinite(got).all() and (errors > tolerance).sum() <= case.get("max_outlier_positions", 0)
    print(f"largest error {errors.max():.2e}, tolerance {tolerance:.2e}: {'ok' if ok else 'WRONG'}")
    sys.exit(0 if ok else 1)


if __name__ == "__main__":
    main()
