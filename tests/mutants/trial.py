"""One mutation on trial: the tests run over it in a process of their own, which imports the mutated
module in place of the real.

The parent has imported pytest and the libraries, and nothing of this project, so that a trial costs
a fork and not a start. The tests of policies need none of the suite's fixtures, so its conftest,
which imports the whole program, is left out; and nobody reads why one failed, so asserts stay as
they are written.
"""

from __future__ import annotations

import ast
import gc
import importlib.abc
import importlib.util
import os
import signal
import sys
import time
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import hypothesis
import pytest
import sqlalchemy  # noqa: F401  # for the trials: it takes longer to import than most of them take
import sqlmodel  # noqa: F401

QUICK, FULL = "quick", "full"
_EXAMPLES = 25  # of each property, in a quick trial
_UNNEEDED = (
    "cacheprovider",
    "xdist",
    "timeout",
    "faulthandler",
    "anyio",
    "unraisableexception",
    "threadexception",
    "warnings",
)


class NoVerdict(Exception):
    """The tests could not be run at all."""


class _Mutated(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds one module, and executes the mutated tree in place of its source."""

    def __init__(self, name: str, file: Path, tree: ast.Module) -> None:
        self._name, self._file, self._code = name, file, compile(tree, str(file), "exec")

    def find_spec(
        self, name: str, path: Any, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return (
            importlib.util.spec_from_loader(name, self, origin=str(self._file))
            if name == self._name
            else None
        )

    def exec_module(self, module: ModuleType) -> None:
        module.__file__ = str(self._file)
        exec(self._code, module.__dict__)


class _PropertiesLast:
    """Most mutations fall to a single example, and the first failure ends the trial."""

    @staticmethod
    def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
        items.sort(key=lambda item: hypothesis.is_hypothesis_test(getattr(item, "function", None)))


def killed(
    name: str, file: Path, tree: ast.Module, tests: Sequence[str], *, depth: str, most: float
) -> bool:
    """Given a module's name, file and tree, return whether a test fails over it, or all of them
    take more than ``most`` seconds.

    ``depth`` is QUICK or FULL: how many examples each property draws. Raise NoVerdict if the tests
    cannot be run.
    """
    child = os.fork()
    if child == 0:
        code = int(pytest.ExitCode.TESTS_FAILED)
        try:
            code = _try(name, file, tree, tests, depth)
        finally:
            os._exit(code)
    status = _wait(child, most)
    if status is None:
        return True
    # interrupted: not importable
    if status in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED):
        return status != pytest.ExitCode.OK
    raise NoVerdict(f"pytest ended with {status} over {', '.join(tests)}")


def _wait(child: int, most: float) -> int | None:
    """The exit status of a process, None if it had to be stopped."""
    until = time.monotonic() + most
    while time.monotonic() < until:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return (
                os.waitstatus_to_exitcode(status)
                if os.WIFEXITED(status)
                else int(pytest.ExitCode.TESTS_FAILED)
            )
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def _try(name: str, file: Path, tree: ast.Module, tests: Sequence[str], depth: str) -> int:
    """Run the tests, in the child, and return pytest's exit code."""
    quiet = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(quiet, stream)
    sys.meta_path.insert(0, _Mutated(name, file, tree))
    sys.dont_write_bytecode = True
    hypothesis.settings.register_profile(
        QUICK, max_examples=_EXAMPLES, derandomize=True, database=None, deadline=None
    )
    hypothesis.settings.register_profile(FULL, derandomize=True, database=None, deadline=None)
    gc.disable()  # the child is too short-lived for its garbage to matter
    options = [
        "-x",
        "-q",
        "--no-header",
        "-o",
        "addopts=",
        "--noconftest",
        "--assert=plain",
        f"--hypothesis-profile={depth}",
    ]
    unneeded = [part for plugin in _UNNEEDED for part in ("-p", f"no:{plugin}")]
    return int(pytest.main([*options, *unneeded, *tests], plugins=[_PropertiesLast()]))
