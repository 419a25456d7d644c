"""The least rights, computed from the policy: what stands where, and what a policy adds or
moves.
"""

from __future__ import annotations

import pytest

from policies import role
from policies.model import Policy
from policies.site import load_policy

BASE = "site: s\ntimezone: Europe/Paris\n"
ZONE = "/sdn/zones/localnetwork"
COPIES = {
    "VM.Allocate",
    "VM.PowerMgmt",
    "VM.Config.Network",
    "VM.Config.Options",
    "VM.Config.CDROM",
    "VM.GuestAgent.Audit",
}


def policy(scratch: str = "bridge: vmbr9, storage: thin", job: str = "storage: archives") -> Policy:
    return load_policy(
        f"{BASE}scratch: {{vmids: 9000-9009, {scratch}}}\njobs: {{nightly: {{{job}}}}}\n", "test"
    )


def grants(needs: tuple[role.Need, ...]) -> dict[str, set[str]]:
    return {path: set(privs) for path, privs in role.Holder("x", needs).grants.items()}


def test_a_plain_policy_needs_four_kinds_of_path() -> None:
    assert grants(role.everyday(policy())) == {
        "/": {"Sys.Audit"},
        "/vms": {"VM.Audit", "VM.Backup"} | COPIES,
        "/storage/archives": {"Datastore.AllocateSpace"},
        "/storage/thin": {"Datastore.AllocateSpace"},
        f"{ZONE}/vmbr9": {"SDN.Use"},
    }


def test_with_a_pool_nothing_that_changes_a_guest_stands_on_all_guests() -> None:
    found = grants(role.everyday(policy("bridge: vmbr9, storage: thin, pool: copies")))
    assert found["/vms"] == {"VM.Audit", "VM.Backup", "VM.GuestAgent.Audit"}
    assert found["/pool/copies"] == COPIES - {"VM.GuestAgent.Audit"}


def test_caps_limits_and_a_storages_own_retention_each_ask_for_their_privilege() -> None:
    found = grants(
        role.everyday(
            policy("storage: thin, memory: 512", "storage: nas, bandwidth: 100"),
            pruning=["nas", "elsewhere"],
        )
    )
    assert "VM.Config.Memory" in found["/vms"]
    assert found["/"] == {"Sys.Audit", "Sys.Modify"}
    assert found["/storage/nas"] == {"Datastore.AllocateSpace", "Datastore.Allocate"}
    assert "/storage/elsewhere" not in found


def test_moving_guests_for_an_exercise_asks_for_more_only_where_the_policy_has_a_window() -> None:
    drilled = load_policy(f"{BASE}ha: {{drill: {{window: 22:00-23:00}}}}\n", "test")
    assert grants(role.everyday(drilled))["/"] >= {"Sys.Console"}
    assert "Sys.Console" not in grants(role.everyday(load_policy(BASE, "test")))["/"]


def test_without_a_job_or_a_scratch_storage_the_right_stands_on_every_storage_and_a_note_says_so() -> (
    None
):
    bare = load_policy(BASE, "test")
    assert grants(role.everyday(bare))["/storage"] == {"Datastore.AllocateSpace"}
    said = " ".join(role.notes(bare))
    assert "no job" in said
    assert "no scratch.storage" in said


def test_a_guests_own_cap_asks_for_it_too() -> None:
    capped = load_policy(f"{BASE}guests: {{108: {{memory: 256}}}}\n", "test")
    assert "VM.Config.Memory" in grants(role.everyday(capped))["/vms"]


def test_law_2_without_an_isolated_bridge_copies_get_one_of_their_own_with_the_command_that_makes_it() -> (
    None
):
    without = policy("storage: thin")
    assert [path for path in grants(role.everyday(without)) if path.startswith("/sdn")] == [
        f"{ZONE}/vmbr9"
    ]
    assert grants(role.everyday(without, bridge="vmbr77"))[f"{ZONE}/vmbr77"] == {"SDN.Use"}
    (said,) = [note for note in role.notes(without) if "pvesh create" in note]
    assert "--iface vmbr9 --type bridge" in said and "--bridge" in said
    (said,) = [note for note in role.notes(without, "vmbr77") if "pvesh create" in note]
    assert "--iface vmbr77" in said and "--bridge" not in said
    assert not [note for note in role.notes(policy()) if "pvesh" in note]


def test_law_2_only_the_second_token_may_use_a_production_bridge() -> None:
    user, service, restore = role.holders(
        role.everyday(policy()), role.restoring(policy(), bridges=["vmbr0"])
    )
    assert f"{ZONE}/vmbr0" not in service.grants
    assert f"{ZONE}/vmbr9" not in restore.grants
    assert {f"{ZONE}/vmbr0", f"{ZONE}/vmbr9"} <= set(user.grants)
    for token in (service, restore):
        for path, privs in token.grants.items():
            assert set(privs) <= set(user.grants[path])


def test_disks_elsewhere_ask_for_their_own_storage() -> None:
    found = grants(role.restoring(policy(), bridges=["vmbr0"], disks=["fast", "slow"]))
    assert {"/storage/fast", "/storage/slow"} <= set(found)
    assert "/storage/thin" not in found


def test_pve_8_is_told_in_its_own_words() -> None:
    found = grants(role.on_release(role.everyday(policy()), 8))
    assert "VM.Monitor" in found["/vms"]
    assert not [priv for priv in found["/vms"] if "GuestAgent" in priv]
    assert role.on_release(role.everyday(policy()), 9) == role.everyday(policy())


def test_reading_the_boot_id_is_optional_and_not_asked_for_where_no_copy_settles() -> None:
    (need,) = role.optional(policy("bridge: vmbr9, storage: thin, pool: copies"))
    assert (need.path, need.privilege) == ("/pool/copies", "VM.GuestAgent.FileRead")
    assert need not in role.everyday(policy())
    assert [need.privilege for need in role.on_release(role.optional(policy()), 8)] == [
        "VM.Monitor"
    ]
    assert role.optional(policy("bridge: vmbr9, settle: 0s")) == ()
    assert (
        role.missing(role.optional(policy()), {"/vms": frozenset({"VM.GuestAgent.Unrestricted"})})
        == ()
    )


def test_the_log_of_ha_is_read_by_a_right_on_the_root_which_takes_none_away_that_is_inherited() -> (
    None
):
    (need,) = role.reporting()
    assert (need.path, need.privilege) == ("/", "Sys.Syslog")
    held = {"/": frozenset({"Sys.Audit"}), "/nodes": frozenset({"Sys.Audit", "Sys.Syslog"})}
    assert role.missing([need], held) == (need,)


def test_what_is_missing_is_found_path_by_path_and_inherited_rights_count() -> None:
    needs = role.everyday(policy())
    held = {path: frozenset(privs) for path, privs in grants(needs).items()}
    assert role.missing(needs, held) == ()
    held["/storage"] = held.pop("/storage/thin")
    assert role.missing(needs, held) == ()
    held["/vms"] -= {"VM.Backup"}
    assert [(need.path, need.privilege) for need in role.missing(needs, held)] == [
        ("/vms", "VM.Backup")
    ]


def test_what_is_held_on_all_guests_need_not_be_held_on_the_pool() -> None:
    wide = {path: frozenset(privs) for path, privs in grants(role.everyday(policy())).items()}
    pooled = role.everyday(policy("bridge: vmbr9, storage: thin, pool: copies"))
    assert role.missing(pooled, wide) == ()
    assert {
        need.path
        for need in role.missing(
            pooled, wide | {"/vms": frozenset({"VM.Audit", "VM.Backup", "VM.GuestAgent.Audit"})}
        )
    } == {"/pool/copies"}


def test_the_commands_make_each_set_of_privileges_one_role_and_give_it_to_user_and_token() -> None:
    lines = list(role.commands(role.holders(role.everyday(policy()))))
    assert (
        len([line for line in lines if "role add" in line and "|| pveum role modify" in line]) == 4
    )
    assert "pveum user add backupsvc@pve" in lines
    assert "pveum user token add backupsvc@pve service --privsep 1" in lines
    given = [line for line in lines if line.startswith("pveum acl modify /storage/thin ")]
    assert [line.split(" --")[1].split()[0] for line in given] == ["users", "tokens"]


@pytest.mark.parametrize(
    ("job", "guests"),
    [
        ("storage: nas, thaw: true", ""),
        ("storage: nas", "guests: {104: {thaw: true}}"),
        ("storage: nas, thaw: true", "guests: {104: {thaw: false}}"),
    ],
)
def test_only_a_policy_that_wants_guests_thawed_asks_for_the_right_to_do_so(
    job: str, guests: str
) -> None:
    right = "VM.GuestAgent.FileSystemMgmt"
    asked = load_policy(f"{BASE}jobs: {{nightly: {{{job}}}}}\n{guests}\n", "test")
    assert right in grants(role.everyday(asked))["/vms"]
    assert right not in grants(role.everyday(policy()))["/vms"]
    assert (
        right
        not in grants(
            role.everyday(load_policy(f"{BASE}jobs: {{nightly: {{thaw: false}}}}\n", "test"))
        )["/vms"]
    )


def test_who_makes_no_backups_needs_no_right_to_ask_after_them() -> None:
    pooled = load_policy(f"{BASE}scratch: {{pool: copies}}\n", "test")
    found = grants(role.everyday(pooled))
    assert (found["/vms"], found["/pool/copies"]) == ({"VM.Audit", "VM.Backup"}, COPIES)


def test_a_roles_name_says_what_it_holds_whatever_else_is_printed_with_it() -> None:
    plain, other = (
        set(role.commands(role.holders(needs)))
        for needs in (
            role.everyday(policy()),
            role.everyday(policy(job="storage: archives, bandwidth: 100"), pruning=["archives"]),
        )
    )
    named = {
        line.split()[3]: line.split('"')[1]
        for line in plain | other
        if line.startswith("pveum role add")
    }
    both = [line for line in plain | other if line.startswith("pveum role add")]
    assert len(named) == len(set(both)), "one name stands for two sets of privileges"
    assert named[role.role_name(["SDN.Use"])] == "SDN.Use"
    assert (
        role.role_name(["b.B", "a.A"])
        == role.role_name(["a.A", "b.B"])
        != role.role_name(["a.A", "b.C"])
    )
    assert all(name.replace("-", "").replace(".", "").isalnum() for name in named)


def test_what_an_earlier_run_gave_is_taken_back_before_anything_is_given() -> None:
    first, *rest = role.commands(role.holders(role.everyday(policy())))
    assert first.startswith("pveum acl list") and "backupsvc\\@pve(!|$)" in first
    assert not [line for line in rest if "delete" in line]


def test_law_2_the_second_token_may_bring_a_guest_back_and_nothing_else() -> None:
    assert grants(role.restoring(policy(), bridges=["vmbr0", "vmbr1"], disks=["fast"])) == {
        "/vms": {"VM.Audit", "VM.Backup", "VM.Allocate", "VM.PowerMgmt"},
        "/storage/archives": {"Datastore.AllocateSpace"},
        "/storage/fast": {"Datastore.AllocateSpace"},
        f"{ZONE}/vmbr0": {"SDN.Use"},
        f"{ZONE}/vmbr1": {"SDN.Use"},
    }
    assert grants(role.restoring(load_policy(BASE, "test"), bridges=[]))["/storage"] == {
        "Datastore.AllocateSpace"
    }


def test_one_user_holds_both_tokens() -> None:
    names = ["backupsvc@pve", "backupsvc@pve!service", "backupsvc@pve!restore"]
    service, restore = role.everyday(policy()), role.restoring(policy(), bridges=["vmbr0"])
    assert [holder.name for holder in role.holders(service, restore)] == names
    assert [holder.name for holder in role.holders(service)] == names[:2]


def test_every_right_on_an_agent_is_the_monitors_on_pve_8_the_oldest_release_that_is_supported() -> (
    None
):
    assert role.SUPPORTED == (8, 9)
    named = [
        role.Need("/vms", f"VM.GuestAgent.{what}", "")
        for what in ("Audit", "FileRead", "FileSystemMgmt")
    ]
    assert {need.privilege for need in role.on_release(named, 8)} == {"VM.Monitor"}
    assert role.on_release(named, 9) == tuple(named)


def test_law_2_the_isolated_bridge_of_the_policy_is_the_one_that_the_token_may_use_whatever_else_is_named() -> (
    None
):
    found = grants(role.everyday(policy(), bridge="vmbr77"))
    assert [path for path in found if path.startswith("/sdn")] == [f"{ZONE}/vmbr9"]


def test_one_job_with_a_limited_bandwidth_is_enough_to_ask_for_the_right() -> None:
    jobs = "jobs: {nightly: {storage: nas}, weekly: {storage: nas, bandwidth: 100}}"
    assert grants(role.everyday(load_policy(f"{BASE}{jobs}\n", "test")))["/"] == {
        "Sys.Audit",
        "Sys.Modify",
    }


@pytest.mark.parametrize(
    ("guest", "asks"), [("settle: 5m", True), ("settle: 0s", False), ("role: web", False)]
)
def test_a_guest_that_settles_asks_for_its_boot_id_where_the_others_do_not(
    guest: str, asks: bool
) -> None:
    found = load_policy(f"{BASE}scratch: {{settle: 0s}}\nguests: {{108: {{{guest}}}}}\n", "test")
    assert bool(role.optional(found)) is asks


def test_a_copys_agent_is_asked_too_where_copies_are_in_no_pool_and_both_reasons_are_told() -> None:
    whys = [need.why for need in role.everyday(policy()) if need.privilege == "VM.GuestAgent.Audit"]
    assert whys == [
        "ask a guest after its dump whether its file systems are thawed",
        "ask a copy's guest agent whether it has booted",
    ]


def test_the_note_of_a_bridge_that_was_named_proposes_no_other() -> None:
    (proposed,) = [note for note in role.notes(policy("storage: thin")) if "pvesh create" in note]
    assert proposed.endswith("choose another with --bridge")
    (named,) = [
        note for note in role.notes(policy("storage: thin"), "vmbr77") if "pvesh create" in note
    ]
    assert named.endswith("pvesh set /nodes/NODE/network")


def test_a_pool_must_exist_and_only_where_there_is_one_a_note_says_so() -> None:
    pooled = role.notes(policy("bridge: vmbr9, storage: thin, pool: copies"))
    assert [note for note in pooled if "the pool copies must exist (pveum pool add copies)" in note]
    assert not [note for note in role.notes(policy()) if "pool" in note]


def test_a_name_that_a_shell_would_obey_is_one_word_of_a_command_for_roots_shell() -> None:
    needs = role.restoring(policy(), bridges=["vmbr0", "x;reboot"], disks=["$(id)"])
    lines = [line for line in role.commands(role.holders(needs)) if " acl modify " in line]
    assert any(line.startswith(f"pveum acl modify {ZONE}/vmbr0 --") for line in lines)
    assert any(line.startswith(f"pveum acl modify '{ZONE}/x;reboot' --") for line in lines)
    assert any(line.startswith("pveum acl modify '/storage/$(id)' --") for line in lines)
