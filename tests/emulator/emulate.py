#!/usr/bin/env python3
"""emulate.py [CASE ..] --goldens DIR --emulator DIR: golden cases by machine code for AMD's GPUs, on a CPU.

A case is compiled for each target and captured (`sinter capture`): its tokens but the last two are a prompt, those two are decoded.
The emulator replays the launches, and the logits are compared with those of the case, within its tolerance. Without names, the
golden case of every family that `sinter arch --markdown` lists. One line for each case and target; exit code 1 when one is wrong.
--emulator has amdemu.py and play.py; these want numpy and the sources of tinygrad in $TINYGRAD_DIR."""
import argparse
import ctypes
import os
import pathlib
import re
import resource
import struct
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "bench"))
import golden_case  # noqa: E402


def name_all_registers(amdemu):
    """16-bit instructions of CDNA in their short encodings.

    RDNA names the upper half of v0 as v128 there, and the emulator does so for all. CDNA has no such halves: the same
    instruction in the long encoding, which has bits for halves, names every register on both."""
    usual = amdemu.Program._compile

    def compile_one(self, pc):
        raw = ctypes.string_at(pc, 24)
        words = struct.unpack("<6I", raw)
        source, first = words[0] & 0x1FF, words[0]
        if self.arch != "cdna" or first >> 31 or 249 <= source <= 255 or self._dpp_form(*words[:2]):
            return usual(self, pc)
        inst = self.store.emu.decode_inst(raw, self.arch)
        form, bits = type(inst).__name__, inst.canonical_op_bits
        if form not in ("VOP1", "VOP2", "VOPC") or 16 not in (bits.get("s0"), bits.get("d")) or inst.size() != 4:
            return usual(self, pc)
        second, target = (first >> 9) & 0xFF, (first >> 17) & 0xFF
        op = {"VOP1": second + 0x140, "VOP2": ((first >> 25) & 0x3F) + 0x100, "VOPC": target}[form]
        second = 0 if form == "VOP1" else 256 + second
        target = 106 if form == "VOPC" else target  # VCC
        long = struct.pack("<2I", 0x34 << 26 | op << 16 | target, source | second << 9) + bytes(16)
        inst = self.store.emu.decode_inst(long, self.arch)
        # As a DPP form that exchanges nothing: it runs an instruction that lies elsewhere.
        entry, lanes = self.tab[(pc - self.base) >> 2], self.dpps[self.ndpp]
        unused = next(r for r in range(256) if r not in (source - 256, second - 256, target))
        lanes.s0, lanes.t0, lanes.s1, lanes.t1 = unused, unused, 0xFFFFFFFF, 0
        lanes.and0 = lanes.and1 = 0xFFFFFFFF
        lanes.xor0 = lanes.xor1 = lanes.dpp8 = lanes.fi = 0
        lanes.ctrl, lanes.bc, lanes.rows, lanes.banks, lanes.fixexec = 0xE4, 1, 15, 15, int("CMPX" not in inst.op.name)
        lanes.side_pc = self.side.addr + self.side_used
        ctypes.memmove(lanes.side_pc, long, 8)
        self.side_used += 16
        self._call(entry, long, inst, amdemu.K_DPP)
        entry.size, entry.aux = 4, self.ndpp
        self.ndpp += 1

    amdemu.Program._compile = compile_one


def play(options):
    """In a process of its own: a captured folder."""
    sys.path.insert(0, str(options.emulator))
    import amdemu
    import play as player
    name_all_registers(amdemu)
    sys.argv = ["play.py", options.play]
    player.main()


def families(options):
    table = subprocess.run([options.sinter, "arch", "--markdown"], capture_output=True, text=True, check=True).stdout
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("|")]
    column = rows[0].index("golden case")
    return list(dict.fromkeys(row[column] for row in rows[2:] if row[column]))


def run_case(name, target, options, folder):
    """The result in one line, and whether it is as it should be."""
    case = options.goldens / name
    if not (case / "golden.safetensors").exists():
        return "is not there", False
    golden_case.write(case, folder)
    told = golden_case.told(case, options.activations)
    model = golden_case.model(case)
    capture = subprocess.run(
        [options.sinter, "capture", model, "--target", target, "--activations", options.activations, "--ids",
         folder / told.ids, "--logits", folder / told.logits, "--tolerance", f"{told.tolerance:g}", "--decode", "2",
         "--out", folder / "capture"], capture_output=True, text=True)
    if capture.returncode != 0:
        return f"not captured: {capture.stderr.strip()}", False
    try:
        done = subprocess.run([sys.executable, __file__, "--emulator", options.emulator, "--play", folder / "capture"],
                              capture_output=True, text=True, timeout=options.limit)
    except subprocess.TimeoutExpired:
        return f"no end after {options.limit} seconds", False
    errors = re.findall(r"relative error (\S+)", done.stdout)
    if done.returncode == 0:
        return f"ok {' '.join(errors)}, tolerance {told.tolerance:.1e}; {done.stdout.splitlines()[-1]}", True
    said = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()[-1]
    return f"WRONG {' '.join(errors)}, tolerance {told.tolerance:.1e}; {said}", False


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*")
    parser.add_argument("--goldens", type=pathlib.Path, default=ROOT / "tests/goldens")
    parser.add_argument("--emulator", type=pathlib.Path, required=True)
    parser.add_argument("--sinter", default=str(ROOT / "build/bin/sinter"))
    parser.add_argument("--targets", default="gfx1100,gfx942")
    parser.add_argument("--activations", default="a16", choices=("a8", "a16"))
    parser.add_argument("--limit", type=float, default=900, help="seconds that a replay may take")
    parser.add_argument("--play", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.play:
        return play(options)
    # As amdemu.py finds it.
    tinygrad = pathlib.Path(os.environ.get("TINYGRAD_DIR", "/tmp/tinygrad"))
    if not (tinygrad / "test/mockgpu/amd/emu.py").exists():
        print(f"skipped: {tinygrad} does not hold tinygrad's sources; name their folder in TINYGRAD_DIR")
        sys.exit(77)
    bad = 0
    for name in options.cases or families(options):
        for target in options.targets.split(","):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            with tempfile.TemporaryDirectory(prefix="emulate-") as folder:
                text, ok = run_case(name, target, options, pathlib.Path(folder))
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            bad += not ok
            print(f"{name} {target} {text}; {seconds:.0f} s of CPU time", flush=True)
    print(f"{bad} wrong" if bad else "all as they should be")
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
