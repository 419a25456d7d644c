"""Starting backups, restores and guests: exactly what is sent."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupsvc.errors import LawRefused, PveAnswerUnreadable, PveError, PvePermissionDenied
from backupsvc.pve import Pve, connect
from backupsvc.pve.vzdump import NOTES_LIMIT, notes_template
from policies import ownership
from policies.model import Scratch
from policies.stillness import Reads
from tests.fakes.clock import SteppingClock
from tests.fakes.pve_server import FakePve, refuse

from .conftest import settings_for

VZDUMP = "UPID:pve:00005202:00096797:6B03FD23:vzdump:200:svc@pve!b1:"
ARCHIVE = "local:backup/vzdump-qemu-108-2026_03_09-21_00_02.vma.zst"


def backup(pve: Pve, **changes: Any) -> str | None:
    asked: dict[str, Any] = {
        "storage": "local",
        "mode": "snapshot",
        "compress": "zstd",
        "notes": "op 1",
        "keep_all": True,
    }
    return pve.vzdump.start("pve", 200, **(asked | changes))


def test_a_backup_is_one_guest_that_nobody_else_prunes(fake: FakePve, pve: Pve) -> None:
    fake.on("POST", "/nodes/pve/vzdump", VZDUMP)
    assert backup(pve) == VZDUMP
    assert fake.sent("POST", "/nodes/pve/vzdump") == [
        {
            "vmid": "200",
            "storage": "local",
            "mode": "snapshot",
            "compress": "zstd",
            "notes-template": "op 1",
            "prune-backups": "keep-all=1",
        }
    ]


def test_retention_and_bandwidth_are_sent_only_when_asked_for(fake: FakePve, pve: Pve) -> None:
    fake.on("POST", "/nodes/pve/vzdump", VZDUMP)
    backup(pve, keep_all=False, notes="", bandwidth=51200)
    assert fake.requests[0].params == {
        "vmid": "200",
        "storage": "local",
        "mode": "snapshot",
        "compress": "zstd",
        "bwlimit": "51200",
    }


def test_a_guest_that_is_not_on_that_node_is_no_backup(fake: FakePve, pve: Pve) -> None:
    fake.on("POST", "/nodes/pve/vzdump", "OK")
    assert backup(pve) is None


def test_an_answer_that_names_no_task_is_an_error(fake: FakePve, pve: Pve) -> None:
    fake.on("POST", "/nodes/pve/vzdump", "something else")
    with pytest.raises(
        PveAnswerUnreadable,
        match=r'POST nodes/pve/vzdump .* should be the name of a task, and is "something else"',
    ):
        backup(pve)


def test_the_right_that_keep_all_needs_is_told(fake: FakePve, pve: Pve) -> None:
    fake.on(
        "POST",
        "/nodes/pve/vzdump",
        refuse(403, "Permission check failed (/storage/local, Datastore.Allocate)"),
    )
    with pytest.raises(PvePermissionDenied) as caught:
        backup(pve)
    assert "Datastore.Allocate on /storage/local" in caught.value.hint


def expand(template: str) -> str:
    """What PVE makes of a template without variables: two escapes, everything else as it is
    (pve-facts 3.6).
    """
    out, rest = "", template
    while rest:
        if rest.startswith("{{"):
            raise ValueError("found unknown variable")
        if rest.startswith("\\"):
            out += {"n": "\n", "\\": "\\"}[rest[1]]
            rest = rest[2:]
        else:
            out, rest = out + rest[0], rest[1:]
    return out


@given(st.text(alphabet=st.sampled_from("a \\n\n{}é%"), max_size=60))
def test_notes_arrive_as_they_were_meant(notes: str) -> None:
    template = notes_template(notes)
    assert "\n" not in template
    assert expand(template).replace("{ ", "{").replace(" ", "") == notes.replace("{ ", "{").replace(
        " ", ""
    )


@given(st.text(max_size=3000))
def test_a_template_is_never_longer_than_pve_takes_nor_cut_inside_an_escape(notes: str) -> None:
    template = notes_template(notes)
    assert len(template) <= NOTES_LIMIT
    expand(template)


def test_a_restore_sends_the_archive_the_overrides_and_nothing_dangerous(
    fake: FakePve, pve: Pve
) -> None:
    upid = "UPID:pve:00003406:0008DED1:6B03FBC5:qmrestore:9001:svc@pve!b1:"
    fake.on("POST", "/nodes/pve/qemu", upid)
    overrides = {
        "net0": "virtio=BC:24:11:00:00:08,bridge=vmbr9",
        "onboot": "0",
        "name": "restore-test-108",
    }
    assert (
        pve.restore.start(
            "pve",
            9001,
            ARCHIVE,
            storage="local-lvm",
            overrides=overrides,
            pool="scratch",
            bandwidth=100,
        )
        == upid
    )
    sent = {
        "vmid": "9001",
        "archive": ARCHIVE,
        "storage": "local-lvm",
        "pool": "scratch",
        "bwlimit": "100",
        **overrides,
    }
    assert fake.sent("POST", "/nodes/pve/qemu") == [sent]


@pytest.mark.parametrize(
    "name",
    [
        "force",
        "start",
        "unique",
        "ha-managed",
        "live-restore",
        "skiplock",
        "scsi0",
        "efidisk0",
        "vmid",
    ],
)
def test_law_2_a_restore_neither_overwrites_nor_starts_nor_swaps_a_disk(
    fake: FakePve, pve: Pve, name: str
) -> None:
    with pytest.raises(LawRefused):
        pve.restore.start("pve", 9001, ARCHIVE, storage="local", overrides={name: "1"})
    assert fake.requests == []


def test_a_taken_vmid_refuses_the_restore(fake: FakePve, pve: Pve) -> None:
    fake.replay("06", 5)
    with pytest.raises(PveError, match="already exists on node 'pve'"):
        pve.restore.start("pve", 9010, ARCHIVE, storage="local", overrides={})


def test_a_guest_restored_for_real_is_started(fake: FakePve, pve: Pve) -> None:
    upid = "UPID:pve:000043CC:00093A10:6B03FCAE:qmstart:105:svc@pve!b1:"
    fake.on("GET", "/nodes/pve/qemu/105/config", {"name": "Kanboard-Server", "digest": "d"})
    fake.on("POST", "/nodes/pve/qemu/105/status/start", upid)
    assert pve.guests.start("pve", 105) == upid


def test_law_2_a_copy_is_never_started_as_a_production_guest(fake: FakePve, pve: Pve) -> None:
    description = f"{ownership.marker('01JABC')}\nCopy made by a restore test."
    fake.on("GET", "/nodes/pve/qemu/105/config", {"name": "x", "description": description})
    with pytest.raises(LawRefused) as caught:
        pve.guests.start("pve", 105)
    assert caught.value.law == 2 and fake.changes() == []


def test_law_2_a_vmid_of_the_scratch_range_is_never_started_as_a_production_guest(
    fake: FakePve, clock: SteppingClock
) -> None:
    known = connect(settings_for(fake), clock, scratch=Scratch(9000, 9099))
    with pytest.raises(LawRefused):
        known.guests.start("pve", 9001)
    learned = connect(settings_for(fake), clock)
    learned.scratch(Scratch(9000, 9099), lambda vmid: None)
    with pytest.raises(LawRefused):
        learned.guests.start("pve", 9001)
    assert fake.requests == []


def test_a_config_is_text_throughout_and_keeps_its_digest(fake: FakePve, pve: Pve) -> None:
    fake.replay("02", 21)
    config = pve.guests.config("pve", 200)
    assert config["cores"] == "1" and config["kvm"] == "0" and len(config["digest"]) == 40
    assert all(isinstance(value, str) for value in config.values())


def test_a_status_tells_what_the_config_says_of_agent_and_ha(fake: FakePve, pve: Pve) -> None:
    fake.replay("03", 4)
    fake.replay("05", 7)
    running, restoring = pve.guests.status("pve", 200), pve.guests.status("pve", 9001)
    assert (running.status, running.qmpstatus, running.agent, running.lock, running.uptime) == (
        "running",
        "running",
        True,
        None,
        830,
    )
    assert (restoring.running, restoring.lock, restoring.agent, restoring.ha_managed) == (
        False,
        "create",
        False,
        False,
    )
    assert (
        running.reads == {"scsi0": Reads(272, 16463872), "scsi1": Reads(1, 4096)}
        and restoring.reads is None
    )
