"""Signs of encryption: read with the archive, judged beside the guest's others, held until somebody
acknowledges it.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import policies.archive_signs
from backupsvc import bootstrap
from backupsvc.cli import archive as archive_commands
from backupsvc.cli import catalog as catalog_commands
from backupsvc.doctor import checks as health
from backupsvc.errors import PveNotFound, Refused
from backupsvc.inventory import archive_signs
from backupsvc.operations import build_engine
from backupsvc.operations.prune import deciding
from backupsvc.operations.recheck.opening import open_recheck
from backupsvc.requester import person
from backupsvc.settings import Settings, SshSettings
from policies import whole
from policies.model import ZEROS, Archive, DiskSigns, GuestType, Policy, Scratch
from policies.prune_guard import Knowledge
from tests.fakes.made import archive
from tests.unit.archives.build import CLUSTER, Vma, pattern, zst
from tests.unit.cli.test_doctor import World as Doctored
from tests.unit.operations.cluster import Cluster
from tests.unit.operations.test_recheck import Disk
from tests.unit.operations.worlds import World, world
from tests.unit.policies.test_archive_signs import BEFORE, disk
from tests.unit.policies.test_archive_signs import random as random_prints

SEALED = disk([*random_prints(60, 500), *random_prints(20, 100), *[ZEROS] * 20])
EMPTY = disk([ZEROS] * 100)


@dataclass
class Reading:
    """What is found in the archives of the guest, by number."""

    site: World
    known: dict[int, Archive] = field(default_factory=dict)

    def __call__(self, number: int, signs: DiskSigns, **more: Any) -> Archive:
        one = archive(108, number, **more)
        self.known[number] = one
        self.site.catalog.archives.observe([one], scope=[], at=one.ctime)
        found = {
            "signs": (signs,),
            "problems": [],
            "sha256": f"{number:064d}",
            "size": one.size,
        }
        archive_signs.record(self.site, one, found)
        return self.now(number)

    def now(self, number: int) -> Archive:
        one = self.known[number]
        found = self.site.catalog.archives.get(one.node, one.volid)
        assert found
        return found


@pytest.fixture
def site(tmp_path: Any, monkeypatch: pytest.MonkeyPatch, sqlite_url: str) -> Iterator[World]:
    made = world(sqlite_url)
    made.settings = Settings(state_dir=tmp_path, ssh=SshSettings(nodes={"clovis": "clovis:22"}))

    @contextmanager
    def service(*, foreground: bool = True) -> Iterator[Any]:
        yield made

    monkeypatch.setattr(bootstrap, "open_service", service)
    yield made
    made.catalog.close()


@pytest.fixture
def reading(site: World) -> Reading:
    return Reading(site)


def acknowledge(*words: str) -> Result:
    return CliRunner().invoke(archive_commands.app, ["acknowledge", *words])


def test_a_jump_is_recorded_at_the_archive_and_stays_with_those_after_it(reading: Reading) -> None:
    assert not reading(1, BEFORE).suspicious and not reading(2, BEFORE).suspicious
    assert reading(3, SEALED).suspicious[0].since == reading.known[2].volid
    assert reading(4, SEALED).suspicious and not reading(5, BEFORE).suspicious
    assert reading.now(3).suspicious and not reading.now(2).suspicious


def test_what_an_older_archive_tells_later_adds_to_what_is_known_and_takes_nothing_back(
    reading: Reading,
) -> None:
    assert not reading(2, SEALED).suspicious
    reading(1, BEFORE)
    assert reading.now(2).suspicious
    # one between them that was the same, read last, makes it no less suspicious
    reading(3, SEALED)
    assert reading.now(3).suspicious and reading.now(2).suspicious


def test_nothing_is_recorded_of_bytes_that_are_damaged_changed_or_were_not_looked_at(
    site: World,
) -> None:
    one, nobodys = archive(108, 1), replace(archive(108, 2), vmid=None)
    good: dict[str, Any] = {"signs": (BEFORE,), "problems": [], "sha256": "0" * 64, "size": 1000}
    assert archive_signs.record(site, one, good) == ()  # never listed
    site.catalog.archives.observe([one, nobodys], scope=[], at=1)
    for wrong in ({"signs": ()}, {"problems": [{"text": "torn"}]}):
        archive_signs.record(site, one, good | wrong)
    site.catalog.archives.annotate(one.node, one.volid, size=7, at=1)
    archive_signs.record(site, one, good)
    assert site.catalog.archive_signs.of_guest(108) == []
    # whose it is nobody knows: nothing is compared
    assert archive_signs.record(site, nobodys, good) == ()


def test_law_10_another_machine_or_kind_under_the_vmid_has_a_history_of_its_own(
    site: World, reading: Reading
) -> None:
    reading(1, BEFORE)
    container = archive(108, 2, type=GuestType.LXC)
    assert not reading(2, SEALED, type=container.type).suspicious
    for number, uuid in ((3, "a" * 8), (1, "b" * 8)):
        one = archive(108, number)
        site.catalog.archives.observe([one], scope=[], at=1)
        site.catalog.archives.annotate(one.node, one.volid, uuid=uuid)
    assert not reading(3, SEALED).suspicious


def test_law_10_each_of_several_machines_under_a_vmid_is_compared_with_itself_alone(
    site: World, reading: Reading
) -> None:
    made = ((1, "a" * 8, BEFORE), (2, "b" * 8, EMPTY), (3, "c" * 8, SEALED))
    for number, uuid, _ in made:
        one = archive(108, number)
        site.catalog.archives.observe([one], scope=[], at=1)
        site.catalog.archives.annotate(one.node, one.volid, uuid=uuid)
    for number, _, signs in (*made, *made):  # once more when they are read anew
        assert not reading(number, signs).suspicious


def test_law_3_a_suspicious_archive_that_is_gone_holds_what_is_older_until_it_is_acknowledged(
    site: World, reading: Reading
) -> None:
    reading(1, BEFORE)
    bad = reading(2, SEALED)
    site.catalog.archives.mark_gone(bad.node, bad.volid, 1)
    site.policy = Policy("s", "UTC", "en", (), {}, {}, Scratch(9000, 9009), "standard")

    def held(whose: int | None) -> list[int]:
        rules = site.policy.prune
        return sorted(deciding._facts(site, [], whose, listed_before=0, rules=rules)["holds"])

    assert held(108) == held(None) == [108] and held(109) == []
    assert acknowledge(bad.volid, "--reason", "it was deleted").exit_code == 0
    assert held(108) == []
    # the guest was brought back
    assert not reading(3, BEFORE).suspicious


def test_what_is_suspicious_stays_so_when_what_it_was_compared_with_is_forgotten(
    site: World, reading: Reading
) -> None:
    reading(1, BEFORE)
    assert reading(2, SEALED).suspicious
    site.catalog.archive_signs.forget([whole.key(reading.known[1])])
    assert not reading(3, BEFORE).suspicious and reading(4, SEALED).suspicious


def test_no_more_is_remembered_than_a_month_of_usual_archives(
    site: World, reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policies.archive_signs, "RECENT", 2)
    for number in range(1, 6):  # of one week: the first, and the newest
        reading(number, BEFORE)
    held = [one.archive.ctime % 100 for one in site.catalog.archive_signs.of_guest(108)]
    assert len(held) == 3
    for number in range(6, 12):
        assert reading(number, SEALED).suspicious  # however long nobody looks
    assert reading.now(11).suspicious


def test_an_acknowledged_archive_is_what_is_usual_and_those_after_it_are_released(
    site: World, reading: Reading
) -> None:
    reading(1, BEFORE)
    first, second = reading(2, SEALED), reading(3, SEALED)
    tried = acknowledge(first.volid, "--reason", "we sealed it", "--dry-run", "--json")
    told = json.loads(tried.stdout)
    assert tried.exit_code == 0 and told["dry_run"] and reading.now(2).suspicious
    assert [one["volid"] for one in told["archives"]] == [first.volid]
    assert "100 % looks random" in told["archives"][0]["said"]
    assert [one["volid"] for one in told["released"]] == [second.volid]
    done = acknowledge(first.volid, "--reason", "we sealed it")
    assert done.exit_code == 0 and f"acknowledged by {person()}" in done.stdout
    assert f"{second.volid} on clovis: usual beside it" in done.stdout
    assert not reading.now(2).suspicious and not reading.now(3).suspicious
    [said] = site.catalog.archive_signs.acknowledgements(108)
    assert (said.volid, said.who, said.reason) == (first.volid, person(), "we sealed it")
    assert not reading(4, SEALED).suspicious and reading(5, EMPTY).suspicious


def test_one_that_differs_again_stays_suspicious_beside_what_was_acknowledged(
    reading: Reading,
) -> None:
    reading(1, BEFORE)
    first = reading(2, SEALED, operation="01OP")
    assert reading(3, EMPTY).suspicious
    assert acknowledge("01OP", "--reason", "we sealed it").exit_code == 0
    assert not reading.now(2).suspicious and reading.now(3).suspicious
    assert first.operation == "01OP"


def test_only_a_suspicious_archive_that_is_known_is_acknowledged_and_with_a_reason(
    site: World, reading: Reading
) -> None:
    usual = reading(1, BEFORE)
    with pytest.raises(PveNotFound, match="knows no archive local:backup/none"):
        archive_signs.acknowledge(site, "local:backup/none", "x")
    with pytest.raises(Refused, match="is not suspicious"):
        archive_signs.acknowledge(site, usual.volid, "x")
    assert "needs a reason" in str(acknowledge(usual.volid, "--reason", " ").exception)


def test_catalog_show_tells_what_its_disks_look_like_and_who_acknowledged_it(
    site: World, reading: Reading
) -> None:
    def shown(number: int) -> dict[str, Any]:
        words = ["show", reading.known[number].volid, "--offline", "--json"]
        answer = CliRunner().invoke(catalog_commands.app, words)
        [one] = json.loads(answer.stdout)["archives"]
        signs: dict[str, Any] = one["signs"]
        return signs

    reading(1, EMPTY)
    config = "boot: order=scsi0\n#qmdump#map:scsi0:drive-scsi0:local:raw:"
    site.catalog.archives.annotate("clovis", reading.known[1].volid, config=config)
    told = shown(1)
    assert (
        told["state"] == "no-history" and "drive-scsi0, from which the guest boots" in told["said"]
    )
    reading(2, BEFORE)
    assert shown(2)["state"] == "usual"
    reading(3, SEALED)
    told = shown(3)
    assert told["state"] == "suspicious" and "looks random" in told["said"]
    [one] = told["disks"]
    assert (one["name"], one["random"], one["entropy"]) == ("drive-scsi0", 1.0, 5.0)
    acknowledge(reading.known[3].volid, "--reason", "we sealed it")
    told = shown(3)
    assert told["state"] == "acknowledged" and told["acknowledged"][0]["reason"] == "we sealed it"
    unread = archive(108, 9)
    reading.known[9] = unread
    site.catalog.archives.observe([unread], scope=[], at=1)
    assert shown(9)["state"] == "unread" and shown(9)["disks"] == []


def test_doctor_says_how_much_is_held(reading: Reading) -> None:
    reading(1, BEFORE)
    reading(2, BEFORE)
    bad = reading(3, SEALED)
    reading(4, BEFORE)
    known = [reading.now(number) for number in range(1, 5)]
    world = Doctored()
    world.listed = [replace(one, node="a", storage="nas") for one in known]
    world.knowledge = Knowledge(looks={("a", "nas"): known[0].ctime - 1})
    assert [line.status for line in health.examine(world) if line.name == "retention"] == ["ok"]
    world.catalog.archive_signs.suspicious = lambda: [bad]
    [_, line] = [line for line in health.examine(world) if line.name == "retention"]
    assert f"{bad.volid} is suspicious, and holds 3 archives of 3.0 kB" in line.detail
    assert f"archive acknowledge {bad.volid}" in line.action


@pytest.mark.slow
def test_a_reading_of_the_bytes_records_them_and_a_false_alarm_fails_nothing(
    site: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two archives, the second of which is encrypted: the reading of both is done, and good."""
    dice = random.Random(1)
    disks = [pattern(700 * CLUSTER, holes=False), dice.randbytes(700 * CLUSTER)]
    content = Disk()
    monkeypatch.setattr("backupsvc.remote.nodes.open_archive", content.open)
    site.policy = Policy("s", "UTC", "en", (), {}, {}, Scratch(9000, 9009), "standard")
    site.pve = Cluster()
    site.pve.storage.volume_path = lambda node, volid: f"/dump/{volid.rpartition('/')[2]}"
    site.engine = build_engine(site)
    for number, data in enumerate(disks, 1):
        content.content = zst(Vma({"drive-scsi0": data}).bytes())
        one = replace(archive(108, number), size=len(content.content))
        site.catalog.archives.observe([one], scope=[], at=1)
        opened = open_recheck(site, one)
        assert opened
        assert site.engine.drive_one(opened).state == "done"
    first, second = sorted(site.catalog.archives.find(), key=lambda one: one.ctime)
    assert not first.suspicious and second.suspicious
