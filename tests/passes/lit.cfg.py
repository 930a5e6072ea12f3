# The text tests: IR text in, passes, IR text out, judged by FileCheck. CTest runs them as `text_tests`; by hand:
#
#   lit -sv --param sinter=build/bin/sinter --param filecheck=.../FileCheck tests/passes tests/ir/text
import os
import sys

import lit.formats


def program(name):
    path = lit_config.params.get(name)
    if path is None or not os.access(path, os.X_OK):
        lit_config.fatal(f"--param {name}={path} is not a program; give its path, or run `ctest -R text_tests`")
    return os.path.abspath(path)


tests = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
config.name = "passes"
config.test_format = lit.formats.ShTest(execute_external=False)
config.suffixes = [".sir"]
config.excludes = ["Inputs"]
config.test_source_root = os.path.join(tests, "passes")
config.test_exec_root = os.path.join(lit_config.params.get("out", os.path.join(os.getcwd(), "text_tests")), "passes")

# Test lines say `sinter` and `FileCheck`; these two come first.
directories = [os.path.dirname(program("sinter")), os.path.dirname(program("filecheck"))]
config.environment["PATH"] = os.pathsep.join(directories + [config.environment["PATH"]])
config.substitutions.append(("%goldens", os.path.join(tests, "goldens")))
config.substitutions.append(("%alter_matrix", f'"{sys.executable}" "{tests}/passes/Inputs/alter_matrix.py"'))
