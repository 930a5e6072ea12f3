# Set up as the tests of the passes are.
import os

here = os.path.dirname(os.path.abspath(__file__))
lit_config.load_config(config, os.path.join(here, "..", "..", "passes", "lit.cfg.py"))
config.name = "ir/text"
config.test_source_root = here
config.test_exec_root = os.path.join(os.path.dirname(config.test_exec_root), "ir", "text")
