"""``copy run`` and ``copy list`` on a lab with modelled guests: what they answer, what they leave
at a target that refuses them, and what happens when others write meanwhile.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from backupsvc.engine import context
from backupsvc.pve import tasks
from backupsvc.settings import load_settings
from tests.commands import Answer, Shell, briefly
from tests.integration.administrator import disable_pve_job
from tests.integration.conftest import LANGEO
from tests.integration.durable import conductor
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

VMID = 105
NODE, ELSEWHERE = "clovis", "lge-pve02"
SLOW = {"bandwidth": 1}  # KiB/s: an archive of 3 KiB takes two seconds beyond its first one


def dump(site: Shell, node: str) -> Path:
    return site.state / "lab" / "nodes" / node / "var" / "lib" / "vz" / "dump"


def archives(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"vzdump-qemu-{VMID}-*.vma.zst"))


@dataclass
class User:
    """Somebody with a policy of his own, whose copies go to the other node and to a folder."""

    site: Shell
    policy: Path
    usb: Path
    text: str = ""
    targets: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def there(self) -> Path:
        return dump(self.site, ELSEWHERE)

    def __call__(self, *words: object) -> Answer:
        return self.site(*words, BACKUPSVC_POLICY=str(self.policy))

    def copy(self, *words: object) -> Answer:
        return self("copy", "run", "--vmid", VMID, "--json", *words)

    def listed(self) -> list[tuple[str, str]]:
        """Which archive is called verified at which target."""
        answer = self("copy", "list", "--vmid", VMID, "--json")
        assert answer.code == 0, answer.err
        gone = "; the policy names this target no more"
        found = [one for one in answer.json["copies"] if not one["reason"].endswith(gone)]
        assert {one["state"] for one in found} <= {"verified"}
        return sorted((one["target"]["name"], one["volid"].partition("/")[2]) for one in found)

    def write(self, **changes: dict[str, Any]) -> None:
        """Write the policy, with changes to its targets."""
        targets = {name: one | changes.get(name, {}) for name, one in self.targets.items()}
        self.policy.write_text(f"{self.text}\ncopies: {json.dumps(targets)}\n", encoding="utf-8")

    def keep_one(self) -> None:
        """Let retention keep the newest archive alone, and remove any share of them."""
        text = re.sub("keep: keep-.*", "keep: keep-last=1", self.text)
        self.text = text.replace("max-share: 50%", "max-share: 80%")
        self.write()

    def back_up(self) -> Path:
        """Back the guest up and return its archive's file."""
        answer = self("backup", "run", "--vmid", VMID, "--json")
        assert answer.code == 0, answer.out + answer.err
        return archives(dump(self.site, NODE))[-1]

    def failed(self, answer: Answer, code: int) -> Any:
        """Given the answer to a copy that must have failed, return what it says of the one copy."""
        assert answer.code == code, answer.out + answer.err
        (one,) = answer.json["copies"]
        assert one["state"] == "failed", one
        return one


@pytest.fixture
def user(site: Shell, tmp_path: Path) -> Iterator[User]:
    disable_pve_job(site.state)
    text = briefly(LANGEO.read_text(encoding="utf-8"))
    # a worker that these tests play must not find a night that is due at the hour at which they run
    text = text.replace('schedule: "21:00"', 'schedule: "2038-01-01 21:00"')
    made = User(site, tmp_path / "policy.yaml", tmp_path / "usb", text)
    made.usb.mkdir()
    made.targets = {
        "pve02": {
            "kind": "pve-storage",
            "node": ELSEWHERE,
            "storage": "local",
            "path": str(made.there),
            "allow-root": True,
        },
        "usb": {"kind": "directory", "path": str(made.usb)},
    }
    made.write()
    yield made
    site("lab", "fault", "clear")
    for node in (NODE, ELSEWHERE):
        for path in dump(site, node).iterdir():
            path.unlink()
    synced = made("catalog", "sync", "--accept", "--json")
    assert synced.code == 0, synced.out + synced.err
    opened = made("operations", "list", "--state", "open", "--json").json["operations"]
    assert opened == [], "no operation is left open"


@pytest.fixture
def archive(user: User) -> Path:
    return user.back_up()


@contextmanager
def started(user: User, *words: str) -> Iterator[subprocess.Popen[str]]:
    """Let a copy run while the body does something else."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BACKUPSVC_")}
    env = {"BACKUPSVC_STATE_DIR": str(user.site.state), "BACKUPSVC_POLICY": str(user.policy)}
    command = ["-m", "backupsvc", "copy", "run", "--vmid", str(VMID), "--json", *words]
    with subprocess.Popen(
        [sys.executable, *command],
        env=kept | env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        yield running


@contextmanager
def stopped_in_mid_copy(user: User, archive: Path) -> Iterator[subprocess.Popen[str]]:
    """Let a copy to the folder stand still while the body does something else: all its bytes are
    sent, and nothing has been read back.
    """
    user.write(usb=SLOW)
    part, size = user.usb / f".{archive.name}.part", archive.stat().st_size
    with started(user, "--to", "usb") as command:
        wait_until(lambda: part.exists() and part.stat().st_size == size, "it is sent", 0.02)
        command.send_signal(signal.SIGSTOP)
        try:
            assert part.exists(), "it is not read back yet"
            yield command
        finally:
            command.send_signal(signal.SIGCONT)


def ended(command: subprocess.Popen[str]) -> Answer:
    command.send_signal(signal.SIGCONT)
    out, err = command.communicate(timeout=120)
    return Answer(command.returncode, out, err)


# --- what it answers ------------------------------------------------------------------------------


def test_a_dry_run_says_what_would_be_copied_where_and_copies_nothing(
    user: User, archive: Path
) -> None:
    answer = user.copy("--dry-run")
    assert (answer.code, answer.json["dry_run"], answer.json["not_listed"]) == (0, True, [])
    told = [(one["target"]["name"], one["state"], one["bytes"]) for one in answer.json["copies"]]
    size = archive.stat().st_size
    assert told == [("pve02", "planned", size), ("usb", "planned", size)]
    assert [*user.usb.iterdir(), *user.there.iterdir(), *user.listed()] == []
    said = user("copy", "run", "--vmid", VMID, "--dry-run", "--to", "usb")
    assert said.code == 0 and "planned" in said.out and "pve02" not in said.out


def test_a_copy_is_verified_once_found_again_and_an_archive_of_its_own_where_pve_has_it(
    user: User, archive: Path
) -> None:
    before = status(user)
    assert "archives-on-guest-node" in before["findings"] and before["copies"] == 1
    first, again = user.copy(), user.copy()
    for answer, moved in ((first, archive.stat().st_size), (again, 0)):
        assert answer.code == 0, answer.out + answer.err
        assert [(one["state"], one["moved"]) for one in answer.json["copies"]] == [
            ("verified", moved)
        ] * 2
    assert {one["reason"] for one in again.json["copies"]} == {"its manifest matches"}
    assert user.listed() == [("pve02", archive.name), ("usb", archive.name)]
    for folder in (user.usb, user.there):
        assert (folder / archive.name).read_bytes() == archive.read_bytes()
    rows = user("catalog", "list", "--vmid", VMID, "--json").json["archives"]
    assert {(row["node"], row["rung"]) for row in rows} == {(NODE, "intact"), (ELSEWHERE, "intact")}
    after = status(user)
    assert "archives-on-guest-node" not in after["findings"] and after["copies"] == 3


def status(user: User) -> dict[str, Any]:
    """What the status says of the guest: its findings, and in how many places its archive lies."""
    answer = user("pra", "status", "--json")
    (guest,) = (one for one in answer.json["guests"] if one["vmid"] == VMID)
    findings = {one["id"] for one in answer.json["findings"] if one.get("vmid") == VMID}
    return {"findings": findings, "copies": guest["copies"]}


def test_what_cannot_be_meant_is_a_usage_error(user: User, archive: Path) -> None:
    unknown = user.copy("--to", "nas")
    assert unknown.code == 2 and "no copy target nas" in unknown.err
    assert "its targets are: pve02, usb" in unknown.err
    nobody = user("copy", "run", "--vmid", VMID, "--vmid", 999, "--json")
    assert nobody.code == 1 and "no archive of guest 999" in nobody.err, nobody.out + nobody.err
    user.policy.write_text(user.text)
    without = user.copy()
    assert without.code == 2 and "names no copy targets" in without.err
    assert list(user.usb.iterdir()) == []


# --- targets that refuse --------------------------------------------------------------------------


def test_a_folder_that_is_not_there_is_told_with_3(user: User, archive: Path) -> None:
    user.usb.rmdir()
    one = user.failed(user.copy("--to", "usb"), 3)
    assert "is not there" in one["reason"] and "mount its disk" in one["hint"]
    assert not user.usb.exists() and user.listed() == []


@pytest.fixture
def small(user: User) -> Iterator[Path]:
    """The folder is a disk of 8 KiB, less what a file system leaves free."""
    words = ["mount", "-t", "tmpfs", "-o", "size=8k", "none", str(user.usb)]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    yield user.usb
    subprocess.run(["umount", "-l", str(user.usb)], check=True)


def test_a_disk_that_is_read_only_refuses_with_4(user: User, archive: Path, small: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
    one = user.failed(user.copy("--to", "usb"), 4)
    assert "does not let us write" in one["reason"] and "dmesg" in one["hint"]
    assert user.listed() == []


def test_a_disk_that_is_full_refuses_with_4_and_nothing_is_left_there(
    user: User, archive: Path, small: Path
) -> None:
    (small / "theirs").write_bytes(bytes(8192))
    one = user.failed(user.copy("--to", "usb"), 4)
    assert "has no room" in one["reason"]
    assert [path.name for path in small.iterdir()] == ["theirs"] and user.listed() == []


def test_a_disk_on_which_only_the_archive_fits_is_not_said_to_have_its_copy(
    user: User, archive: Path, small: Path
) -> None:
    (small / "theirs").write_bytes(bytes(4096))
    one = user.failed(user.copy("--to", "usb"), 4)
    assert "has no room" in one["reason"]
    assert archives(small) == [] and user.listed() == []
    (small / "theirs").unlink()


def test_a_folder_that_is_not_the_storages_is_told_and_its_copy_is_not_said_to_be_on_that_node(
    user: User, archive: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    user.write(pve02={"path": str(elsewhere)})
    one = user.failed(user.copy("--to", "pve02"), 1)
    assert "is whole in" in one["reason"] and "PVE does not list it" in one["reason"]
    assert "pvesm path" in one["hint"] and "`path` of the copy target pve02" in one["hint"]
    assert (elsewhere / archive.name).read_bytes() == archive.read_bytes()
    assert user.listed() == [] and status(user)["copies"] == 1


def test_a_node_that_is_dead_keeps_no_other_copy_waiting_and_its_own_is_made_when_it_is_back(
    user: User, archive: Path
) -> None:
    assert user.site("lab", "fault", "node-death", ELSEWHERE).code == 0
    with started(user) as command:
        wait_until(lambda: user.listed() == [("usb", archive.name)], "the other copy is made", 0.5)
        assert command.poll() is None, "it waits for the node"
        assert user.site("lab", "fault", "node-return", ELSEWHERE).code == 0
        answer = ended(command)
    assert answer.code == 3, "what lies on that node could not be listed when it began"
    assert {one["state"] for one in json.loads(answer.out)["copies"]} == {"verified"}
    assert user.listed() == [("pve02", archive.name), ("usb", archive.name)]


# --- archives that change -------------------------------------------------------------------------


def test_an_archive_of_other_bytes_than_were_recorded_is_not_copied(
    user: User, archive: Path
) -> None:
    data = bytearray(archive.read_bytes())
    data[1234] ^= 1
    stat = archive.stat()
    archive.write_bytes(data)
    os.utime(archive, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    answer = user.copy()
    assert answer.code == 1, answer.out + answer.err
    assert all("is not what was recorded" in one["reason"] for one in answer.json["copies"])
    assert [*user.usb.iterdir(), *user.there.iterdir(), *user.listed()] == []


def test_an_archive_of_another_size_than_was_recorded_is_named_and_not_copied(
    user: User, archive: Path
) -> None:
    with archive.open("ab") as file:
        file.write(b"more")
    answer = user.copy()
    assert answer.code != 0, f"its only archive is not copied: {answer.out}{answer.err}"
    assert [*user.usb.iterdir(), *user.listed()] == []


def test_an_archive_that_is_deleted_in_mid_copy_leaves_nothing(user: User, archive: Path) -> None:
    with stopped_in_mid_copy(user, archive) as copying:
        archive.unlink()
        one = user.failed(ended(copying), 1)
    assert "is not there" in one["reason"] and "pruned" in one["hint"]
    assert [*user.usb.iterdir(), *user.listed()] == []


# --- copies that go -------------------------------------------------------------------------------


def test_a_copy_that_somebody_removed_is_sent_again_and_its_loss_is_in_the_history(
    user: User, archive: Path
) -> None:
    assert user.copy().code == 0
    for folder in (user.usb, user.there):
        (folder / archive.name).unlink()
    assert status(user)["copies"] == 2, (
        "PVE lists it on the other node no more; the disk is unasked"
    )
    assert user("catalog", "sync", "--accept").code == 0
    assert user.listed() == [("usb", archive.name)]
    again = user.copy()
    assert [one["moved"] for one in again.json["copies"]] == [archive.stat().st_size] * 2
    assert user.listed() == [("pve02", archive.name), ("usb", archive.name)]
    (usb,) = (one for one in again.json["copies"] if one["target"]["name"] == "usb")
    shown = user("operations", "show", usb["operation"], "--json").json
    assert "lost" in {line["event"] for line in shown["transitions"]}


def test_law_3_a_target_keeps_what_its_own_rules_say_and_nothing_goes_while_a_copy_is_missing(
    user: User,
) -> None:
    user.write(usb={"keep": "keep-last=1"})

    def next_one() -> tuple[str, Any]:
        file = user.back_up()
        answer = user.copy("--to", "usb")
        assert answer.code == 0, answer.out + answer.err
        (copy,) = answer.json["copies"]
        return file.name, copy

    def there() -> list[str]:
        return [path.name for path in archives(user.usb)]

    first, copy = next_one()
    assert (copy["removed"], there()) == ([], [first])
    user.back_up()
    (planned,) = user.copy("--to", "usb", "--dry-run").json["copies"]
    assert (planned["would_remove"], planned["nothing_removed"]) == ([first], None)
    assert there() == [first]
    second, copy = next_one()
    assert (copy["removed"], there()) == ([first], [second])
    assert {path.name.partition(".")[0] for path in user.usb.iterdir()} == {
        second.partition(".")[0]
    }
    (user.usb / second).unlink()
    (planned,) = user.copy("--to", "usb", "--dry-run").json["copies"]
    assert planned["would_remove"] == []  # it would take the place of the one that is missing
    third, copy = next_one()
    assert copy["removed"] == [] and "copy sync --to usb" in copy["nothing_removed"]
    fourth, copy = next_one()
    assert (copy["removed"], there()) == ([], [third, fourth])
    for words, lost in ((("--to", "usb", "--dry-run"), [second]), ((), [second]), ((), [])):
        told = user("copy", "sync", "--json", *words).json["copies"]
        assert [one["volid"].partition("/")[2] for one in told] == lost
    again = user.copy("--to", "usb").json["copies"][0]
    assert (again["moved"], again["removed"], there()) == (0, [third], [fourth])


def test_law_3_our_own_prune_takes_copies_as_archives_and_copy_list_follows(user: User) -> None:
    user.keep_one()
    made = []
    for _ in range(2):
        made.append(user.back_up().name)
        assert user.copy().code == 0
        time.sleep(1.1)
    older, newer = made
    pruned = user("prune", "--vmid", VMID, "--json")
    assert pruned.code == 0, pruned.out + pruned.err
    assert [path.name for path in archives(user.there)] == [newer]
    assert user.listed() == [("pve02", newer), ("usb", older), ("usb", newer)]
    assert status(user)["copies"] == 3


def test_where_each_node_has_the_others_copies_nothing_is_copied_back(
    user: User, archive: Path
) -> None:
    user.targets = {
        f"to-{node}": user.targets["pve02"] | {"node": node, "path": str(dump(user.site, node))}
        for node in (NODE, ELSEWHERE)
    }
    user.write()
    for _ in range(2):
        answer = user.copy()
        assert answer.code == 0, answer.out + answer.err
        told = {one["target"]["name"]: one for one in answer.json["copies"]}
        assert {name: one["state"] for name, one in told.items()} == {
            f"to-{NODE}": "skipped",
            f"to-{ELSEWHERE}": "verified",
        }
        assert told[f"to-{NODE}"]["source"]["node"] == NODE
    assert list(dump(user.site, NODE).glob("*.copy.json")) == []


# --- others who write meanwhile -------------------------------------------------------------------


def test_two_commands_at_once_make_one_copy(user: User, archive: Path) -> None:
    with stopped_in_mid_copy(user, archive) as copying:
        second = user.failed(user.copy("--to", "usb"), 4)
        first = ended(copying)
    assert first.code == 0, first.out + first.err
    assert "copy of" in second["reason"] and "operations" in second["hint"]
    assert (user.usb / archive.name).read_bytes() == archive.read_bytes()
    assert user.listed() == [("usb", archive.name)]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_law_9_the_next_command_goes_on_where_one_was_killed_or_interrupted(
    user: User, archive: Path, how: signal.Signals
) -> None:
    with stopped_in_mid_copy(user, archive) as copying:
        copying.send_signal(how)
        assert ended(copying).code != 0
    assert archives(user.usb) == [] and user.listed() == []
    again = user.copy("--to", "usb")
    assert again.code == 0, again.out + again.err
    assert (user.usb / archive.name).read_bytes() == archive.read_bytes()
    assert list(user.usb.glob(".*")) == [] and user.listed() == [("usb", archive.name)]


def test_law_3_a_prune_leaves_an_archive_that_is_being_copied(user: User, archive: Path) -> None:
    user.keep_one()
    with stopped_in_mid_copy(user, archive) as copying:
        time.sleep(1.1)
        newer = user.back_up()
        user("prune", "--vmid", VMID, "--json")
        assert archives(archive.parent) == [archive, newer]
        first = ended(copying)
    assert first.code == 0, first.out + first.err
    assert (user.usb / archive.name).read_bytes() == archive.read_bytes()
    pruned = user("prune", "--vmid", VMID, "--json")
    assert pruned.code == 0, pruned.out + pruned.err
    assert archives(archive.parent) == [newer]


@pytest.fixture
def work(user: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """Let a worker do what is open, by the policy as it is then; return what came of the copy."""

    def do() -> Any:
        for module, name in ((tasks, "RECENT_AGE"), (context, "JUST_NOW")):
            # the conductor sets them for a process of its own
            monkeypatch.setattr(module, name, getattr(module, name))
        policy = tmp_path / "edited.yaml"
        policy.write_text(user.policy.read_text(encoding="utf-8"), encoding="utf-8")
        monkeypatch.setenv("BACKUPSVC_STATE_DIR", str(user.site.state))
        monkeypatch.setenv("BACKUPSVC_POLICY", str(policy))
        with closing(conductor.opened(load_settings(), foreground=False)) as service:
            conductor.work_to_the_end(service)
        found = user("operations", "list", "--kind", "copy", "--limit", 1, "--json").json
        return found["operations"][0]

    return do


def test_a_target_that_leaves_the_policy_before_its_turn_is_sent_nothing(
    user: User, archive: Path, work: Callable[[], Any]
) -> None:
    assert user.copy("--to", "usb", "--enqueue").code == 0
    del user.targets["usb"]
    user.write()
    done = work()
    assert done["state"] == "failed" and "no longer in the policy" in done["error"]
    assert [*user.usb.iterdir(), *user.listed()] == []


def test_a_target_that_gets_another_folder_before_its_turn_gets_the_copy_there(
    user: User, archive: Path, work: Callable[[], Any], tmp_path: Path
) -> None:
    assert user.copy("--to", "usb", "--enqueue").code == 0
    other = tmp_path / "other"
    other.mkdir()
    user.targets["usb"]["path"] = str(other)
    user.write()
    assert work()["state"] == "done"
    assert list(user.usb.iterdir()) == [] and archives(other) == [other / archive.name]
    assert user.listed() == [("usb", archive.name)]


def test_an_archive_that_moves_to_another_node_before_its_turn_is_told_and_the_next_finds_it(
    user: User, archive: Path, work: Callable[[], Any]
) -> None:
    assert user.copy("--to", "usb", "--enqueue").code == 0
    for path in archive.parent.glob(f"vzdump-qemu-{VMID}-*"):
        path.rename(user.there / path.name)
    assert user("catalog", "sync", "--accept").code == 0
    done = work()
    assert done["state"] == "failed" and archive.name in done["error"], done
    assert [*user.usb.iterdir(), *user.listed()] == []
    again = user.copy("--to", "usb")
    assert again.code == 0, again.out + again.err
    assert again.json["copies"][0]["source"]["node"] == ELSEWHERE
    assert user.listed() == [("usb", archive.name)]
