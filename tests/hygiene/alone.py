#!/usr/bin/env python3
"""alone.py BUILD: compiles every source file by itself, as far as its warnings, with the options that the build has for it.

The build compiles the files of a folder together, so one that forgets an include finds it where another has it, and Clang says
of constants that nothing uses only in files that it compiles themselves.
"""
import concurrent.futures
import json
import os
import re
import shlex
import subprocess
import sys

build = sys.argv[1]


def commands():
    for entry in json.load(open(os.path.join(build, "compile_commands.json"))):
        command = shlex.split(entry["command"])
        unit = entry["file"]
        if os.path.basename(unit).startswith("cmake_pch."):
            continue
        files = [unit]
        if os.path.basename(os.path.dirname(unit)) == "Unity":
            files = re.findall('^#include "(.*)"$', open(unit).read(), re.MULTILINE)
        output = command.index("-o")
        rest = [word for word in command[:output] + command[output + 2:] if word not in ("-c", unit)]
        for file in files:
            yield file, rest + ["-fsyntax-only", file], entry["directory"]


def compile_one(command):
    file, words, directory = command
    result = subprocess.run(words, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if result.returncode != 0:
        print(f"{file} does not compile alone:\n{result.stdout}", flush=True)
    return result.returncode == 0


with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    good = list(pool.map(compile_one, commands()))
print(f"{sum(good)} of {len(good)} files compile alone")
sys.exit(0 if good and all(good) else 1)
