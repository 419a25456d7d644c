"""A silent node is the first finding: it names what is unknown and the way on, and what follows
from it has no advice.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from policies import i18n
from policies.compliance.evaluation import exemption_for, findings, pressing
from policies.compliance.facts import BackupOutcome, Gap, Quorum, SiteFacts
from policies.freezing import LeftFrozen
from policies.model import Exemption, Finding, Node, Severity
from tests.unit.report.langeo import (
    NAMES,
    NIGHTS,
    NOW,
    archive,
    changed,
    documented,
    guest,
    policy,
    put_right,
)

DEAD = (Node("clovis", False), Node("lge-pve02", True))


def dead(facts: SiteFacts | None = None, *, quorate: bool = False) -> SiteFacts:
    """The site with clovis dead: what lies there cannot be listed, and its storages are not
    shown.
    """
    facts = facts or documented()
    guests = tuple(
        replace(
            item,
            agent=None,
            archives=tuple(one for one in item.archives if one.node != "clovis"),
            unreachable=tuple(one for one in item.archives if one.node == "clovis"),
        )
        for item in facts.guests
    )
    return replace(
        facts,
        guests=guests,
        nodes=DEAD,
        quorum=Quorum(True, 2, quorate),
        storages=tuple(item for item in facts.storages if item.node != "clovis"),
        gaps=(Gap("node", "clovis", "the node is offline"),),
    )


def seen(facts: SiteFacts, **changes: object) -> tuple[Finding, ...]:
    return findings(facts, policy(**changes), NOW)


def of(facts: SiteFacts, id: str) -> list[Finding]:
    return [item for item in seen(facts) if item.id == id]


@pytest.mark.parametrize("language", ["en", "fr"])
def test_a_dead_node_is_the_first_finding_in_both_languages(language: str) -> None:
    first = seen(dead(), language=language)[0]
    assert (first.id, first.severity, first.subject, first.under) == (
        "node-offline",
        Severity.CRITICAL,
        "clovis",
        "",
    )
    assert "{" not in first.detail + first.action
    for name in NAMES.values():
        assert name in first.detail


def test_it_tells_quorum_what_is_unknown_what_is_out_of_reach_and_what_is_within() -> None:
    (first,) = of(dead(), "node-offline")
    assert "Quorum: LOST, 1 of 2 nodes are online" in first.detail
    assert (
        "33 known archive(s) on clovis (storage local)" in first.detail
        and "not gone" in first.detail
    )
    assert "Within reach: lge-pve02; no archive of these guests." in first.detail
    assert "keep its disks" in first.action and "backupsvc restore" not in first.action
    assert "Quorum: kept" in of(dead(quorate=True), "node-offline")[0].detail
    assert "Quorum: not known" in of(replace(dead(), quorum=None), "node-offline")[0].detail


def test_archives_elsewhere_are_within_reach_and_named_in_the_way_on() -> None:
    (first,) = of(dead(put_right()), "node-offline")
    assert "with an archive of each of these guests" in first.detail
    assert "`backupsvc restore VMID --node lge-pve02`" in first.action
    assert (
        f"105 of 2026-03-09 21:00 ({archive(105, NIGHTS[-1], 'lge-pve02').volid})" in first.action
    )
    assert (
        first.action.index("really off")
        < first.action.index("pvecm expected 1")
        < first.action.index("backupsvc restore")
    )


def test_ha_is_left_to_move_its_guests_and_without_quorum_it_moves_none() -> None:
    kept = of(dead(put_right(), quorate=True), "node-offline")[0]
    assert (
        "HA moves these by itself" in kept.detail
        and "108 of" not in kept.action
        and "105 of" in kept.action
    )
    lost = of(dead(put_right()), "node-offline")[0]
    assert "does nothing without quorum: 108" in lost.detail and "108 of" in lost.action
    assert (
        lost.action.index("pvecm expected 1")
        < lost.action.index("ha-manager remove vm:108")
        < lost.action.index("mv /etc/pve")
    )


def test_only_some_of_its_guests_may_have_an_archive_within_reach() -> None:
    (first,) = of(changed(dead(put_right()), 105, archives=()), "node-offline")
    assert (
        "archives of 100 PfSense" in first.detail
        and "105 of" not in first.action
        and "keep its disks" in first.action
    )


def test_what_follows_from_it_stands_under_it_and_advises_nothing() -> None:
    facts = changed(dead(), 105, backups=(BackupOutcome(NOW - 60, False, "595 No route to host"),))
    folded = [item for item in seen(facts) if item.under]
    assert {item.id for item in folded} == {
        "never-proven",
        "backup-missed",
        "guest-not-covered",
        "quorum-two-votes",
    }
    assert {item.under for item in folded} == {"clovis"} and {item.action for item in folded} == {
        ""
    }
    assert not [item for item in seen(facts) if "backup run" in item.action]


def test_it_stays_true_and_said_that_guest_and_archives_lie_together() -> None:
    found = of(dead(), "archives-on-guest-node")
    assert len(found) == len(NAMES) and not any(item.under for item in found)
    assert "out of reach together" in found[0].detail and "only archives" in found[0].action
    assert of(dead(put_right()), "archives-on-guest-node") == []


def test_a_guest_that_would_be_backed_up_beside_itself_is_still_told_of_when_its_node_shows_no_storage() -> (
    None
):
    facts = changed(dead(), 105, unreachable=())
    assert [
        item.vmid for item in of(facts, "archives-on-guest-node") if "job nightly" in item.detail
    ] == [105]


def test_a_guest_without_a_job_and_one_that_can_be_tested_elsewhere_keep_their_advice() -> None:
    extra = replace(documented().guests[0], vmid=150, name="new", guest=guest(150), archives=())
    facts = dead(replace(put_right(), guests=(*put_right().guests, extra)))
    facts = replace(facts, guests=tuple(replace(item, proofs=()) for item in facts.guests))
    assert [(item.vmid, item.under) for item in of(facts, "guest-not-covered")] == [(150, "")]
    assert not [item.under for item in of(facts, "never-proven") if item.under and item.vmid != 150]


def test_guests_of_the_other_nodes_are_told_of_as_ever() -> None:
    facts = changed(dead(), 105, guest=guest(105, "lge-pve02"), unreachable=(), archives=())
    (found,) = [item for item in of(facts, "guest-not-covered") if item.vmid == 105]
    assert found.under == "" and "backup run --vmid 105" in found.action


def test_a_known_archive_on_a_storage_that_hangs_is_out_of_reach_and_asks_for_no_backup() -> None:
    facts = changed(documented(), 105, unreachable=documented().guests[5].archives, archives=())
    (found,) = of(facts, "guest-not-covered")
    assert found.under == "" and "not gone" in found.detail and "local (clovis)" in found.detail
    assert "backup run" not in found.action
    assert [item.vmid for item in of(facts, "archives-on-guest-node")] == list(NAMES), (
        "that is as true as before"
    )


def test_a_backup_that_lies_out_of_reach_was_not_missed() -> None:
    assert of(dead(), "backup-missed") == []


def test_it_presses_until_the_node_is_back_and_can_be_exempted() -> None:
    rule = policy(
        exemptions=(Exemption("node-offline", None, "ops", "moving house", "2026-03-31"),)
    )
    (first,) = of(dead(), "node-offline")
    assert exemption_for(first, rule, NOW) is not None
    assert first in pressing(seen(dead()), policy(), NOW)
    assert of(documented(), "node-offline") == of(put_right(), "node-offline") == []


def test_a_node_that_pve_calls_online_and_that_does_not_answer_is_told_apart_from_one_that_is_offline() -> (
    None
):
    (first,) = of(replace(documented(), silent={"clovis": "595 No route to host"}), "node-offline")
    assert "PVE calls clovis online" in first.detail and "595" in first.detail
    lost = replace(
        documented(), nodes=(Node("clovis", False, unknown=True), Node("lge-pve02", True))
    )
    assert "does not know the state of clovis" in of(lost, "node-offline")[0].detail


def test_a_dead_pvestatd_is_a_warning_with_what_to_look_at_and_no_node_is_called_offline() -> None:
    facts = replace(
        documented(), nodes=(Node("clovis", True, unknown=True), Node("lge-pve02", True))
    )
    (found,) = of(facts, "status-unknown")
    assert (found.severity, found.subject) == (Severity.WARNING, "clovis")
    assert "systemctl status pvestatd" in found.action and "findmnt" in found.action
    assert of(facts, "node-offline") == [] and of(documented(), "status-unknown") == []
    assert (
        next(item.id for item in seen(facts) if item.severity is Severity.WARNING)
        == "status-unknown"
    )


def test_one_node_alone_that_says_nothing_leaves_only_to_look_at_it() -> None:
    facts = replace(dead(), nodes=(Node("clovis", False),))
    (first,) = of(facts, "node-offline")
    assert "restore" not in first.action and "Within reach: none" in first.detail


def test_a_guest_of_another_node_and_one_that_no_node_has_are_no_guests_of_the_dead_one() -> None:
    facts = changed(
        changed(dead(), 105, guest=guest(105, "lge-pve02"), unreachable=()),
        106,
        guest=None,
        unreachable=(),
    )
    (first,) = of(facts, "node-offline")
    assert "Not known: whether its 9 guest(s) still run: 100 PfSense" in first.detail
    assert "105" not in first.detail and "106" not in first.detail


def test_a_dead_node_without_a_guest_and_without_an_archive_says_so() -> None:
    empty = replace(documented(), nodes=(Node("clovis", True), Node("lge-pve02", False)))
    (first,) = of(empty, "node-offline")
    assert "No guest is on it." in first.detail and "Within reach: clovis." in first.detail
    assert (
        "No archive is known on lge-pve02; what may lie there could not be listed." in first.detail
    )


def test_an_archive_on_a_shared_storage_or_of_another_node_lies_not_on_the_dead_one() -> None:
    shared = archive(105, NIGHTS[0], storage="nfs", shared=True)
    other = archive(105, NIGHTS[0], "lge-pve02", storage="slow")
    here = archive(105, NIGHTS[0])
    facts = changed(dead(), 105, unreachable=(shared, other, here))
    assert "31 known archive(s) on clovis (storage local)" in of(facts, "node-offline")[0].detail


def test_the_way_on_is_a_numbered_list_of_one_line_a_step() -> None:
    lines = of(dead(put_right()), "node-offline")[0].action.splitlines()
    assert len(lines) > 3
    assert [line.partition(". ")[0] for line in lines] == [
        str(number) for number in range(1, len(lines) + 1)
    ]


def test_only_the_guests_that_ha_manages_are_taken_from_it() -> None:
    (first,) = of(dead(put_right()), "node-offline")
    assert (
        first.action.count("ha-manager remove") == 1 and "ha-manager remove vm:108" in first.action
    )


def test_the_disks_of_the_dead_node_are_to_be_kept_only_where_archives_are_out_of_reach_and_none_is_within() -> (
    None
):
    elsewhere = dead(put_right())
    assert any(item.unreachable for item in elsewhere.guests)
    assert "keep its disks" not in of(elsewhere, "node-offline")[0].action, (
        "an archive of each is within reach"
    )
    nothing = replace(
        elsewhere,
        guests=tuple(replace(item, archives=(), unreachable=()) for item in elsewhere.guests),
    )
    assert "keep its disks" not in of(nothing, "node-offline")[0].action, (
        "there is no archive to wait for"
    )


def test_quorum_that_is_lost_with_all_nodes_online_or_kept_without_one_follows_from_no_node() -> (
    None
):
    online = replace(documented(), quorum=Quorum(True, 2, False))
    assert [item.under for item in of(online, "quorum-two-votes")] == [""]
    (kept,) = of(dead(quorate=True), "quorum-two-votes")
    assert kept.under == "" and kept.action
    assert [
        item.id for item in seen(replace(dead(), quorum=None)) if item.id == "quorum-two-votes"
    ] == []


def test_what_cannot_be_done_before_the_node_is_back_stands_under_it_also_of_a_guest_with_archives_elsewhere() -> (
    None
):
    missed = changed(
        dead(put_right()), 105, backups=(BackupOutcome(NOW - 60, False, "595 No route to host"),)
    )
    assert [(item.vmid, item.under) for item in of(missed, "backup-missed")] == [(105, "clovis")]
    frozen = changed(dead(), 105, left_frozen=LeftFrozen(NOW - 60, True, "its agent says so"))
    assert [(item.vmid, item.under) for item in of(frozen, "guest-left-frozen")] == [
        (105, "clovis")
    ]


def test_a_node_that_does_not_answer_has_no_dead_pvestatd() -> None:
    lost = replace(
        documented(), nodes=(Node("clovis", False, unknown=True), Node("lge-pve02", True))
    )
    assert of(lost, "status-unknown") == []
    silent = replace(
        documented(),
        nodes=(Node("clovis", True, unknown=True), Node("lge-pve02", True)),
        silent={"clovis": "timed out"},
    )
    assert of(silent, "status-unknown") == []


@pytest.mark.parametrize("language", ["en", "fr"])
@pytest.mark.parametrize(
    ("quorate", "sentence"), [(True, "down.ha"), (False, "down.ha-stands-still")]
)
def test_where_ha_manages_no_guest_of_the_dead_node_nothing_is_said_of_what_it_will_do(
    language: str, quorate: bool, sentence: str
) -> None:
    said = i18n.reason(sentence, language, guests="").partition(":")[0]
    facts = dead(put_right(), quorate=quorate)
    (first,) = [item for item in seen(facts, language=language) if item.id == "node-offline"]
    assert said in first.detail
    (alone,) = [
        item
        for item in seen(changed(facts, 108, ha_managed=False), language=language)
        if item.id == "node-offline"
    ]
    assert said not in alone.detail
    assert "108 " in alone.action and "ha-manager remove" not in alone.action, (
        "it is restored as the others are"
    )
