"""What is around a guest passes to the one that takes its place and comes back; the one that is off
keeps all but its place in backup jobs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest

from policies.cluster_config import ConfigSet
from policies.surroundings import Kind, Surrounding, find
from policies.surroundings.model import Call
from policies.surroundings.moving import IGNORED, about, back, forth, managed
from tests.unit.policies.surroundings.worlds import FULL, FW, config, one

OLD, NEW = 108, 208
NEW_CONF = "guests/qemu-208.conf"
THERE = {
    "guests.cfg": FULL["guests.cfg"] + "\nqemu: 208\n\tnode n1\n",
    NEW_CONF: "name: web\nonboot: 0\nsmbios1: uuid=aa\nstartup: order=2\ntags: c\n",
}


def calls(found: tuple[Surrounding, ...]) -> dict[str, list[Mapping[str, str]]]:
    return {item.what: [dict(call.params) for call in item.calls] for item in found if item.calls}


def jobs(text: str) -> ConfigSet:
    return config(FULL, {"jobs.cfg": text})


def test_what_is_remembered_of_a_guest_is_about_it_alone_and_tells_the_same() -> None:
    kept = about(config(FULL), OLD)
    told, mine = (
        calls(forth(then, config(FULL, THERE), OLD, NEW, archive=""))
        for then in (config(FULL), kept)
    )
    assert told.pop("start order and tags") and mine.pop("start order and tags")
    assert mine == told and len(mine) > 10
    text = "".join(kept.files.values())
    assert "vm:105\n\tstate" not in text and "notes" not in text and "onboot" not in text
    assert "root@pam" not in text and kept.files[FW + "rules.cfg"] == FULL[FW + "rules.cfg"]
    assert "corosync-nodes.cfg" not in kept.files
    assert about(kept, OLD) == kept, "once more changes nothing"


def test_of_a_guest_that_is_not_there_nothing_is_remembered_but_what_was_not_read() -> None:
    kept = about(config(FULL, not_read={"jobs.cfg": "no"}), 999)
    assert kept == ConfigSet({}, {"jobs.cfg": "no"})
    container = "lxc: 200\n\tnode n1\n"
    assert about(config({"guests.cfg": container, "ha/resources.cfg": "ct: ct:200\n"}), 200).files == {
        "guests.cfg": container,
        "ha/resources.cfg": "ct: ct:200\n",
    }  # fmt: skip


def test_all_of_it_passes_to_the_new_guest() -> None:
    found = calls(forth(config(FULL), config(FULL, THERE), OLD, NEW, archive=""))
    assert found["start order and tags"] == [{"onboot": "1", "tags": "b;a"}]
    assert found["pool web"] == [{"poolid": "web", "vms": "208"}]
    assert found["replication job 208-0"][0]["id"] == "208-0"
    assert found["HA resource vm:208"][0]["sid"] == "vm:208"
    assert found["HA rule apart"] == [
        {"type": "resource-affinity", "resources": "vm:105,vm:108,vm:208"}
    ]
    assert found["backup job both"] == [{"vmid": "105,208"}], "it is saved, and the old one is not"
    assert found["backup job alone"] == [{"vmid": "208"}]
    assert found["backup job but"] == [{"exclude": "108,208"}], "the old one is left out still"


def test_whether_it_starts_at_boot_goes_with_its_links_and_not_with_its_tags() -> None:
    found = calls(forth(about(config(FULL), OLD), config(FULL, THERE), OLD, NEW, archive=""))
    assert found["start order and tags"] == [{"tags": "b;a"}]


def test_law_3_a_backup_job_never_saves_both_and_never_loses_another_guest() -> None:
    """Dumps of a guest that is off would rotate its good ones out."""
    for listed in ("108", "105,108", "108;105", "105 108 110", "108,108,110", "105,108,208"):
        now = jobs(f"vzdump: x\n\tschedule 1:00\n\tvmid {listed}\n")
        there = ConfigSet({**now.files, **THERE})
        (item,) = (one for one in forth(now, there, OLD, NEW) if one.kind is Kind.BACKUP)
        saved = dict(item.calls[0].params)["vmid"].split(",")
        others = set(re.split("[,; ]", listed)) - {"108", "208"}
        assert set(saved) == others | {"208"} and "108" not in saved
        text = f"vzdump: x\n\tschedule 1:00\n\tvmid {','.join(saved)}\n"
        (again,) = back(now, ConfigSet({**there.files, "jobs.cfg": text}), OLD, NEW)
        assert set(dict(again.calls[0].params)["vmid"].split(",")) == others | {"108"}
        by_hand = jobs(f"vzdump: x\n\tschedule 1:00\n\tvmid {','.join(saved)},108\n")
        (again,) = back(now, ConfigSet({**there.files, **by_hand.files}), OLD, NEW)
        assert set(dict(again.calls[0].params)["vmid"].split(",")) == others | {"108"}, "was added"


def test_a_job_that_names_both_and_cannot_be_written_is_left_to_a_person() -> None:
    now = jobs("vzdump: a b\n\tschedule 1:00\n\tvmid 105,108,208\n")
    (item,) = (
        one
        for one in forth(now, ConfigSet({**now.files, **THERE}), OLD, NEW)
        if one.kind is Kind.BACKUP
    )
    assert item.for_hands and not item.calls and "take 108 out by hand" in item.detail


def test_a_job_of_one_node_keeps_the_old_guest_where_the_new_one_lies_on_another() -> None:
    """Else neither would be saved."""
    now = jobs("vzdump: x\n\tnode n1\n\tschedule 1:00\n\tvmid 105,108\n")
    elsewhere = {**THERE, "guests.cfg": FULL["guests.cfg"] + "\nqemu: 208\n\tnode n2\n"}
    for there, node in ((elsewhere, None), ({}, "n2"), ({}, None)):
        found = forth(now, ConfigSet({**now.files, **there}), OLD, NEW, node=node)
        (item,) = (one for one in found if one.kind is Kind.BACKUP)
        assert item.for_hands and not item.calls and "on n1 alone" in item.detail
    (item,) = (
        one
        for one in forth(now, ConfigSet({**now.files, **THERE}), OLD, NEW)
        if one.kind is Kind.BACKUP
    )
    assert dict(item.calls[0].params) == {"vmid": "105,208"}, "on the same node it is moved"
    gone = ConfigSet({**now.files, **elsewhere, "jobs.cfg": ""})
    lonely = jobs("vzdump: x\n\tnode n1\n\tschedule 1:00\n\tvmid 108\n")
    (item,) = (one for one in forth(lonely, gone, OLD, NEW) if one.kind is Kind.BACKUP)
    assert item.for_hands and not item.calls


def test_a_guest_that_ha_leaves_alone_is_not_replaced_by_one_that_seems_to_be_managed() -> None:
    ignored = re.sub("state started", f"state {IGNORED}", FULL["ha/resources.cfg"])
    then = config(FULL, {"ha/resources.cfg": ignored})
    found = forth(then, ConfigSet({**then.files, **THERE}), OLD, NEW, archive="")
    (item,) = (one for one in found if one.kind is Kind.HA_RESOURCE and one.name == "vm:208")
    assert item.for_hands and not item.calls
    assert "`ha-manager add vm:208 --state started`" in item.detail


def test_a_group_that_is_left_out_and_fields_that_are_for_hands_are_said_of_the_new_resource() -> (
    None
):
    rows = "vm: vm:108\n\tgroup old\n\tstate started\n\tstrange 1\n"
    then = config(FULL, {"ha/resources.cfg": rows})
    now = ConfigSet({**then.files, **THERE, "ha/groups.cfg": ""})
    (item,) = (one for one in forth(then, now, OLD, NEW) if one.kind is Kind.HA_RESOURCE)
    assert "its group old is left out" in item.detail
    assert "to be set by hand: strange" in item.detail


@pytest.mark.parametrize(
    ("job", "said"),
    [
        ("all 1", "it saves all guests, 108 too"),
        ("pool web", "it saves those of pool web, 108 too"),
        ("pool other", ""),
        ("all 1\n\tenabled 0", ""),
        ("all 1\n\texclude 105,108", ""),
        ("vmid 105", ""),
    ],
)
def test_law_3_a_job_that_saves_the_old_guest_without_naming_it_is_told(
    job: str, said: str
) -> None:
    now = config(FULL, THERE | {"jobs.cfg": f"vzdump: wide\n\tschedule 1:00\n\t{job}\n"})
    found = forth(about(config(FULL), OLD), now, OLD, NEW)
    told = [item for item in found if item.name == "wide" and item.for_hands]
    assert [item.detail.startswith(said) for item in told] == ([True] if said else [])
    assert not forth(ConfigSet(), now, OLD, NEW), "of a guest that was not there"


def test_on_the_way_back_only_what_it_lost_is_given_back() -> None:
    swapped = FULL["jobs.cfg"].replace("105;108", "105,208").replace("vmid 108", "vmid 208")
    now = config(FULL, THERE | {"jobs.cfg": swapped})
    found = back(about(config(FULL), OLD), now, OLD, NEW)
    assert calls(found) == {
        "backup job both": [{"vmid": "105,108"}],
        "backup job alone": [{"vmid": "108"}],
    }
    assert {item.detail for item in found} == {"it saves 108, and 208 no longer"}
    assert not calls(back(config(FULL), config(FULL, THERE), OLD, NEW)), "nothing was moved"


def test_it_is_said_of_each_what_becomes_of_both_guests() -> None:
    found = forth(config(FULL), config(FULL, THERE), OLD, NEW, archive="")
    assert one(found, "pool web").detail == "guest 208 joins it, and 108 stays in it"
    assert "once that one serves" in one(found, "HA resource vm:208").detail
    assert one(found, "backup job but").detail == "it leaves 208 out, as it does 108"
    rights = one(found, "rights /vms/208 token a@pve!b PVEVMUser")
    assert "had the role PVEVMUser" in rights.detail
    odd = FULL["ha/resources.cfg"].replace("it's $(id)", "two\n\tcomment lines")
    said = one(forth(config(FULL, {"ha/resources.cfg": odd}), config(FULL, THERE), OLD, NEW),
               "HA resource vm:208")  # fmt: skip
    assert said.by_hand == ("comment",) and said.detail.endswith("to be set by hand: comment")


def test_what_is_not_known_stays_unknown_and_nothing_is_called_for_it() -> None:
    found = forth(config(FULL), config(FULL, THERE, not_read={"jobs.cfg": "no right"}), OLD, NEW)
    same = find(
        config(FULL), config(FULL, THERE, not_read={"jobs.cfg": "no right"}), OLD, as_vmid=NEW
    )
    assert [item for item in found if not item.calls] == [item for item in same if not item.calls]


@pytest.mark.parametrize(
    ("state", "found"),
    [
        (None, False),
        (IGNORED, False),
        *((word, True) for word in ("started", "stopped", "disabled")),
    ],
)
def test_ha_acts_on_every_resource_that_it_is_not_told_to_ignore(
    state: str | None, found: bool
) -> None:
    assert managed(state) is found


def test_no_call_takes_anything_away_from_another_guest() -> None:
    taken: list[Call] = [
        call
        for item in forth(config(FULL), config(FULL, THERE), OLD, NEW, archive="")
        for call in item.calls
    ]
    assert not [call for call in taken if call.method == "DELETE" or "delete" in dict(call.params)]


def test_what_a_call_leaves_out_of_a_replication_is_said_with_where_it_passes_to() -> None:
    rows = "local: 108-0\n\tguest 108\n\ttarget n3\n\tstrange 1\n"
    then = config(FULL, {"replication.cfg": rows})
    now = ConfigSet({**then.files, **THERE})
    (item,) = (one for one in forth(then, now, OLD, NEW) if one.kind is Kind.REPLICATION)
    assert item.detail == "208 gets one like it, and 108 keeps its own; to be set by hand: strange"
