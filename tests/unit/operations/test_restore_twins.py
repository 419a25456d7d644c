"""Two guests that are one machine never meet, whichever way the second one is asked for (law 2)."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from backupsvc.catalog.operations import Driver, Kept, NewOperation
from backupsvc.errors import (
    LawRefused,
    PveError,
    PveNotFound,
    PvePermissionDenied,
    Refused,
    UsageError,
)
from backupsvc.operations.kinds import KINDS
from backupsvc.operations.replace.memory import FORM as REPLACE_FORM
from backupsvc.operations.replace.memory import ReplaceMemory
from backupsvc.operations.restore import twins
from backupsvc.operations.restore.memory import RestoreMemory
from backupsvc.operations.restore.planning import open_restore, plan_restore
from backupsvc.operations.restore.result import restore_outcome
from policies.model import Guest, GuestPolicy, GuestType, Job, Node, Operation, OperationState
from policies.pve.guest_config import parse_config
from tests.fakes.made import CONFIG, archive
from tests.unit.operations.cluster import EVERYTHING, Cluster
from tests.unit.operations.test_choosing import listing
from tests.unit.operations.test_choosing import site as site
from tests.unit.operations.worlds import World

ONE = archive(108, 1)
MACHINE = f"{CONFIG}\nnet0: virtio=BC:24:11:00:00:08,bridge=vmbr0\n"
STRANGER = "name: other\nsmbios1: uuid=99999999-2222-4333-8444-555555555555\n"
SAME_MAC = f"{STRANGER}net3: e1000=bc:24:11:00:00:08,bridge=vmbr1\n"
STUB = "memory: 128\n"


def stands(site: World, *guests: Guest, **configs: Any) -> Cluster:
    """Guest 108 has an archive; ``configs``: what guests have (v101=...), an error to raise."""
    cluster = listing(site, ONE, held={ONE.volid: MACHINE})
    cluster.guests_there = list(guests)

    def config(node: str, vmid: int) -> dict[str, str]:
        found = configs.get(f"v{vmid}", STRANGER)
        if isinstance(found, Exception):
            raise found
        return parse_config(found)

    cluster.guests = SimpleNamespace(config=config)
    cluster.cluster.permissions_at = lambda path: (
        EVERYTHING
        | {
            "VM.Config.Network",
            "VM.Config.Options",
        }
    )
    return cluster


OFF = "108 is off"  # what is said where a node is silent


def plan(site: World, into: int | None = 208, **asked: Any) -> RestoreMemory:
    nothing: Any = dict.fromkeys(("at", "volid", "node", "storage"))
    return plan_restore(site, 108, **nothing, into=into, **asked)


def guest(vmid: int, **more: Any) -> Guest:
    return Guest(vmid, f"g{vmid}", "clovis", **more)


def test_a_machine_that_is_gone_comes_back_as_it_was_under_another_vmid(site: World) -> None:
    stands(site, guest(101))
    planned = plan(site)
    assert (planned.original, planned.clone, planned.overrides) == (108, False, {})
    assert planned.start and planned.nics["net0"] == "virtio=BC:24:11:00:00:08,bridge=vmbr0"
    assert {one.path for one in planned.rights if one.path.startswith("/vms")} == {"/vms/208"}


@pytest.mark.parametrize(
    ("there", "config", "how"),
    [
        (guest(108, status="stopped"), MACHINE, "the SMBIOS UUID 11111111"),
        (guest(150, status="running"), MACHINE, "the SMBIOS UUID 11111111"),
        (guest(150), SAME_MAC, "the MAC address bc:24:11:00:00:08"),
        (guest(108), PvePermissionDenied("no"), "the VMID, and its config cannot be read"),
        (guest(108), PveNotFound("no"), "the VMID, and its config cannot be read"),
    ],
)
def test_law_2_beside_a_guest_that_is_the_machine_only_a_clone_comes_up(
    site: World, there: Guest, config: Any, how: str
) -> None:
    cluster = stands(site, guest(101), there, **{f"v{there.vmid}": config})
    with pytest.raises(LawRefused, match=how) as refused:
        plan(site)
    assert "--as N --clone" in refused.value.hint and cluster.started == []
    planned = plan(site, clone=True)
    assert planned.clone and not planned.start
    assert planned.nics["net0"].endswith("bridge=vmbr0,link_down=1")
    assert "00:00:08" not in planned.nics["net0"] and planned.overrides["onboot"] == "0"
    assert ("/vms/208", "VM.Config.Network") in {
        (one.path, one.privilege) for one in planned.rights
    }


@pytest.mark.parametrize(
    "there",
    [guest(9003), guest(150, template=True), guest(150, type=GuestType.LXC)],
    ids=["a copy of a restore test", "a template", "a container"],
)
def test_what_never_meets_anybody_hinders_nobody(site: World, there: Guest) -> None:
    stands(site, there, v9003=MACHINE, v150=MACHINE)
    assert plan(site).original == 108


def test_the_rest_of_a_failed_restore_is_no_machine(site: World) -> None:
    stands(site, guest(108), v108=STUB)
    assert plan(site).original == 108


def test_what_is_not_known_of_other_guests_is_said(site: World) -> None:
    cluster = stands(site, guest(101), Guest(102, "far", "lge"), v101=PveError("no"))
    cluster.cluster.nodes = lambda max_age=0.0: [
        Node("clovis", online=True),
        Node("lge", online=False),
    ]
    cluster.cluster.status = lambda: SimpleNamespace(quorate=True)
    assert (
        "the configs of guests 101, 102 could not be read" in plan(site, confirm=OFF).cautions[-1]
    )
    cluster.cluster.permissions_at = lambda path: (
        EVERYTHING - ({"VM.Audit"} if path == "/vms" else set())
    )
    assert "may not see every guest" in plan(site, confirm=OFF).cautions[-1]


def test_law_2_an_original_that_the_token_may_not_see_is_not_gone(site: World) -> None:
    cluster = stands(site, guest(101))
    cluster.cluster.vmid_free = lambda vmid: vmid != 108
    with pytest.raises(
        LawRefused, match="VMID 108 is in use, by a guest that this token may not see"
    ):
        plan(site)


def test_law_2_a_machine_that_came_back_elsewhere_does_not_come_back_twice(site: World) -> None:
    cluster = stands(site, v208=MACHINE)
    opened = open_restore(site, 208, plan(site))
    assert isinstance(opened, Operation) and opened.subject == 208
    for into in (None, 209):
        with pytest.raises(LawRefused, match="is being restored under VMID 208 at this moment"):
            plan(site, into)
    site.engine.cancel(opened.id, "test")
    site.engine.drive_one(opened)
    assert plan(site, None).original is None, "nothing came of it"
    cluster.guests_there = [guest(208, status="running")]
    for into in (None, 209):
        with pytest.raises(LawRefused, match=r"guest 208 .* a second one would meet it"):
            plan(site, into)
    assert plan(site, 209, clone=True).clone


@pytest.mark.parametrize("vmid", [108, 208])
@pytest.mark.parametrize(
    ("status", "said", "hint"),
    [
        (
            "stopped",
            "(guest 108 by 208) left it, and it is never removed here",
            "qm destroy {vmid} ",
        ),
        ("running", "one of the two of replacement", "operations undo {id}` brings guest 108 back"),
        ("unknown", "and is not off", "operations undo {id}` brings guest 108 back"),
    ],
)
def test_law_1_what_a_replacement_left_is_named_and_only_one_that_is_off_is_ever_said_to_go(
    site: World, vmid: int, status: str, said: str, hint: str
) -> None:
    """Whoever removes the one that is in place loses the guest."""
    stands(site, guest(vmid, status=status), **{f"v{vmid}": MACHINE})
    driver, operations = Driver("me", 600, 1), site.catalog.operations
    known: list[str] = []
    for broken in (False, True):
        kept = REPLACE_FORM.write(ReplaceMemory(ONE, "clovis", original=108))
        new = NewOperation("replace", 208, "choose", {"version": 99} if broken else kept)
        opened = operations.open(new, 1, driver)
        assert opened
        done = Kept({"version": 99} if broken else kept, opened.book)
        operations.finish(opened.id, driver, OperationState.DONE, kept=done, error=None, note=None)
        known.append(opened.id)
    id = known[0]
    with pytest.raises(LawRefused, match="a second one would meet it") as refused:
        plan(site, 209)
    assert said in refused.value.message and id in refused.value.message
    assert hint.format(vmid=vmid, id=id) in refused.value.hint
    assert ("destroy" in refused.value.hint) is (status == "stopped")


def test_law_2_an_original_that_came_back_between_plan_and_restore_is_seen(site: World) -> None:
    cluster = stands(site, v108=MACHINE)
    opened = open_restore(site, 208, plan(site))
    cluster.guests_there = [guest(108, status="running")]
    error = restore_outcome(site.engine.drive_one(opened))["error"]
    assert (error["step"], error["exit_code"]) == ("choose", 4)
    assert "guest 108 (g108) on clovis is running" in error["message"]


@pytest.mark.parametrize("vmid", [99, 1_000_000_000])
def test_a_number_that_is_no_vmid_is_wrong_usage(site: World, vmid: int) -> None:
    stands(site)
    with pytest.raises(UsageError, match="is no VMID"):
        plan(site, vmid)


def test_law_10_a_vmid_that_is_kept_for_a_lost_guest_is_not_given_to_another(site: World) -> None:
    cluster = stands(site)
    site.catalog.archives.observe([archive(208, 5)], scope=[], at=1)
    with pytest.raises(
        Refused, match=r"VMID 208 is kept for another guest: .*vzdump-qemu-208"
    ) as no:
        plan(site)
    assert "such as 109" in no.value.hint
    site.policy = replace(
        site.policy,
        guests={109: GuestPolicy(109, "mail", "standard")},
        jobs=(Job("nightly", "21:00", "local", guests=(110,)),),
    )
    with pytest.raises(Refused, match="the policy names it \\(mail\\)"):
        plan(site, 109)
    with pytest.raises(Refused, match="the policy names it"):
        plan(site, 110)
    cluster.guests_there = [guest(111)]
    assert twins.propose(site, 108) == 112
    cluster.cluster.vmid_free = lambda vmid: vmid == 115
    assert twins.propose(site, 108) == 115
    cluster.cluster.vmid_free = lambda vmid: False
    assert twins.propose(site, 108) is None


def test_what_is_its_own_under_the_other_vmid_does_not_hinder_it(site: World) -> None:
    stands(site)
    own = archive(208, 5)
    site.catalog.archives.observe([own], scope=[], at=1)
    site.catalog.archives.annotate(own.node, own.volid, config=MACHINE)
    assert plan(site).original == 108


def test_law_2_a_clone_is_sent_apart_and_not_believed_to_be_before_it_is_read_back(
    site: World,
) -> None:
    cluster = stands(site, guest(108), v108=MACHINE)
    sent: list[dict[str, Any]] = []

    def start(node: str, vmid: int, volid: str, **how: Any) -> str:
        sent.append({"vmid": vmid, **how})
        cluster.guests_there.append(guest(208))
        return cluster.result.upid

    cluster.restore = SimpleNamespace(start=start)  # type: ignore[attr-defined]
    planned = plan(site, clone=True)
    opened = open_restore(site, 208, planned)
    result = restore_outcome(site.engine.drive_one(opened))
    assert sent[0]["unique"] is True and sent[0]["overrides"] == planned.overrides
    # the fake's guest 208 is not what was sent
    assert result["error"]["step"] == "read-back" and not result["started"]


def test_a_retry_goes_to_the_same_other_vmid_as_a_clone_again(site: World) -> None:
    stands(site, guest(108), v108=MACHINE)
    opened = open_restore(site, 208, plan(site, clone=True))
    assert isinstance(opened, Operation)
    kind = KINDS["restore"]
    again = kind.retry(site, opened, kind.form.read(opened.memory))
    assert (again.original, again.clone, again.archive.volid) == (108, True, ONE.volid)
    assert again.overrides.keys() == {"onboot", "net0"}


def test_without_the_right_to_keep_links_down_no_clone_is_begun_and_the_least_right_is_named(
    site: World,
) -> None:
    cluster = stands(site, guest(108), v108=MACHINE)
    cluster.cluster.permissions_at = lambda path: EVERYTHING
    with pytest.raises(PvePermissionDenied, match=r"VM\.Config\.Network on /vms/208") as refused:
        plan(site, clone=True)
    assert "on /vms/208, and nowhere else" in refused.value.hint
