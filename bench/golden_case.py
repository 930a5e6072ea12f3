"""Golden cases: a folder with a model, golden.safetensors (tokens and the logits of each) and case.json (tolerances)."""
import collections
import json
import struct

# What a plan with some kind of activations is compared with; names of files that `write` makes.
Told = collections.namedtuple("Told", "ids logits tolerance outliers agreement")


def model(case):
    """What `sinter` takes: the GGUF file of the folder, or the folder."""
    return next(iter(sorted(case.glob("*.gguf"))), case)


def read_golden(case):
    """Tensor name -> (dtype, shape, bytes)."""
    with open(case / "golden.safetensors", "rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        entries = json.loads(file.read(size))
        data = file.read()
    entries.pop("__metadata__", None)
    return {name: (e["dtype"], e["shape"], data[slice(*e["data_offsets"])]) for name, e in entries.items()}


def write_npy(path, shape, data):
    """float32, as numpy/lib/format.py describes version 1.0."""
    head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({shape[0]}, {shape[1]}), }}"
    head = head.ljust((10 + len(head) + 1 + 63) // 64 * 64 - 11) + "\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() + data)


def write(case, out):
    """Tokens and logits of a case, as `sinter compare` and `sinter capture` read them."""
    golden = read_golden(case)
    dtype, shape, data = golden["input_ids"]
    ids = struct.unpack(f"<{shape[0]}{'i' if dtype == 'I32' else 'q'}", data)
    (out / f"{case.name}.ids").write_text(" ".join(map(str, ids)) + "\n")
    for tensor, suffix in (("logits", ""), ("logits_a8", "-a8")):
        if tensor in golden:
            write_npy(out / f"{case.name}{suffix}.npy", *golden[tensor][1:])


def told(case, activations):
    """int8 activations are judged by logits that were computed with such, where the case has them; else they may be 2.5 times
    further away."""
    details = json.loads((case / "case.json").read_text())
    own = activations == "a8" and "logits_a8" in read_golden(case)
    slack = 2.5 if activations == "a8" and not own else 1
    return Told(f"{case.name}.ids", f"{case.name}{'-a8' if own else ''}.npy", details["rel_tol"] * slack,
                details.get("max_outlier_positions", 0), details.get("min_top1_agreement", 0.9))
