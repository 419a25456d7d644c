"""Work from which the garbage collector is kept out."""

from __future__ import annotations

import gc

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
