"""Work from which the garbage collector is kept out."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from backupsvc import garbage


def test_the_collector_is_out_meanwhile_and_back_afterwards_also_after_an_error() -> None:
    assert gc.isenabled()
    with pytest.raises(KeyError), garbage.kept_out():
        assert not gc.isenabled()
        with garbage.kept_out():
            pass
        assert not gc.isenabled()
        raise KeyError
    assert gc.isenabled()


def test_a_command_collects_seldom_and_not_at_all_when_it_ends() -> None:
    script = (
        "import atexit, gc; atexit.register(lambda: print(gc.get_freeze_count() > 1000)); "
        "from backupsvc import garbage; before = gc.get_threshold()[0]; garbage.seldom(); "
        "atexit.register(lambda: print(gc.get_freeze_count(), gc.get_threshold()[0] > before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert done.stdout.split() == ["0", "True", "True"]
