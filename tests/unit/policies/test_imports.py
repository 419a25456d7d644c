"""Each module of policies can be the first to be imported: a command may start with any of them."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import pytest

import policies

EACH = """
import importlib, sys
for name in sys.argv[1:]:
    for loaded in [module for module in sys.modules if module.partition(".")[0] == "policies"]:
        del sys.modules[loaded]
    importlib.import_module(name)
"""


@pytest.mark.slow
def test_no_module_needs_another_to_be_imported_first() -> None:
    names = [module.name for module in pkgutil.walk_packages(policies.__path__, "policies.")]
    assert len(names) > 60
    done = subprocess.run(
        [sys.executable, "-c", EACH, *names], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
