"""Law 10: a kept set is gone by only if the machine under the VMID there is the one asked for."""

from __future__ import annotations

import pytest

from policies.cluster_config import ConfigSet
from policies.surroundings import whose
from policies.surroundings.sections import pairs, sections

UUID, OTHER = "11111111-2222-3333-4444-555555555555", "99999999-2222-3333-4444-555555555555"
MINE = f"smbios1: uuid={UUID}\nnet0: virtio=AA:BB:CC:00:00:01,bridge=vmbr0\n"
THEIRS = f"smbios1: uuid={OTHER}\nnet0: virtio=AA:BB:CC:00:00:02,bridge=vmbr0\n"


def kept(text: str | None, kind: str = "qemu", vmid: int = 108) -> ConfigSet:
    files = {"guests.cfg": f"{kind}: {vmid}\n\tnode n1\n"}
    return ConfigSet(files | ({f"guests/{kind}-{vmid}.conf": text} if text is not None else {}))


def test_law_10_a_set_with_another_machine_under_the_vmid_is_not_gone_by() -> None:
    assert whose.in_set(kept(MINE), 108, MINE) is None
    assert whose.in_set(kept(MINE), 108, None) is None
    assert whose.in_set(kept(None), 108, MINE) is None, "its configuration was not read"
    said = whose.in_set(kept(THEIRS), 108, MINE)
    assert said and said.startswith("under 108 was another machine") and OTHER in said


def test_law_10_where_only_macs_tell_and_none_is_in_both_nothing_is_taken_for_its_own() -> None:
    nics = [f"net0: name=eth0,hwaddr=AA:BB:CC:00:00:0{n},bridge=b\n" for n in (1, 2)]
    said = whose.in_set(kept(nics[0], "lxc"), 108, nics[1])
    assert said and "no MAC address is in both" in said
    assert whose.in_set(kept(nics[0], "lxc"), 108, nics[0]) is None


def test_a_set_that_does_not_have_it_or_was_not_read_is_told_apart() -> None:
    assert whose.in_set(ConfigSet(), 108, None) == ""
    for said in ({"guests.cfg": "no"}, {}):
        config = ConfigSet({}, said, {} if said else {"guests.cfg": "a part"})
        assert whose.in_set(config, 108, None) == "which guests there were was not read in full"


def test_law_10_what_is_under_the_vmid_now_may_be_another_machine() -> None:
    assert whose.another_now(kept(MINE), 108, kept(MINE), 108) is None
    assert whose.another_now(kept(MINE), 108, kept(MINE, vmid=208), 208) is None
    assert whose.another_now(kept(MINE), 108, ConfigSet(), 108) is None
    assert whose.another_now(ConfigSet(), 108, kept(MINE), 108) is None
    assert whose.another_now(kept(MINE), 108, kept(None), 108) is None
    said = whose.another_now(kept(MINE), 108, kept(THEIRS), 108)
    assert said and said.startswith("under 108 is another machine now") and OTHER in said
    kind = whose.another_now(kept(MINE), 108, kept("", "lxc"), 108)
    assert kind and "of kind qemu and is of kind lxc" in kind


@pytest.mark.parametrize("text", ["", "\tkey value\n", "\n\n"])
def test_a_text_without_a_row_has_none(text: str) -> None:
    assert sections(text) == ()


def test_a_text_is_read_back_as_it_was_written() -> None:
    (row,) = sections("a: b: c\n\tcomment one\n\tcomment\n\tcomment two\n\tflag\n")
    assert (row.word, row.name) == ("a", "b: c")
    assert row.get("comment") == "one\n\ntwo" and row.get("flag") == row.get("none") == ""
    assert pairs("#x: y\nname: a: b\nempty:\nnoise\n") == {"name": "a: b", "empty": ""}


def test_law_10_what_is_changed_is_the_same_machine_and_no_other() -> None:
    def who(then: ConfigSet, now: ConfigSet, now_vmid: int = 108) -> tuple[whose.Who, str]:
        return whose.is_there(then, 108, now, now_vmid)

    assert who(kept(MINE), kept(MINE)) == (whose.Who.SAME, "")
    assert who(kept(MINE), kept(MINE, vmid=208), 208) == (whose.Who.SAME, "")
    assert who(kept(MINE), kept(THEIRS))[0] is whose.Who.ANOTHER
    assert who(kept(MINE), kept(MINE, "lxc"))[0] is whose.Who.ANOTHER
    assert who(kept(MINE), ConfigSet()) == (whose.Who.GONE, "there is no guest 108")
    assert who(kept(MINE), ConfigSet({}, {"guests.cfg": "no"}))[0] is whose.Who.UNKNOWN
    # nobody says which machine it is
    for then, now in ((None, MINE), (MINE, None), ("name: x\n", "name: x\n"), (MINE, "name: x\n")):
        found, why = who(kept(then), kept(now))
        assert found is whose.Who.UNTOLD and why.startswith("nothing tells whether guest 108")
    unread = ConfigSet(kept(None).files, {"guests/qemu-108.conf": "its node is offline"})
    found, why = who(kept(MINE), unread)
    assert found is whose.Who.UNKNOWN and "its node is offline" in why
