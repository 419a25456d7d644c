"""The edges of each kind: what somebody changed on purpose is not undone, and a command that would do
something else than what was is not given.
"""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from policies.config_secrets import LEFT_OUT
from policies.surroundings import Action, Kind, Surrounding, find
from tests.unit.policies.surroundings.worlds import BACK, FULL, FW, PURGED, commands, config, one

RES, RULES, JOBS, REPL = "ha/resources.cfg", "ha/rules.cfg", "jobs.cfg", "replication.cfg"
HTTP_403 = "Permission check failed"
Files = Mapping[str, str | None]


def told(kind: Kind, then: Files, now: Files, **more: object) -> list[Surrounding]:
    """What is said of one kind, where these files are other than in the full and the purged one."""
    found = find(config(FULL, then), config(BACK, now), 108, **more)  # type: ignore[arg-type]
    return [item for item in found if item.kind is kind]


# --- HA -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["\tstate started\n", "\tstate enabled\n", ""])
def test_that_ha_will_start_it_is_said_before_all_else(state: str) -> None:
    lost = config(PURGED, {RES: f"vm: vm:108\n{state}"})
    first, *rest = find(config(FULL), lost, 108)
    assert first.what == "HA resource vm:108" and first.action is Action.NONE
    assert "HA will start the guest as soon as it is restored" in first.detail
    assert "ha-manager set vm:108 --state stopped" in first.detail
    assert not [item for item in rest if item.kind is Kind.HA_RESOURCE]


@pytest.mark.parametrize("state", ["stopped", "ignored", "disabled"])
def test_where_ha_is_not_to_start_it_no_warning_is_given(state: str) -> None:
    lost = config(PURGED, {RES: f"vm: vm:108\n\tstate {state}\n"})
    assert not [i for i in find(config(FULL), lost, 108) if i.kind is Kind.HA_RESOURCE]
    assert not told(Kind.HA_RESOURCE, {}, {RES: FULL[RES]})


def test_a_group_is_named_only_where_there_is_one() -> None:
    in_group = {RES: "vm: vm:108\n\tgroup prefer\n\tstate stopped\n"}
    (rules,) = told(Kind.HA_RESOURCE, in_group, {})
    assert "groups have become rules" in rules.detail and "--group" not in rules.commands[0]
    no_rules = {"ha/rules.cfg": "this Proxmox VE has no such call"}
    eight = config(BACK, {RULES: None}, not_read=no_rules)
    gone = one(find(config(FULL, in_group), eight, 108), "HA resource vm:108")
    assert "no such group any more" in gone.detail and "--group" not in gone.commands[0]
    groups = config(eight.files, {"ha/groups.cfg": "group: prefer\n\tnodes n1\n"}, no_rules)
    whole = one(find(config(FULL, in_group), groups, 108), "HA resource vm:108")
    assert whole.commands == ("ha-manager add vm:108 --group prefer --state stopped",)
    unread = config(eight.files, {}, no_rules | {"ha/groups.cfg": HTTP_403})
    same = one(find(config(FULL, in_group), unread, 108), "HA resource vm:108")
    assert same.commands == whole.commands
    assert (
        "--group" not in told(Kind.HA_RESOURCE, {RES: "vm: vm:108\n\tgroup\n"}, {})[0].commands[0]
    )


def test_a_resource_whose_state_was_not_kept_is_not_started_by_a_default() -> None:
    (found,) = told(Kind.HA_RESOURCE, {RES: f"vm: vm:108\n\tstate {LEFT_OUT}\n"}, {})
    assert found.calls == () and "by hand" in found.detail and "state" in found.detail


def test_a_rule_that_became_another_kind_is_left_alone() -> None:
    now = {RULES: "node-affinity: apart\n\tnodes n1\n\tresources vm:105\n"}
    apart = one(told(Kind.HA_RULE, {}, now), "HA rule apart")
    assert apart.calls == () and "is a node-affinity rule now" in apart.detail


def test_a_rule_that_a_deletion_does_not_take_was_deleted_by_somebody() -> None:
    apart = one(told(Kind.HA_RULE, {}, {RULES: ""}), "HA rule apart")
    assert apart.calls == () and "named vm:105 too: somebody deleted it" in apart.detail
    unread = config(BACK, {RULES: "", RES: None}, not_read={RES: HTTP_403})
    unknown = one(find(config(FULL), unread, 108), "HA rule apart")
    assert not unknown.known and HTTP_403 in unknown.detail
    assert one(find(config(FULL), unread, 108), "HA rule home").commands
    both_lost = one(told(Kind.HA_RULE, {}, {RULES: "", RES: ""}), "HA rule apart")
    assert both_lost.calls == () and "create it by hand" in both_lost.detail


@pytest.mark.parametrize("name", ["../x", "a b", "-x", "%2Fx"])
def test_what_has_a_name_that_no_path_can_hold_is_for_hands(name: str) -> None:
    was = f"node-affinity: {name}\n\tnodes n1\n\tresources vm:108\n"
    without = f"node-affinity: {name}\n\tnodes n1\n\tresources vm:105\n"
    for now in ("", without):
        (rule,) = told(Kind.HA_RULE, {RULES: was}, {RULES: now})
        assert rule.calls == () and "by hand" in rule.detail
    job = f"vzdump: {name}\n\tschedule 1:00\n\tvmid "
    for now in ("", f"{job}105\n"):
        (backup,) = told(Kind.BACKUP, {JOBS: f"{job}108\n"}, {JOBS: now})
        assert backup.calls == () and "by hand" in backup.detail


def test_resources_that_cannot_be_told_are_added_to_by_hand() -> None:
    now = {RULES: f"resource-affinity: apart\n\tresources vm:105{LEFT_OUT}\n"}
    apart = one(told(Kind.HA_RULE, {}, now), "HA rule apart")
    assert apart.calls == () and "add vm:108 to its resources by hand" in apart.detail


# --- backup jobs ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("was", "now", "said"),
    [
        ("vmid 108", "vmid 7;108", None),
        ("vmid 108", "all 1", None),
        ("vmid 108", "all 1\n\texclude 108", "all guests but those excluded"),
        ("vmid 108", "pool web", "those of pool web"),
        ("exclude 108", "vmid 105", None),
        ("exclude 108", "exclude 5,108", None),
    ],
)
def test_a_job_whose_choice_somebody_changed_is_left_as_it_is(
    was: str, now: str, said: str | None
) -> None:
    found = told(Kind.BACKUP, {JOBS: f"vzdump: j\n\t{was}\n"}, {JOBS: f"vzdump: j\n\t{now}\n"})
    assert [item.calls for item in found] == ([] if said is None else [()])
    assert said is None or said in found[0].detail


def test_a_job_that_excluded_it_and_is_gone_is_nothing_that_it_lacks() -> None:
    assert told(Kind.BACKUP, {JOBS: "vzdump: j\n\texclude 108\n"}, {JOBS: ""}) == []


def test_a_job_that_a_deletion_does_not_take_was_deleted_by_somebody() -> None:
    both = {JOBS: "vzdump: both\n\tschedule 22:00\n\tvmid 105,108\n"}
    (found,) = told(Kind.BACKUP, both, {JOBS: ""})
    assert found.calls == () and "it named 105 too: somebody deleted it" in found.detail
    # all of its guests were deleted
    (alone,) = told(Kind.BACKUP, both, {JOBS: "", "guests.cfg": "qemu: 108\n\tnode n1\n"})
    assert alone.commands == ("pvesh create /cluster/backup --id both --vmid 108 --schedule 22:00",)
    part = config(
        BACK, {JOBS: "", "guests.cfg": "qemu: 108\n\tnode n1\n"}, in_part={"guests.cfg": "x"}
    )
    (unknown,) = (i for i in find(config(FULL, both), part, 108) if i.kind is Kind.BACKUP)
    assert not unknown.known and unknown.calls == ()


@pytest.mark.parametrize("field", ["schedule", "enabled", "storage", "prune-backups", "node"])
def test_a_job_that_would_do_something_else_without_a_field_is_created_by_hand(field: str) -> None:
    kept = {"schedule": "21:00", field: LEFT_OUT}
    text = "vzdump: j\n\tvmid 108\n" + "".join(f"\t{key} {kept[key]}\n" for key in sorted(kept))
    (found,) = told(Kind.BACKUP, {JOBS: text}, {})
    assert found.calls == () and field in found.detail


def test_what_a_command_leaves_out_of_a_job_is_named() -> None:
    text = f"vzdump: j\n\tcomment x {LEFT_OUT}\n\tnew-thing 1\n\tschedule 21:00\n\tscript /x\n\tvmid 108\n"
    (found,) = told(Kind.BACKUP, {JOBS: text}, {})
    assert found.commands == ("pvesh create /cluster/backup --id j --vmid 108 --schedule 21:00",)
    assert found.by_hand == ("comment", "new-thing", "script")
    (bare,) = told(Kind.BACKUP, {JOBS: "vzdump: j\n\tvmid 108\n"}, {})
    assert bare.calls == () and "create it by hand" in bare.detail


def test_a_list_that_cannot_be_told_is_added_to_by_hand() -> None:
    (found,) = told(Kind.BACKUP, {JOBS: "vzdump: j\n\tvmid 108\n"}, {JOBS: f"vzdump: j\n\tvmid {LEFT_OUT}\n"})  # fmt: skip
    assert found.calls == () and "add 108 to its vmid by hand" in found.detail


def test_a_job_of_another_node_than_where_it_lies_is_said_to_pass_it_over() -> None:
    now = {JOBS: "vzdump: j\n\tnode n2\n\tvmid 105\n"}
    (found,) = told(Kind.BACKUP, {JOBS: "vzdump: j\n\tvmid 108\n"}, now)
    assert "saves guests on n2 alone, and this one lies on n1" in found.detail and found.calls
    (same,) = told(Kind.BACKUP, {JOBS: "vzdump: j\n\tvmid 108\n"}, now, node="n2")
    assert "alone, and" not in same.detail


# --- replication ----------------------------------------------------------------------------------


def test_a_target_where_it_lies_now_is_said_and_not_proposed() -> None:
    (found,) = told(Kind.REPLICATION, {}, {}, node="n2")
    assert found.calls == () and "choose another node" in found.detail
    (gone,) = told(Kind.REPLICATION, {}, {"corosync-nodes.cfg": "node: n1\n"})
    assert gone.calls == () and "the cluster has no node" in gone.detail
    (unread,) = told(Kind.REPLICATION, {}, {"corosync-nodes.cfg": None})
    assert unread.calls


def test_a_job_to_the_same_target_and_one_that_was_to_go_are_not_missing() -> None:
    assert told(Kind.REPLICATION, {}, {REPL: "local: 108-7\n\ttarget n2\n"}) == []
    assert (
        told(Kind.REPLICATION, {REPL: "local: 108-0\n\tremove_job full\n\ttarget n2\n"}, {}) == []
    )


def test_where_its_number_is_taken_the_first_free_one_is_named() -> None:
    two = "local: 108-0\n\ttarget n2\n\nlocal: 108-1\n\ttarget n4\n"
    nodes: dict[str, str | None] = {"corosync-nodes.cfg": None}
    found = told(Kind.REPLICATION, {REPL: two}, nodes | {REPL: "local: 108-0\n\ttarget n3\n"})
    assert [item.name for item in found] == ["108-1", "108-2"]


@pytest.mark.parametrize(
    "row",
    [
        "local: 108-0\n\ttarget a b",
        "pbs: 108-0\n\ttarget n2",
        "local: 108-\x7f\n\ttarget n2",
    ],
)
def test_a_replication_job_of_another_form_is_created_by_hand(row: str) -> None:
    (found,) = told(Kind.REPLICATION, {REPL: f"{row}\n"}, {"corosync-nodes.cfg": None})
    assert found.calls == () and "by hand" in found.detail


def test_a_replication_job_that_was_maybe_disabled_is_created_by_hand() -> None:
    (found,) = told(
        Kind.REPLICATION, {REPL: f"local: 108-0\n\tdisable {LEFT_OUT}\n\ttarget n2\n"}, {}
    )
    assert found.calls == () and "disable" in found.detail


# --- pool and rights ------------------------------------------------------------------------------


def test_another_pool_and_one_that_is_gone_are_said() -> None:
    (moved,) = told(Kind.POOL, {}, {"pools/db.cfg": "pool: db\n\tmember qemu/108\n"})
    assert moved.calls == () and "is in db now" in moved.detail
    (gone,) = told(Kind.POOL, {}, {"pools.cfg": None, "pools/web.cfg": None})
    assert gone.calls == () and "no such pool any more" in gone.detail
    odd = {"pools.cfg": "pool: w\u202eb\n", "pools/web.cfg": "pool: w\u202eb\n\tmember qemu/108\n"}
    (hand,) = told(Kind.POOL, odd, {"pools.cfg": odd["pools.cfg"]})
    assert hand.calls == () and "by hand" in hand.detail


def test_a_pool_within_another_is_named_whole() -> None:
    (found,) = told(Kind.POOL, {"pools/web.cfg": "pool: a/b\n\tmember qemu/108\n"}, {"pools.cfg": "pool: a/b\n"})  # fmt: skip
    assert found.commands == ("pvesh set /pools --poolid a/b --vms 108",)


@pytest.mark.parametrize(
    "row", ["/vms/108 user a", "/vms/108 robot a r", "/vms/108 user a\u202e r"]
)
def test_rights_of_another_form_are_given_back_by_hand(row: str) -> None:
    (found,) = told(Kind.ACL, {"access/acl.cfg": f"acl: {row}\n\tpropagate 1\n"}, {})
    assert found.calls == () and "by hand" in found.detail


def test_rights_are_never_wider_than_they_were() -> None:
    rows = "acl: /vms/108 group g r\n\nacl: /vms/1080 user a r\n\tpropagate 1\n"
    (found,) = told(Kind.ACL, {"access/acl.cfg": rows}, {})
    assert found.calls == () and "propagate" in found.detail


# --- firewall -------------------------------------------------------------------------------------


def firewall(then: Files, now: Files) -> list[Surrounding]:
    found = find(
        config(FULL, {FW + name: text for name, text in then.items()}),
        config(BACK, {FW + name: text for name, text in now.items()}),
        108,
    )
    return [item for item in found if item.kind.startswith("firewall")]


def test_a_firewall_of_which_the_archive_brought_a_part_gets_only_the_rest() -> None:
    found = firewall(
        {},
        {
            "options.cfg": "enable: 0\n",
            "aliases.cfg": "alias: lan\n\tcidr 10.0.0.0/8\n",
            "ipset.cfg": "ipset: admins\n",
            "ipset/admins.cfg": "address: 10.1.0.0/16\n",
            "rules.cfg": "rule: 0\n\taction DROP\n\tenable 1\n\ttype in\n",
        },
    )
    assert [line.split("firewall")[1] for line in commands(tuple(found))] == [
        "/ipset/admins --cidr 10.1.2.3 --nomatch 1",
        "/rules --action ACCEPT --dport 22 --enable 1 --proto tcp --type in",
        "/options --policy_in DROP",
    ]


@pytest.mark.parametrize(
    "now",
    [
        "rule: 0\n\taction ACCEPT\n\tdport 22\n\tenable 1\n\tproto tcp\n\ttype in\n",
        "rule: 0\n\taction REJECT\n\ttype out\n",
    ],
)
def test_rules_that_are_missing_behind_or_among_others_are_put_back_by_hand(now: str) -> None:
    (found,) = (item for item in firewall({}, {"rules.cfg": now}) if item.kind is Kind.RULES)
    assert found.calls == () and "their order counts" in found.detail


def test_more_rules_than_there_were_and_all_of_those_is_nothing_missing() -> None:
    more = FULL[FW + "rules.cfg"] + "\nrule: 2\n\taction REJECT\n\ttype out\n"
    assert not [item for item in firewall({}, {"rules.cfg": more}) if item.kind is Kind.RULES]


@pytest.mark.parametrize("line", [f"source {LEFT_OUT}", "new-condition x", "dport 2\u202e2"])
def test_a_rule_without_one_of_its_conditions_would_let_more_pass_and_is_not_proposed(
    line: str,
) -> None:
    rules = f"rule: 0\n\taction ACCEPT\n\ttype in\n\t{line}\n"
    (found,) = (item for item in firewall({"rules.cfg": rules}, {}) if item.kind is Kind.RULES)
    assert found.calls == () and line.split(" ")[0] in found.detail


def test_a_rule_without_its_comment_is_the_same_rule() -> None:
    rules = f"rule: 0\n\taction ACCEPT\n\tcomment {LEFT_OUT}\n\ttype in\n"
    (found,) = (item for item in firewall({"rules.cfg": rules}, {}) if item.kind is Kind.RULES)
    assert found.by_hand == ("comment",) and len(found.calls) == 1


def test_names_that_no_path_can_hold_are_put_back_by_hand() -> None:
    found = firewall(
        {"aliases.cfg": "alias: a/b\n\tcidr x\n", "ipset.cfg": "ipset: a/b\n", "ipset/admins.cfg": None}, {}
    )  # fmt: skip
    assert [item.calls for item in found if item.kind in (Kind.ALIASES, Kind.IPSETS)] == [(), ()]


def test_an_option_that_was_left_out_is_set_by_hand_and_keeps_no_other_from_being_set() -> None:
    options = {"options.cfg": f"enable: 1\nnew: {LEFT_OUT}\n"}
    (some,) = (item for item in firewall(options, {}) if item.kind is Kind.OPTIONS)
    assert some.by_hand == ("new",) and some.commands[0].endswith("options --enable 1")
    alone = {"options.cfg": f"new: {LEFT_OUT}\n"}
    (hand,) = (item for item in firewall(alone, {}) if item.kind is Kind.OPTIONS)
    assert hand.calls == () and "by hand: new" in hand.detail


def test_a_firewall_that_was_not_read_is_not_known() -> None:
    no = {FW: "this Proxmox VE has no such call"}
    bare = {path: text for path, text in FULL.items() if not path.startswith(FW)}
    (then,) = find(config(bare, not_read=no), config(FULL), 108)
    assert then.kind is Kind.FIREWALL and not then.known and "no such call" in then.detail
    (now,) = find(config(FULL), config(bare, not_read=no), 108)
    assert now.kind is Kind.FIREWALL and not now.known and now.calls == ()
    (whole,) = find(config(FULL), config(bare, not_read={"guests/": "no"}), 108)
    assert not whole.known
    one_file = {FW + "rules.cfg": "broken"}
    (part,) = find(config(FULL), config(FULL, {FW + "rules.cfg": None}, one_file), 108)
    assert not part.known and "broken" in part.detail


def test_whether_the_guest_is_there_must_be_known_before_its_firewall_is_said_to_be_gone() -> None:
    now = config({**PURGED, "guests.cfg": ""}, in_part={"guests.cfg": "rows may be left out"})
    (found,) = (i for i in find(config(FULL), now, 108) if i.kind is Kind.FIREWALL)
    assert not found.known and "whether the guest is there is not known" in found.detail


def test_without_a_node_the_firewall_is_only_said_to_be_missing() -> None:
    nowhere = {"guests.cfg": "qemu: 108\n"}
    other = nowhere | {"guests/qemu-108.conf": "name: web\n"}
    found = find(config(FULL, nowhere), config(BACK, other), 108, archive="x: y\n")
    (said,) = (item for item in found if item.kind is Kind.FIREWALL)
    assert said.calls == () and "ask again" in said.detail
    order = one(found, "start order and tags")
    assert order.calls == () and "by hand" in order.detail


@pytest.mark.parametrize(
    "rules", [{}, {"rules.cfg": f"rule: 0\n\taction ACCEPT\n\tsource {LEFT_OUT}\n"}]
)
def test_before_a_firewall_is_switched_on_what_is_to_be_put_back_by_hand_is_said(
    rules: Files,
) -> None:
    (options,) = (item for item in firewall(rules, {}) if item.kind is Kind.OPTIONS)
    assert ("to be put back by hand first" in options.detail) is bool(rules)


@pytest.mark.parametrize("node", ["n1/../../cluster", "..", "n\u202e1", "", "$(id)"])
def test_a_node_that_is_no_name_leads_no_command_elsewhere(node: str) -> None:
    kept = {"guests.cfg": f"qemu: 108\n\tnode {node}\n"}
    for found in (
        find(config(FULL, kept), config(PURGED), 108),
        find(config(FULL), config(PURGED), 108, node=node or "a b"),
    ):
        assert not [line for line in commands(found) if " /nodes/" in line]


def test_a_guest_of_a_kind_that_there_is_not_is_not_looked_for() -> None:
    kept = {"guests.cfg": "qemu/../../x: 108\n\tnode n1\n"}
    assert find(config(FULL, kept), config(PURGED), 108) == ()
