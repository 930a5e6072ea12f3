#!/usr/bin/env python3
"""check_logits.py CASE LOGITS.npy [--a8]: compares logits with a golden case of tests/goldens; needs numpy.

CASE holds case.json and golden.safetensors. The error of a position is |a - b| / |b| over the vocabulary; at most
max_outlier_positions of them may exceed rel_tol. Of int8 activations (--a8) the judge is logits_a8 where the case has it;
where it has not, 2.5 times the tolerance. Prints the largest error; exit code 1 beyond the tolerance."""
import argparse
import json
import pathlib
import struct
import sys

import numpy as np


def golden_logits(path, a8):
    """The logits, and the factor on the tolerance."""
    with open(path, "rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        entries = json.loads(file.read(size))
        own = a8 and "logits_a8" in entries
        entry = entries["logits_a8" if own else "logits"]
        begin, end = entry["data_offsets"]
        file.seek(8 + size + begin)
        logits = np.frombuffer(file.read(end - begin), np.float32).reshape(entry["shape"])
        return logits.astype(np.float64), 2.5 if a8 and not own else 1.0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", type=pathlib.Path)
    parser.add_argument("logits")
    parser.add_argument("--a8", action="store_true", help="the logits were made with int8 activations")
    options = parser.parse_args()
    case = json.loads((options.case / "case.json").read_text())
    want, slack = golden_logits(options.case / "golden.safetensors", options.a8)
    got = np.load(options.logits).astype(np.float64).reshape(want.shape)
    errors = np.linalg.norm(got - want, axis=-1) / np.linalg.norm(want, axis=-1)
    tolerance = case["rel_tol"] * slack
    ok = np.isfinite(got).all() and (errors > tolerance).sum() <= case.get("max_outlier_positions", 0)
    print(f"largest error {errors.max():.2e}, tolerance {tolerance:.2e}: {'ok' if ok else 'WRONG'}")
    sys.exit(0 if ok else 1)


if __name__ == "__main__":
    main()
