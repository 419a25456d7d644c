"""What a guest had around it and is missing now is told with what puts it back, and only that; what
was not read is not known; what would do something else is left to hands.
"""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.config_secrets import LEFT_OUT
from policies.surroundings import Action, Call, Kind, find
from policies.surroundings.model import command
from tests.unit.policies.surroundings.worlds import (
    BACK,
    CONF,
    FULL,
    FW,
    PURGED,
    commands,
    config,
    one,
    to_do,
)

HTTP_403 = "Permission check failed"


def test_all_that_a_deletion_took_is_told_with_its_commands_in_the_order_to_type_them() -> None:
    found = find(config(FULL), config(BACK), 108)
    base = "/nodes/n1/qemu/108/firewall"
    assert commands(found) == [
        "pvesh set /pools --poolid web --vms 108",
        "pveum acl modify /vms/108 --roles PVEVMUser --tokens 'a@pve!b' --propagate 0",
        f"pvesh create {base}/aliases --name Lan --cidr 10.0.0.0/8 --comment 'the LAN'",
        f"pvesh create {base}/ipset --name admins --comment 'who may'",
        f"pvesh create {base}/ipset/admins --cidr 10.1.0.0/16",
        f"pvesh create {base}/ipset/admins --cidr 10.1.2.3 --nomatch 1",
        f"pvesh create {base}/rules --action DROP --enable 1 --type in",
        f"pvesh create {base}/rules --action ACCEPT --dport 22 --enable 1 --proto tcp --type in",
        f"pvesh set {base}/options --enable 1 --policy_in DROP",
        "pvesh create /cluster/replication --id 108-0 --type local --target n2 --rate 10 "
        "--schedule '*/15'",
        "pvesh create /cluster/backup --id alone --vmid 108 --comment one --enabled 0 "
        "--schedule 21:00 --storage local",
        "pvesh set /cluster/backup/both --vmid 105,108",
        "pvesh set /cluster/backup/but --exclude 108",
        "ha-manager add vm:108 --comment 'it'\"'\"'s $(id)' --failback 0 --max_relocate 2 "
        "--max_restart 3 --state started",
        "ha-manager rules set resource-affinity apart --resources vm:105,vm:108",
        "ha-manager rules add node-affinity home --resources vm:108 --nodes n1:2,n2 --strict 1",
    ]
    assert all(item.known and item.privileges and not item.by_hand for item in found)
    assert {item.action for item in found} == {Action.COMMAND}


def test_before_it_is_restored_the_same_is_told_and_what_comes_with_the_archive() -> None:
    before, after = (find(config(FULL), config(now), 108) for now in (PURGED, BACK))
    assert commands(before) == commands(after)
    assert "ask again after it" in one(before, "firewall rules").detail
    assert "ask again" not in one(after, "firewall rules").detail
    told = one(before, "start order and tags")
    assert (told.action, told.known) == (Action.NONE, True)
    assert "onboot, startup, tags" in told.detail


def test_of_a_guest_that_has_all_of_it_nothing_is_told() -> None:
    assert find(config(FULL), config(FULL), 108) == ()
    assert find(config(FULL), config(FULL), 108, archive=FULL[CONF]) == ()


def test_of_a_guest_that_the_set_does_not_have_nothing_is_told() -> None:
    assert find(config(FULL), config(FULL), 109) == ()
    assert find(config({}), config(FULL), 108) == ()


LACKS = {
    "ha/resources.cfg": (Kind.HA_RESOURCE, 1),
    "ha/rules.cfg": (Kind.HA_RULE, 2),
    "jobs.cfg": (Kind.BACKUP, 3),
    "replication.cfg": (Kind.REPLICATION, 1),
    "access/acl.cfg": (Kind.ACL, 1),
    "pools/web.cfg": (Kind.POOL, 1),
    FW + "options.cfg": (Kind.OPTIONS, 1),
    FW + "rules.cfg": (Kind.RULES, 1),
    FW + "aliases.cfg": (Kind.ALIASES, 1),
    FW + "ipset.cfg": (Kind.IPSETS, 1),
}


@pytest.mark.parametrize("file", LACKS)
def test_where_one_file_lost_the_guest_that_alone_is_told(file: str) -> None:
    found = to_do(config(FULL), config(FULL, {file: PURGED.get(file)}))
    kind, count = LACKS[file]
    assert [item.kind for item in found] == [kind] * count


@pytest.mark.parametrize("file", [file for file in LACKS if not file.startswith((FW, "pools/"))])
def test_what_was_not_read_then_or_now_is_not_known_and_is_not_nothing(file: str) -> None:
    kind = LACKS[file][0]
    then = config(FULL, {file: None}, not_read={file: HTTP_403})
    (found,) = find(then, config(FULL), 108)
    assert (found.kind, found.action, found.known) == (kind, Action.NONE, False)
    assert HTTP_403 in found.detail and found.calls == ()
    now = config(FULL, {file: None}, not_read={file: HTTP_403})
    told = find(config(FULL), now, 108)
    assert {item.kind for item in told} >= {kind}
    assert {(item.action, item.known) for item in told} == {(Action.NONE, False)}
    assert all(HTTP_403 in item.detail for item in told)


@pytest.mark.parametrize("file", ["replication.cfg", "access/acl.cfg", "pools.cfg"])
def test_a_list_that_may_lack_rows_tells_what_it_has_and_nothing_of_what_it_lacks(
    file: str,
) -> None:
    part = {file: "rows may be left out"}
    pools = {"pools/web.cfg": PURGED["pools/web.cfg"]} if file == "pools.cfg" else {file: None}
    assert find(config(FULL, in_part=part), config(FULL, in_part=part), 108) == ()
    (missing,) = find(config(FULL), config(FULL, pools, in_part=part), 108)
    assert not missing.known and missing.calls == ()
    (untold,) = find(config(FULL, pools, in_part=part), config(FULL), 108)
    assert not untold.known and "rows may be left out" in untold.detail


def test_pools_whose_members_were_not_told_are_not_empty() -> None:
    hidden = {"pools/web.cfg": HTTP_403}
    lacks = config(FULL, {"pools/web.cfg": None}, not_read=hidden)
    for then, now in ((lacks, config(FULL)), (config(FULL), lacks)):
        (told,) = find(then, now, 108)
        assert told.kind is Kind.POOL and not told.known and HTTP_403 in told.detail


def test_under_another_vmid_all_of_it_is_told_for_that_one() -> None:
    now = config(FULL, {"guests.cfg": FULL["guests.cfg"] + "\nqemu: 208\n\tnode n3\n"})
    found = commands(find(config(FULL), now, 108, as_vmid=208))
    assert "pvesh set /pools --poolid web --vms 208" in found
    assert "pvesh set /cluster/backup/alone --vmid 108,208" in found
    assert "ha-manager rules set node-affinity home --resources vm:108,vm:208" in found
    assert any("--id 208-0 --type local --target n2" in line for line in found)
    assert any(line.startswith("pvesh set /nodes/n3/qemu/208/firewall/options") for line in found)
    assert any(line.startswith("pveum acl modify /vms/208 ") for line in found)


def test_a_container_is_put_back_as_one() -> None:
    names = {"qemu: 108": "lxc: 108", "qemu-108": "lxc-108", "qemu/108": "lxc/108"}
    names |= {"vm: vm:108": "ct: ct:108", "vm:108": "ct:108"}

    def turned(text: str) -> str:
        for old, new in names.items():
            text = text.replace(old, new)
        return text

    then = {turned(path): turned(text) for path, text in FULL.items()}
    found = commands(find(config(then), config(PURGED), 108))
    assert "pvesh set /nodes/n1/lxc/108/firewall/options --enable 1 --policy_in DROP" in found
    assert any(line.startswith("ha-manager add ct:108 ") for line in found)
    assert "ha-manager rules set resource-affinity apart --resources vm:105,ct:108" in found
    assert len(found) == 16


@given(st.text(max_size=40).filter(str.isprintable))
def test_a_comment_is_handed_over_as_it_is_or_not_at_all(text: str) -> None:
    kept = f"vm: vm:108\n\tcomment {text}\n\tstate stopped\n"
    found = one(
        find(config(FULL, {"ha/resources.cfg": kept}), config(PURGED), 108), "HA resource vm:108"
    )
    words = shlex.split(found.commands[0])
    if found.by_hand:
        assert words == ["ha-manager", "add", "vm:108", "--state", "stopped"]
        assert "to be set by hand: comment" in found.detail
    elif text.startswith("-"):
        assert words == ["ha-manager", "add", "vm:108", f"--comment={text}", "--state", "stopped"]
    else:
        comment = ["--comment", text] if text else []
        assert words == ["ha-manager", "add", "vm:108", *comment, "--state", "stopped"]


@given(st.text(), st.text(), st.text())
def test_whatever_stands_in_a_kept_file_every_command_is_one_harmless_line(
    name: str, text: str, other: str
) -> None:
    """As a set that came back from a copy target may hold it."""
    files = {
        "ha/resources.cfg": f"vm: vm:108\n\tcomment {text}\n\tgroup {other}\n",
        "ha/rules.cfg": f"node-affinity: {name}\n\tresources vm:108\n\tnodes {text}\n",
        "jobs.cfg": f"vzdump: {name}\n\tvmid 108\n\tschedule {text}\n\tstorage {other}\n",
        "replication.cfg": f"local: 108-{name}\n\ttarget {text}\n\tschedule {other}\n",
        "access/acl.cfg": f"acl: /vms/108 user {name} {text}\n\tpropagate {other}\n",
        "pools/x.cfg": f"pool: {name}\n\tmember qemu/108\n",
        "pools.cfg": f"pool: {name}\n",
        FW + "options.cfg": f"enable: {text}\n",
        FW + "rules.cfg": f"rule: 0\n\taction {text}\n\tcomment {other}\n\ttype in\n",
        FW + "aliases.cfg": f"alias: {name}\n\tcidr {text}\n",
        FW + "ipset.cfg": f"ipset: {name}\n\tcomment {text}\n",
        FW + f"ipset/{name}.cfg": f"address: {text}\n\tcomment {other}\n",
    }
    pools = {"pools.cfg": f"pool: {name}\n"}
    for item in find(config(FULL, files), config(PURGED, pools), 108):
        assert len(item.commands) == len(item.calls)
        for call, line in zip(item.calls, item.commands, strict=True):
            words = shlex.split(line)
            assert line.isprintable() and LEFT_OUT not in line
            assert words[0] in ("pvesh", "pveum", "ha-manager")
            values = [value for _, value in call.params] + call.path.split("/")
            assert {word.partition("=")[2] if "=" in word and word.startswith("--") else word
                    for word in words if not word.startswith("--") or "=" in word} <= {
                        *values, f"/{call.path}", *words[:4]}  # fmt: skip


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("$(id)", "pvesh set /x --comment '$(id)'"),
        ("a'b", "pvesh set /x --comment 'a'\"'\"'b'"),
        ("-rf", "pvesh set /x --comment=-rf"),
        ("--", "pvesh set /x --comment=--"),
        ("`id`;!x", "pvesh set /x --comment '`id`;!x'"),
    ],
)
def test_a_value_is_quoted_for_the_shell_and_is_never_an_option(value: str, line: str) -> None:
    assert command(Call("PUT", "x", (("comment", value),))) == line


@pytest.mark.parametrize(
    "value", [f"a {LEFT_OUT}", "a\n\tcomment b", "a\u202eb", "a\u3164b", "\x1b", "a%1Bb"]
)
def test_a_comment_that_is_not_whole_or_not_one_visible_line_is_set_by_hand(value: str) -> None:
    kept = f"vm: vm:108\n\tcomment {value}\n\tstate stopped\n"
    found = one(
        find(config(FULL, {"ha/resources.cfg": kept}), config(PURGED), 108), "HA resource vm:108"
    )
    assert found.commands == ("ha-manager add vm:108 --state stopped",)
    assert found.by_hand == ("comment",)


def test_start_order_and_tags_are_put_back_where_the_archive_has_others() -> None:
    archive = "onboot: 0\ntags: a,b\n"
    found = one(find(config(FULL), config(PURGED), 108, archive=archive), "start order and tags")
    assert found.commands == ("pvesh set /nodes/n1/qemu/108/config --onboot 1 --startup order=2",)
    back = config(BACK, {CONF: archive})
    assert one(find(config(FULL), back, 108, archive="x: y\n"), found.what) == found
    # of a guest that was brought back as it was nothing is told
    assert not [
        i for i in find(config(FULL), config(BACK), 108, archive=archive) if i.kind is Kind.CONFIG
    ]


def test_start_order_that_cannot_be_told_or_typed_is_said() -> None:
    unread = config(BACK, {CONF: None}, not_read={CONF: HTTP_403})
    told = one(find(config(FULL), unread, 108, archive="x: y\n"), "start order and tags")
    assert not told.known and HTTP_403 in told.detail
    then = config(FULL, {CONF: f"tags: {LEFT_OUT}\n"})
    hand = one(find(then, config(PURGED), 108, archive=""), "start order and tags")
    assert hand.calls == () and "by hand" in hand.detail
    gone = config(FULL, {CONF: None}, not_read={CONF: HTTP_403})
    assert not one(find(gone, config(PURGED), 108), "start order and tags").known
    bare = config(FULL, {CONF: "name: web\n"})
    assert not [i for i in find(bare, config(PURGED), 108) if i.kind is Kind.CONFIG]
