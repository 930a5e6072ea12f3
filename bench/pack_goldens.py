#!/usr/bin/env python3
"""pack_goldens.py DIR --target TARGET: plans of golden cases for a machine that has no compiler.

Every folder below --goldens that has golden.safetensors and case.json is a case. It is compiled with 16-bit activations and,
where that makes other kernels, with 8-bit ones. DIR gets the plans, the tokens and logits of each case, cases.txt (one line
for each plan: what `sinter-run compare` is told), refused.txt (what cannot be compiled, and why), sinter-run and
run_goldens.sh. With --archive all of it becomes one .tar.xz file. Plans that are there are kept, so an interrupted run goes on.
Needs nothing beside Python's standard library."""
import argparse
import concurrent.futures
import hashlib
import lzma
import os
import pathlib
import shutil
import subprocess
import tarfile

import golden_case

BENCH = pathlib.Path(__file__).resolve().parent


class Compiler:
    def __init__(self, options):
        self.program = options.sinter
        self.target = options.target

    def call(self, *arguments):
        return subprocess.run([self.program, *map(str, arguments)], capture_output=True, text=True)

    def kernels(self, model, activations):
        done = self.call("dump", model, "--stage", "hip", "--target", self.target, "--activations", activations)
        return hashlib.sha256(done.stdout.encode()).digest() if done.returncode == 0 else None

    def compile(self, model, activations, plan):
        """The error in one line; empty when all is well."""
        if plan.exists():
            return ""
        done = self.call("compile", model, "--target", self.target, "--activations", activations, "-o", plan)
        return "" if done.returncode == 0 else done.stderr.strip().splitlines()[-1]


def modes_of(compiler, case):
    model = golden_case.model(case)
    return ["a16"] + ["a8"] * (compiler.kernels(model, "a8") != compiler.kernels(model, "a16"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--target", required=True, help="as `sinter compile` takes it; sm_90, or host to try the folder here")
    parser.add_argument("--goldens", type=pathlib.Path, default=BENCH.parent / "tests/goldens")
    parser.add_argument("--sinter", default=str(BENCH.parent / "build/bin/sinter"))
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--archive", type=pathlib.Path, help="a .tar.xz file to make of the folder")
    parser.add_argument("--cases", nargs="+", default=[], help="names of cases; all where it is left out")
    options = parser.parse_args()
    cases = [path.parent for path in sorted(options.goldens.glob("*/golden.safetensors"))]
    if options.cases:
        cases = [case for case in cases if case.name in options.cases]
    options.out.mkdir(parents=True, exist_ok=True)
    compiler = Compiler(options)
    lines, refused = [], []
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        modes = dict(zip(cases, pool.map(lambda case: modes_of(compiler, case), cases)))
        # The most exact of all cases first.
        plans = sorted((mode != "a16", case, mode) for case in cases for mode in modes[case])
        for case in cases:
            golden_case.write(case, options.out)
        names = [options.out / f"{case.name}-{mode}.plan" for _, case, mode in plans]
        errors = pool.map(lambda plan, name: compiler.compile(golden_case.model(plan[1]), plan[2], name), plans, names)
        for (_, case, mode), name, error in zip(plans, names, errors):
            if error:
                refused.append(f"{name.stem}: {error}")
            else:
                told = golden_case.told(case, mode)
                lines.append(f"{name.name} --ids {told.ids} --logits {told.logits} --tolerance {told.tolerance:g} "
                             f"--outliers {told.outliers} --agreement {told.agreement:g}")
            print(name.stem, error, flush=True)
    (options.out / "cases.txt").write_text("".join(line + "\n" for line in lines))
    (options.out / "refused.txt").write_text("".join(line + "\n" for line in refused))
    shutil.copy(pathlib.Path(options.sinter).with_name("sinter-run"), options.out)
    shutil.copy(BENCH / "run_goldens.sh", options.out)
    print(f"{len(cases)} cases: {len(lines)} plans, {len(refused)} refused")
    if options.archive:
        # Plans have much in common, some of it far apart.
        filters = [{"id": lzma.FILTER_LZMA2, "preset": 2, "dict_size": 1 << 27}]
        part = options.archive.with_name(options.archive.name + ".part")
        with lzma.open(part, "w", filters=filters) as file, tarfile.open(fileobj=file, mode="w|") as archive:
            for path in sorted(options.out.iterdir()):
                archive.add(path, f"{options.out.name}/{path.name}")
        part.rename(options.archive)
        print(f"{options.archive}: {options.archive.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
