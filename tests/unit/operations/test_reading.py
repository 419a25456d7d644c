"""What may be said of an archive's bytes comes from the bytes (law 5)."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest

from backupsvc.errors import ArchiveError
from backupsvc.inventory.archive_bytes import readable_from
from backupsvc.operations.restore_test import proving
from backupsvc.settings import Settings, SshSettings
from policies import verdict
from policies.model import Archive, CheckResult, Outcome, Policy, Rung, Scratch, Verdict
from tests.catalogs import new_catalog
from tests.fakes.made import archive
from tests.unit.archives.build import CLUSTER, Vma, pattern, zst
from tests.unit.operations.test_restore_test import LIVED_ON, Steps, TestRun, described
from tests.unit.operations.worlds import World, world

PLAIN = Vma({"drive-scsi0": pattern(3 * CLUSTER)}).bytes()
ALTERED = PLAIN[:-1] + bytes([PLAIN[-1] ^ 1])
GOOD, BARE = zst(PLAIN), zst(ALTERED, checksum=False)
HALF_BARE = zst(PLAIN[:50_000]) + zst(ALTERED[50_000:], checksum=False)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[World]:
    made = world(new_catalog(tmp_path))
    nothing: Any = MappingProxyType({})
    made.policy = Policy(
        "s", "Europe/Paris", "en", (), nothing, nothing, Scratch(9000, 9009), "standard"
    )
    made.settings = Settings(state_dir=tmp_path, ssh=SshSettings(nodes={"clovis": "clovis:22"}))
    made.pve = SimpleNamespace(
        storage=SimpleNamespace(volume_path=lambda node, volid: f"/dump/{volid.rpartition('/')[2]}")
    )
    yield made
    made.catalog.close()


class Reader:
    """An archive whose file holds some bytes, and the step that reads it."""

    def __init__(
        self,
        site: World,
        content: bytes,
        patch: pytest.MonkeyPatch,
        suffix: str = ".zst",
        **known: Any,
    ) -> None:
        self.site, self.opened = site, 0
        first = archive(108, 1)
        self.item = replace(first, volid=first.volid.replace(".zst", suffix), size=len(content))
        site.catalog.archives.observe([self.item], scope=[], at=1)
        site.catalog.archives.annotate(self.item.node, self.item.volid, **known)
        self.steps = Steps(site, archive=self.item)

        @contextmanager
        def opened(ssh: Any, node: str, path: str) -> Iterator[io.BytesIO]:
            self.opened += 1
            yield io.BytesIO(content)

        patch.setattr("backupsvc.remote.nodes.open_archive", opened)

    def __call__(self) -> TestRun:
        return self.steps("read")

    def known(self) -> Archive:
        found = self.site.catalog.archives.get(self.item.node, self.item.volid)
        assert found
        return found

    def judged(self, run: TestRun, error: ArchiveError | None = None) -> verdict.Judgement:
        """What is decided if everything else went well."""
        checks = {"c": CheckResult("c", Outcome.PASSED, "", 0.0, "http")}
        memory = replace(run.memory, booted=True, settled=LIVED_ON, checks=checks)
        book = replace(run.book, seconds={"restore": 1.0, "isolate": 1.0})
        if error is not None:
            book = replace(book, error=described("read", error), seconds={})
        return verdict.decide(proving.evidence(memory, book, self.known()))


def failed(reader: Reader) -> verdict.Judgement:
    with pytest.raises(ArchiveError) as error:
        reader()
    return reader.judged(reader.steps.run(), error.value)


@pytest.mark.parametrize("content", [BARE, HALF_BARE], ids=["no frame", "one frame of two"])
def test_law_5_an_archive_of_which_a_frame_has_no_checksum_is_not_proven_by_its_suffix(
    site: World, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    reader = Reader(site, content, monkeypatch, operation="OP")
    for _ in range(2):  # also the second time: its own hash is no record of what it should be
        run = reader()
        found = reader.judged(run)
        assert (found.verdict, found.rung) == (Verdict.INCONCLUSIVE, Rung.RECORDED)
        assert any("no checksum covers its data" in reason for reason in found.reasons)
        run.memory = replace(run.memory, read=None)
        run.save()
    assert reader.known().sha256 is None


def test_law_5_an_archive_whose_every_frame_has_a_checksum_is_proven_and_its_hash_recorded(
    site: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = Reader(site, GOOD, monkeypatch)
    found = reader.judged(reader())
    assert (found.verdict, found.rung) == (Verdict.PROVEN, Rung.HEALTHY)
    assert "bytes were read in this test" in found.reasons[1]
    assert reader.known().sha256 == hashlib.sha256(GOOD).hexdigest()
    read = reader().memory.read
    # it is not read twice in one test
    assert read and read.compared is False and reader.opened == 1


@pytest.mark.parametrize("suffix", ["", ".zst"])
def test_law_5_a_hash_that_was_recorded_at_the_backup_and_is_the_same_now_proves_without_a_checksum(
    site: World, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    content = PLAIN if not suffix else BARE
    reader = Reader(
        site,
        content,
        monkeypatch,
        suffix,
        operation="OP",
        sha256=hashlib.sha256(content).hexdigest(),
    )
    found = reader.judged(reader())
    assert found.verdict is Verdict.PROVEN and "as recorded" in found.reasons[1]


def test_law_5_other_bytes_than_those_recorded_fail_and_are_never_recorded_in_their_place(
    site: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = Reader(site, GOOD, monkeypatch, operation="OP", sha256="0" * 64)
    site.catalog.archives.raise_rung(reader.item.node, reader.item.volid, Rung.HEALTHY, 2)
    found = failed(reader)
    assert (found.verdict, found.cause, found.rung) == (Verdict.FAILED, "archive", Rung.RECORDED)
    assert "was changed since it was recorded: SHA-256" in found.reasons[0]
    assert (reader.known().sha256, reader.known().rung) == ("0" * 64, Rung.RECORDED)


def test_law_5_corrupt_bytes_fail_before_anything_is_restored(
    site: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    middle = len(GOOD) // 2
    reader = Reader(
        site, GOOD[:middle] + bytes([GOOD[middle] ^ 1]) + GOOD[middle + 1 :], monkeypatch
    )
    found = failed(reader)
    assert (found.verdict, found.cause, found.rung) == (Verdict.FAILED, "archive", Rung.RECORDED)
    assert "is corrupt" in found.reasons[0] and "the archive is not intact" in found.reasons
    assert reader.known().damaged and reader.known().checked_at is not None


def test_law_5_an_archive_that_was_damaged_and_is_not_read_again_fails_its_test(
    site: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = Reader(site, GOOD, monkeypatch, suffix=".lzo", operation="OP")
    site.catalog.archives.record_damaged(reader.item.node, reader.item.volid, "torn", 2)
    found = reader.judged(reader())
    assert (found.verdict, found.cause, found.rung) == (Verdict.FAILED, "archive", Rung.RECORDED)


def test_a_damaged_archive_that_is_read_whole_again_counts_again(
    site: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = Reader(site, GOOD, monkeypatch, operation="OP")
    site.catalog.archives.record_damaged(reader.item.node, reader.item.volid, "torn", 2)
    assert reader.judged(reader()).verdict is Verdict.PROVEN
    known = reader.known()
    assert (known.damaged, known.rung) == ("", Rung.INTACT)


def test_law_5_bytes_that_rotted_since_they_were_recorded_are_told_as_both(
    site: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = Reader(
        site, GOOD[:-1], monkeypatch, operation="OP", sha256=hashlib.sha256(GOOD).hexdigest()
    )
    found = failed(reader)
    assert (found.verdict, found.cause) == (Verdict.FAILED, "archive")
    assert (
        "was changed since it was recorded" in found.reasons[0] and "is corrupt" in found.reasons[1]
    )


def test_a_file_that_ssh_cannot_open_says_nothing_against_the_archive(
    site: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = Reader(site, GOOD, monkeypatch)

    def denied(ssh: Any, node: str, path: str) -> Any:
        raise ArchiveError(f"root may not read {path} on node clovis")

    monkeypatch.setattr("backupsvc.remote.nodes.open_archive", denied)
    found = failed(reader)
    assert (found.verdict, found.cause) == (Verdict.INCONCLUSIVE, "platform")


# --- without SSH ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("suffix", "known", "rung", "expected", "said"),
    [
        (".zst", {"operation": "OP"}, Rung.RECORDED, Verdict.PROVEN, "this service made it"),
        (".gz", {"operation": "OP"}, Rung.RECORDED, Verdict.PROVEN, "this service made it"),
        (".zst", {}, Rung.RECORDED, Verdict.INCONCLUSIVE, "set BACKUPSVC_SSH__NODES"),
        (".zst", {}, Rung.INTACT, Verdict.PROVEN, "read by this service before"),
        ("", {"operation": "OP"}, Rung.RECORDED, Verdict.INCONCLUSIVE, "set BACKUPSVC_SSH__NODES"),
    ],
    ids=["ours", "ours, gzip", "anybody's", "read before", "ours, not compressed"],
)
def test_law_5_without_ssh_only_what_this_service_made_or_read_can_be_proven(
    site: World,
    monkeypatch: pytest.MonkeyPatch,
    suffix: str,
    known: dict[str, Any],
    rung: Rung,
    expected: Verdict,
    said: str,
) -> None:
    site.settings = Settings(state_dir=Path())
    reader = Reader(site, GOOD, monkeypatch, suffix, **known)
    site.catalog.archives.raise_rung(reader.item.node, reader.item.volid, rung, 2)
    found = reader.judged(reader())
    assert reader.opened == 0
    assert found.verdict is expected
    assert any(said in reason for reason in found.reasons), found.reasons


def test_law_5_what_was_changed_meanwhile_is_not_proven_by_a_test_that_had_begun(
    site: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = Reader(site, GOOD, monkeypatch, operation="OP")
    run = reader()
    site.catalog.archives.observe([replace(reader.item, size=5)], scope=[], at=9)
    assert reader.judged(run).verdict is Verdict.FAILED


def test_an_archive_is_read_where_it_lies_or_from_any_node_that_shares_its_storage() -> None:
    item = archive(108, 1)
    assert readable_from(item, {"clovis": "x", "a": "y"}) == "clovis"
    assert readable_from(item, {"a": "y"}) is None
    assert readable_from(replace(item, shared=True), {"b": "x", "a": "y"}) == "a"
    assert (
        readable_from(replace(item, volid=item.volid.replace(".zst", ".lzo")), {"clovis": "x"})
        is None
    )
