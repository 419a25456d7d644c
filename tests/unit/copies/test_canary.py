"""What a try at a target says where the target neither agrees nor refuses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backupsvc.copies import canary
from backupsvc.copies.directory import DirectoryTarget
from backupsvc.copies.target import Writing
from backupsvc.errors import BackupsvcError, CopyError, NoRoom, TargetRefused
from tests.unit.copies.scene import directory

FAULTS = [NoRoom("full", "make room"), CopyError("failed", "look at its disk")]


def answering(
    patch: pytest.MonkeyPatch, *, write: Exception | None = None, remove: Exception | None = None
) -> None:
    """Let writing over a file, and removing one, be answered like this."""
    real_write = DirectoryTarget.write

    @contextmanager
    def written(self: DirectoryTarget, name: str, offset: int = 0) -> Iterator[Writing]:
        if offset and write:
            raise write
        with real_write(self, name, offset) as writing:
            yield writing

    def removed(self: DirectoryTarget, name: str) -> None:
        assert remove is not None
        raise remove

    patch.setattr(DirectoryTarget, "write", written)
    if remove:
        patch.setattr(DirectoryTarget, "remove", removed)


@pytest.mark.parametrize("fault", FAULTS)
def test_law_5_a_fault_is_no_refusal_and_proves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: BackupsvcError
) -> None:
    refused = TargetRefused("it does not let us", "")
    for answers in ({"write": fault, "remove": refused}, {"write": refused, "remove": fault}):
        with monkeypatch.context() as patch:
            answering(patch, **answers)
            with pytest.raises(type(fault)):
                canary.try_harm(directory(tmp_path / "there"))


@pytest.mark.parametrize("fault", FAULTS)
def test_what_was_overwritten_is_told_though_the_rest_is_not_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: BackupsvcError
) -> None:
    answering(monkeypatch, remove=fault)
    tried = canary.try_harm(directory(tmp_path / "there"))
    assert (tried.overwritten, tried.deleted) == (True, False)
    assert tried.said.endswith(f"deleting it: not known: {fault.message}")
