"""``recover`` on a lab with modelled guests: their node is killed, and they come back on the other one
from their copies, in order; whatever only a person may do is said, and waited for.
"""

from __future__ import annotations

import json
import os
import pty
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from pvelab import cluster_settings
from pvelab.guests.power import switch_off
from pvelab.kernel import Lab
from pvelab.nodes_life import kill_node, revive_node
from pvelab.server import LabServer
from tests import warm
from tests.commands import Answer, Shell, briefly
from tests.integration.conftest import LANGEO
from tests.rehearsed import Record, rehearsal
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.long(600)]
NODE, OTHER = "clovis", "lge-pve02"
OFF = ("--confirm", f"{NODE} is off")
VMIDS = (100, 105, 108)


@dataclass
class Site:
    """The lab in this process, and a user of the service."""

    lab: Lab
    shell: Shell

    def __call__(self, *words: object) -> Answer:
        return self.shell(*words)

    def guests(self) -> dict[int, tuple[str, str]]:
        """The node and the state of each guest that the cluster knows."""
        return {
            vm.vmid: (vm.node, self.lab.machine_status(vm.vmid))
            for vm in self.lab.guests.all(None, None)
        }

    def moves_away(self, *vmids: int) -> None:
        """What ``mv /etc/pve/nodes/clovis/qemu-server/VMID.conf /root/`` does."""
        for vmid in vmids:
            self.lab.guests.remove(vmid)

    def restores(self, vmid: int) -> int:
        """How many restores of a guest PVE ran."""
        return sum(
            upid.type == "qmrestore" and upid.id == str(vmid)
            for upid, _, _ in self.lab.tasks.finished()
        )

    def ha_state(self, vmid: int) -> str:
        """What HA says of a guest."""
        service = self.lab.ha.services.get(f"vm:{vmid}")
        return service.state if service else ""

    def recovery(self) -> dict[str, Any]:
        """The recovery that was opened last, as it stands."""
        found = self("operations", "list", "--kind", "recover", "--limit", 1, "--json").json
        shown: dict[str, Any] = self(
            "operations", "show", found["operations"][0]["id"], "--json"
        ).json
        return shown

    def waits_for(self, word: str, timeout: float = 60) -> str:
        """Wait until a person is asked for something; return all that he is asked."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            found = self("operations", "list", "--kind", "recover", "--json").json["operations"]
            told = " ".join(self.recovery()["data"].get("to_do", ())) if found else ""
            if word in told:
                return told
            time.sleep(0.3)
        raise TimeoutError(word)


@contextmanager
def meanwhile(site: Site, *words: object) -> Iterator[list[Answer]]:
    """A command that goes on while the test does something else; its answer is there at the end."""
    answers = list[Answer]()
    thread = threading.Thread(target=lambda: answers.append(site(*words)))
    thread.start()
    try:
        yield answers
    finally:
        thread.join(200)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Three guests, each backed up on clovis and copied to lge-pve02; HA manages none of them."""
    (tmp_path / "lab").mkdir()
    policy = tmp_path / "policy.yaml"
    there = tmp_path / "lab" / "nodes" / OTHER / "var" / "lib" / "vz" / "dump"
    target = {"kind": "pve-storage", "node": OTHER, "storage": "local", "path": str(there)}
    text = briefly(LANGEO.read_text(encoding="utf-8")).replace(
        'schedule: "21:00"', 'schedule: "2038-01-01 21:00"'
    )
    copies = json.dumps({"pve02": target | {"allow-root": True}})
    policy.write_text(f"{text}\ncopies: {copies}\n", encoding="utf-8")
    server = LabServer(
        tmp_path / "lab", "simulated", lambda text: None, guests=",".join(map(str, VMIDS))
    )
    try:
        server.start()
        server.lab.ha.resources.clear()
        yield Site(server.lab, Shell(tmp_path, {"BACKUPSVC_POLICY": str(policy)}))
    finally:
        server.stop()
        shutil.rmtree(server.run_dir, ignore_errors=True)


def copied(site: Site, *vmids: int) -> None:
    """Back guests up, copy them, and keep the cluster's configuration."""
    named = [word for vmid in vmids for word in ("--vmid", vmid)]
    for words in (
        ("backup", "run", *named),
        ("copy", "run", *named),
        ("catalog", "config", "keep"),
    ):
        answer = site(*words)
        assert answer.code == 0, answer.out + answer.err


def dies(site: Site, *, qdevice: bool = True) -> None:
    cluster_settings.change(site.lab, {"qdevice": qdevice})
    kill_node(site.lab, NODE)


def outcomes(answer: Answer) -> dict[int, str]:
    return {one["vmid"]: one["outcome"] for one in answer.json["guests"]}


def test_every_guest_of_a_dead_node_comes_back_on_the_other_one_in_order(
    site: Site, record_property: Record
) -> None:
    copied(site, *VMIDS)
    ahead = site("recover", "--node", NODE, "--dry-run", "--json")
    assert ahead.code == 4 and ahead.json["online"], ahead.out + ahead.err
    refused = site("recover", "--node", NODE, *OFF)
    assert refused.code == 4 and f"node {NODE} is online" in refused.err
    with rehearsal(
        record_property, "a dead node, with copies and a QDevice", site.lab.dir, about=VMIDS
    ):
        dies(site)
        ahead = site("recover", "--node", NODE, "--dry-run", "--json")
        assert ahead.code == 0 and ahead.json["well"], ahead.out + ahead.err
        assert ahead.json["to_do"] == [
            f"mv /etc/pve/nodes/{NODE}/qemu-server/{{100,105,108}}.conf /root/"
        ]
        with meanwhile(site, "recover", "--node", NODE, *OFF, "--json") as answers:
            assert "mv /etc/pve" in site.waits_for("free the VMIDs of")
            site.moves_away(*VMIDS)
        (answer,) = answers
        assert answer.code == 0, answer.out + answer.err
        assert outcomes(answer) == dict.fromkeys(VMIDS, "back")
        assert [one["vmid"] for one in answer.json["guests"]] == [100, 108, 105]
        assert site.guests() == dict.fromkeys(VMIDS, (OTHER, "running"))
    assert all(one["seconds"] is not None for one in answer.json["guests"])
    assert answer.json["confirmed"]["words"] == f"{NODE} is off" and answer.json["confirmed"]["by"]
    found = site("operations", "list", "--kind", "restore", "--json").json["operations"]
    assert [one["subject"] for one in reversed(found)] == [100, 108, 105]


def test_without_quorum_it_says_the_steps_and_goes_on_when_it_is_given(
    site: Site, record_property: Record
) -> None:
    copied(site, *VMIDS)
    with rehearsal(record_property, "a dead node, without a QDevice", site.lab.dir, about=VMIDS):
        dies(site, qdevice=False)
        ahead = site("recover", "--node", NODE, "--dry-run")
        assert "pvecm expected 1" in ahead.out and "the danger of that step" in ahead.out, ahead.out
        stopped = site("recover", "--node", NODE, *OFF, "--no-wait", "--json")
        assert stopped.code == 3 and "no quorum" in stopped.json["error"]["message"], stopped.out
        assert set(outcomes(stopped).values()) == {"not-done"} and not site.lab.quorate()
        with meanwhile(site, "recover", "--node", NODE, *OFF, "--json") as answers:
            assert "on lge-pve02: pvecm expected 1" in site.waits_for("pvecm expected 1")
            assert not any(site.restores(vmid) for vmid in VMIDS)
            cluster_settings.change(site.lab, {"qdevice": True})
            site.waits_for("free the VMIDs of")
            site.moves_away(*VMIDS)
        assert answers[0].code == 0, answers[0].out + answers[0].err
        assert site.guests() == dict.fromkeys(VMIDS, (OTHER, "running"))


def test_what_has_no_copy_is_lost_and_the_rest_comes_back(
    site: Site, record_property: Record
) -> None:
    copied(site, 105, 108)
    with rehearsal(
        record_property, "a dead node, without a copy of one guest", site.lab.dir, about=VMIDS
    ):
        dies(site)
        site_says = site("recover", "--node", NODE, "--dry-run")
        assert site_says.code == 1 and "100 (PfSense), critical: NOTHING IS LEFT" in site_says.out
        with meanwhile(site, "recover", "--node", NODE, *OFF) as answers:
            site.waits_for("free the VMIDs of 108, 105")
            site.moves_away(105, 108)
        (answer,) = answers
        assert answer.code == 1, answer.out + answer.err
        assert "lost" in answer.out and "it has no archive at all" in answer.out, answer.out
        assert site.guests() == {
            100: (NODE, "stopped"),
            **dict.fromkeys((105, 108), (OTHER, "running")),
        }
        # the table says when, from what and how long; progress says it while it happens
        assert "guest 108 (Debian-Server) is being restored on lge-pve02" in answer.err, answer.err
        assert site.recovery()["state"] == "done"


def test_a_node_that_comes_back_ends_it_and_nothing_is_restored_over_its_guests(
    site: Site,
) -> None:
    copied(site, *VMIDS)
    dies(site)
    with meanwhile(site, "recover", "--node", NODE, *OFF, "--json") as answers:
        site.waits_for("free the VMIDs of")
        revive_node(site.lab, NODE)
    (answer,) = answers
    assert answer.code == 4 and f"node {NODE} is online" in answer.json["error"]["message"]
    assert set(outcomes(answer).values()) == {"not-done"}
    assert not any(site.restores(vmid) for vmid in VMIDS)
    again = site("operations", "retry", answer.json["operation"])
    assert again.code == 4 and f"node {NODE} is online" in again.err


def test_step_by_step_it_stops_after_each_guest_and_names_the_command_that_goes_on(
    site: Site,
) -> None:
    copied(site, *VMIDS)
    dies(site)
    refused = site("recover", "--node", NODE)
    assert refused.code == 2 and '--confirm "clovis is off"' in refused.err, refused.err
    assert "1. 100 (PfSense), critical: restored on lge-pve02" in refused.err, refused.err
    wrong = site("recover", "--node", NODE, "--confirm", "yes")
    assert wrong.code == 2 and "does not say that clovis is off" in wrong.err
    ended = site("recover", "--node", NODE, *OFF, "--no-wait", "--json")
    assert ended.code == 1 and "mv /etc/pve" in ended.json["guests"][0]["hint"], ended.out
    site.moves_away(*VMIDS)
    # its guests are in no list any more: the plan is the one that was shown
    lost = site("recover", "--node", NODE, *OFF)
    assert lost.code == 4 and f"operations retry {ended.json['operation']}" in lost.err, lost.err
    first = site("operations", "retry", ended.json["operation"])
    assert first.code == 0, first.out + first.err
    assert site.guests() == dict.fromkeys(VMIDS, (OTHER, "running"))


def test_each_step_is_one_guest(site: Site) -> None:
    copied(site, *VMIDS)
    dies(site)
    with meanwhile(site, "recover", "--node", NODE, *OFF, "--step") as answers:
        site.waits_for("free the VMIDs of")
        site.moves_away(*VMIDS)
    (answer,) = answers
    assert answer.code == 1 and site.guests() == {100: (OTHER, "running")}
    id = site.recovery()["id"]
    assert f"backupsvc operations retry {id}" in answer.err, answer.err
    second = site("operations", "retry", id)
    assert second.code == 0 and set(site.guests()) == {100, 108}, second.out + second.err
    # all urgent ones are back; it goes on all the same
    third = site("operations", "retry", site.recovery()["id"])
    assert third.code == 0, third.out + third.err
    assert site.guests() == dict.fromkeys(VMIDS, (OTHER, "running"))
    assert [site.restores(vmid) for vmid in VMIDS] == [1, 1, 1]
    over = site("operations", "retry", site.recovery()["id"])
    assert over.code == 4 and "nothing to retry" in over.err


def test_the_guests_of_a_lost_storage_come_back_elsewhere_once_a_person_freed_their_vmids(
    site: Site, record_property: Record
) -> None:
    copied(site, *VMIDS)
    lost = ("recover", "--storage", "local-lvm")
    there = site(*lost, "--confirm", "local-lvm is lost")
    assert there.code == 4 and "no guest is lost with storage local-lvm" in there.err, there.err
    with rehearsal(
        record_property, "a lost storage of a node that lives", site.lab.dir, about=VMIDS
    ):
        known = site.lab.storages["local-lvm"]
        site.lab.storages["local-lvm"] = replace(known, nodes=(OTHER,))
        ahead = site(*lost, "--dry-run", "--json")
        assert ahead.code == 0 and ahead.json["storage"] == "local-lvm", ahead.out + ahead.err
        assert ahead.json["to_do"][:2] == [f"# on {NODE}:", "qm stop 100"], ahead.json["to_do"]
        assert {one["target"] for one in ahead.json["guests"]} == {OTHER}
        wrong = site(*lost, *OFF)
        assert wrong.code == 2 and "local-lvm is lost for good" in wrong.err, wrong.err
        with meanwhile(site, *lost, "--confirm", "local-lvm is lost", "--json") as answers:
            assert "qm stop 100" in site.waits_for("free the VMIDs of")
            # a guest whose configuration is there is never restored over (law 1)
            assert not any(site.restores(vmid) for vmid in VMIDS)
            for vmid in VMIDS:
                switch_off(site.lab, vmid)
            site.moves_away(*VMIDS)
        (answer,) = answers
        assert answer.code == 0, answer.out + answer.err
        assert outcomes(answer) == dict.fromkeys(VMIDS, "back")
        assert site.guests() == dict.fromkeys(VMIDS, (OTHER, "running"))


def test_law_1_what_ha_moved_and_gave_up_is_told_and_not_restored_over(site: Site) -> None:
    copied(site, *VMIDS)
    site.lab.ha.resources["vm:105"] = {"state": "started"}
    cluster_settings.change(site.lab, {"time_factor": 200})
    wait_until(lambda: site.ha_state(105) == "started", "HA has it")
    dies(site)
    wait_until(lambda: site.ha_state(105) == "error", "HA gives it up")
    assert site.guests()[105] == (OTHER, "stopped")
    ahead = site("recover", "--node", NODE, "--dry-run", "--json")
    (told,) = [one for one in ahead.json["guests"] if one["vmid"] == 105]
    assert (told["way"], told["target"]) == ("by-hand", OTHER)
    assert "ha-manager remove vm:105" in told["commands"]
    answer = site("recover", "--node", NODE, *OFF, "--no-wait", "--json")
    assert answer.code == 1 and outcomes(answer)[105] == "by-hand", answer.out
    assert site.restores(105) == 0


KILLED = """
import os, signal, sys
from backupsvc.operations.recover import children
kept, left = children._remember, int(sys.argv.pop(1))
def dying(run, vmid, restore):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    kept(run, vmid, restore)
children._remember = dying
from backupsvc.cli import main
main()
"""


@pytest.mark.parametrize("at", [1, 2])
def test_law_9_killed_in_the_middle_it_is_gone_on_with_and_restores_nothing_twice(
    site: Site, at: int
) -> None:
    copied(site, *VMIDS)
    dies(site)
    site("recover", "--node", NODE, *OFF, "--no-wait")
    site.moves_away(*VMIDS)
    failed = site.recovery()["id"]
    settings = {"BACKUPSVC_STATE_DIR": str(site.shell.state), "COLUMNS": "200"} | site.shell.env
    kept = {key: value for key, value in os.environ.items() if not key.startswith("BACKUPSVC_")}
    killed = warm.python(["-c", KILLED, str(at), "operations", "retry", failed], kept | settings)
    assert killed.returncode == -9, killed
    assert site.recovery()["state"] == "open"
    answer = site("recover", "--node", NODE, "--json")
    assert answer.code == 0, answer.out + answer.err
    assert "is gone on with" in answer.err and '"clovis is off" was said by' in answer.err
    assert outcomes(answer) == dict.fromkeys(VMIDS, "back")
    assert [site.restores(vmid) for vmid in VMIDS] == [1, 1, 1]
    assert site.guests() == dict.fromkeys(VMIDS, (OTHER, "running"))


def at_a_terminal(site: Site, *words: object, types: dict[bytes, bytes]) -> Answer:
    """Run a command on a terminal of its own, at which somebody answers what is asked."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("BACKUPSVC_")}
    own = {"BACKUPSVC_STATE_DIR": str(site.shell.state), "TERM": "dumb", "COLUMNS": "1000"}
    pid, terminal = pty.fork()
    if pid == 0:
        env = kept | own | site.shell.env
        os.execve(sys.executable, [sys.executable, "-m", "backupsvc", *map(str, words)], env)
    shown, read = b"", 0
    while True:
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # its other end is closed
            break
        if not piece:
            break
        shown += piece
        for question, answer in types.items():
            if question in shown[read:]:
                read = len(shown)
                os.write(terminal, answer)
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    return Answer(os.waitstatus_to_exitcode(status), shown.decode(), "")


def test_at_a_terminal_the_words_begin_it_and_each_step_is_asked_for(site: Site) -> None:
    copied(site, *VMIDS)
    dies(site)
    for word in (b"yes\n", b"\n", b"\x04"):
        answer = at_a_terminal(site, "recover", "--node", NODE, types={b"to begin": word})
        assert answer.code == 1 and "nothing was begun" in answer.out, answer.out
    assert site("operations", "list", "--kind", "recover", "--json").json["operations"] == []
    types = {b"to begin": b"Clovis is  off\n", b"Go on with the next guest?": b"y\n"}

    def free() -> None:
        site.waits_for("free the VMIDs of")
        site.moves_away(*VMIDS)

    frees = threading.Thread(target=free)
    frees.start()
    answer = at_a_terminal(site, "recover", "--node", NODE, "--step", types=types)
    frees.join(60)
    assert answer.code == 0, answer.out
    assert answer.out.count("Go on with the next guest?") == 2
    assert site.guests() == dict.fromkeys(VMIDS, (OTHER, "running"))
    assert answer.out.count('Type "clovis is off" to begin') == 1
