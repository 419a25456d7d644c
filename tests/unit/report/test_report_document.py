"""The report as a value: its verdict, its month, and what it says of everything it does not
know.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from backupsvc.errors import UsageError
from backupsvc.report import html, json, words
from backupsvc.report.document import Document, build, month_of, period_of, told_in
from policies.compliance.facts import (
    BackupOutcome,
    BroughtBack,
    Gap,
    How,
    SiteFacts,
    Standing,
    TakenBack,
)
from policies.compliance.objectives import Status
from policies.model import Exemption, OperationState, Verdict
from tests.unit.policies.what_if.sites import site as what_if
from tests.unit.report.langeo import (
    DAY,
    HOUR,
    NIGHTS,
    NOW,
    PARIS,
    archive,
    at,
    changed,
    documented,
    policy,
    proof,
    put_right,
)


def document(
    facts: SiteFacts, month: str = "2026-03", now: int = NOW, **policy_changes: object
) -> Document:
    return build(facts, policy(**policy_changes), month, now)


def test_a_site_put_right_is_compliant_and_the_documents_is_not() -> None:
    assert document(put_right()).compliant and document(put_right()).status == "compliant"
    assert not document(documented()).compliant


@pytest.mark.parametrize(
    "spoil",
    [
        lambda facts: changed(facts, 108, proofs=()),
        lambda facts: changed(facts, 108, proofs=(proof(108, NIGHTS[-1], rto=10_000.0),)),
        lambda facts: changed(facts, 105, guest=None),
        lambda facts: replace(facts, simulated=True),
        lambda facts: replace(facts, guests=()),
    ],
)
def test_one_open_objective_one_absent_guest_a_simulation_or_an_empty_site_is_not_compliant(
    spoil: Callable[[SiteFacts], SiteFacts],
) -> None:
    assert not document(spoil(put_right())).compliant


def test_an_exempted_finding_does_not_spoil_compliance_until_its_end_date_has_passed() -> None:
    facts = changed(put_right(), 108, agent=False)
    for until, compliant in (("2026-03-10", True), ("2026-03-09", False)):
        exemption = Exemption("guest-agent-missing", 108, "M. Dupont", "appliance", until)
        made = document(facts, exemptions=(exemption,))
        assert made.compliant is compliant
        assert made.exemptions[0].expired is not compliant
    assert not document(facts).compliant


def test_the_month_is_the_sites_month_with_its_changes_of_clock() -> None:
    period = period_of("2026-03", PARIS, NOW)
    assert (period.start, period.end) == (at("2026-03-01 00:00"), at("2026-04-01 00:00"))
    assert period.end - period.start == 31 * DAY - HOUR
    assert not period.over and period_of("2026-02", PARIS, NOW).over
    assert period_of("2025-12", PARIS, NOW).end == at("2026-01-01 00:00")
    assert month_of(at("2026-04-01 00:30"), PARIS) == "2026-04"


@pytest.mark.parametrize(
    "month", ["2026-13", "2026-3", "march", "", "2026-04", "0000-01", "2026-03-01"]
)
def test_a_wrong_or_future_month_is_wrong_usage(month: str) -> None:
    with pytest.raises(UsageError):
        period_of(month, PARIS, NOW)


def test_the_months_tests_and_backups_are_counted_whatever_came_of_them() -> None:
    removed = archive(108, at("2026-03-02 21:00"))
    before = proof(108, at("2026-02-20 21:00"))
    tests = (
        before,
        proof(108, NIGHTS[0], verdict=Verdict.FAILED),
        proof(108, NIGHTS[1], verdict=Verdict.INCONCLUSIVE),
    )
    facts = changed(
        put_right(),
        108,
        removed=(removed,),
        proofs=tests,
        backups=(BackupOutcome(NIGHTS[0], False, "x"), BackupOutcome(before.ended, False)),
    )
    made = document(facts)
    line = next(line for line in made.guests if line.assessment.vmid == 108)
    assert (line.due, line.taken, line.failed, line.tests) == (9, 4, 1, 2)
    assert [test.verdict for test in made.proofs if test.vmid == 108] == [
        Verdict.FAILED,
        Verdict.INCONCLUSIVE,
    ]
    february = document(facts, "2026-02")
    assert [test.ended for test in february.proofs] == [before.ended]
    assert next(line.due for line in february.guests) == 28


def test_limits_name_what_was_not_tested_and_a_past_month_says_when_it_was_judged() -> None:
    made = document(put_right())
    assert any("restored alone" in limit for limit in made.limits)
    assert any("No network check was possible for: 100 PfSense" in limit for limit in made.limits)
    assert not any("not of the end of the month" in limit for limit in made.limits)
    assert any(
        "not of the end of the month" in limit for limit in document(put_right(), "2026-02").limits
    )
    capped = replace(policy().scratch, memory=1024)
    assert any(
        "at most 1024 MiB" in limit for limit in document(put_right(), scratch=capped).limits
    )


def test_gaps_stand_in_the_report_with_the_words_of_the_refusal() -> None:
    made = document(
        replace(put_right(), gaps=(Gap("clock", "lge-pve02", "Permission check failed"),))
    )
    assert [(gap.text, gap.reason) for gap in made.gaps] == [
        ("clock of the node lge-pve02", "Permission check failed")
    ]


def test_the_same_report_can_be_told_in_the_other_language_and_no_third() -> None:
    english = document(documented())
    french = told_in(english, "fr")
    assert french.language == "fr" and french.status == english.status
    assert [line.finding.id for line in french.findings] == [
        line.finding.id for line in english.findings
    ]
    assert "sauvegarde jamais restaurée" in next(
        line.finding.detail for line in french.findings if line.finding.id == "never-proven"
    )
    with pytest.raises(UsageError):
        told_in(english, "de")


def test_a_policy_in_an_unknown_language_is_reported_in_english() -> None:
    assert document(put_right(), language="de").language == "en"


def test_groups_say_each_action_once_with_vmid_in_the_guests_place() -> None:
    groups = {group.id: group for group in document(documented()).grouped()}
    assert len(groups["never-proven"].lines) == 11
    assert groups["never-proven"].actions == ("Run backupsvc restore-test VMID.",)
    assert "qm set 108 --agent 1" in groups["guest-agent-missing"].actions[0]


def test_the_status_has_the_keys_that_programs_rely_on() -> None:
    value = json.status(document(documented()))
    assert {"site", "cluster", "at", "guests", "findings", "gaps"} <= value.keys()
    assert {"id", "severity", "subject", "vmid", "detail", "action"} <= value["findings"][0].keys()
    wanted = (
        "vmid name node tier status last_backup last_proven rpo_seconds rpo_objective_seconds "
        "rto_seconds"
    )
    wanted += " rto_objective_seconds proof_age_seconds archives copies reasons"
    assert set(wanted.split()) <= value["guests"][0].keys()
    assert value["at"] == "2026-03-10T08:00:00Z"


def test_the_status_gives_measures_only_for_what_is_proven() -> None:
    facts = changed(documented(), 108, proofs=(proof(108, NIGHTS[-1]),))
    guests = {item["vmid"]: item for item in json.status(document(facts))["guests"]}
    assert (guests[108]["rpo_seconds"], guests[108]["rto_seconds"]) == (NOW - NIGHTS[-1], 41.5)
    assert (guests[104]["rpo_seconds"], guests[104]["rto_seconds"], guests[104]["last_proven"]) == (
        None,
        None,
        None,
    )
    assert (
        guests[104]["status"] == Status.UNKNOWN
        and guests[104]["rpo_recorded_seconds"] == NOW - NIGHTS[-1]
    )


def test_both_languages_have_every_placeholder() -> None:
    for english, french in (*words.CHROME.values(), *words.LIMITS.values()):
        assert sorted(_holes(english)) == sorted(_holes(french))


def _holes(text: str) -> list[str]:
    from string import Formatter

    return [name for _, name, _, _ in Formatter().parse(text) if name]


def test_every_finding_is_explained_in_the_documentation() -> None:
    from pathlib import Path

    from policies.compliance.findings import RULES

    page = (Path(__file__).parents[3] / "docs" / "findings.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert {row.split("`")[1] for row in rows} == {rule.id for rule in RULES}
    assert {row.count("|") for row in rows} == {5}


def test_it_says_of_each_node_what_its_loss_would_leave() -> None:
    lost, spared = json.full(document(what_if()))["losses"]
    assert (lost["nodes"], len(lost["recoverable"])) == (["clovis"], 11)
    assert lost["critical_well"] and lost["serial_seconds"] == 41.5 * 11
    assert (spared["nodes"], spared["recoverable"]) == (["lge-pve02"], [])
    alone = json.full(document(documented()))["losses"][0]
    assert len(alone["not_recoverable"]) == 11 and not alone["critical_well"]
    unknown = json.full(document(put_right()))["losses"][0]
    assert len(unknown["unknown"]) == 11, "what its guests need was not read"


@pytest.mark.parametrize(
    ("language", "said"),
    [("en", "If a node were lost"), ("fr", "Si un nœud était perdu")],
)
def test_the_page_names_those_that_would_not_come_back(language: str, said: str) -> None:
    page = html.render(document(what_if(), language=language))
    section = page[page.index(said) :]
    assert "<td><b>11</b></td>" in section and ">100, " not in section
    page = html.render(document(documented(), language=language))
    section = page[page.index(said) :]
    assert "<small>108, 100, 101" in section
    empty = html.render(document(replace(documented(), nodes=()), language=language))
    assert "<td><b>clovis</b>" not in empty[empty.index(said) :]


# --- guests brought back --------------------------------------------------------------------------

BACK = BroughtBack(
    108,
    "Debian-Server",
    "01RESTORE",
    "paul on admin",
    "clovis",
    "local:backup/vzdump-qemu-108-2026_03_08-21_00_00.vma.zst",
    NOW - DAY,
    NOW - HOUR,
    OperationState.DONE,
    proven=True,
    started=True,
    verdict="inconclusive",
    said=("check ssh could not be asked",),
    seconds=73.4,
    words="108 is off",
    words_by="marie on admin",
    words_at=NOW - 2 * HOUR,
)


def test_the_restores_of_the_month_stand_in_it_in_order_and_no_others() -> None:
    older = replace(BACK, ended=NOW - 40 * DAY)
    later = replace(BACK, operation="01LATER", ended=NOW - 60)
    made = document(replace(put_right(), restores=(later, BACK, older)))
    assert [one.operation for one in made.restores] == ["01RESTORE", "01LATER"]
    assert made.compliant, "a restore is no objective"
    told = json.full(made)
    assert told["totals"]["restores"] == 2
    one = told["restores"][0]
    assert (one["vmid"], one["asked_by"], one["verdict"], one["seconds"]) == (
        108,
        "paul on admin",
        "inconclusive",
        73.4,
    )
    assert one["confirmed"]["words"] == "108 is off" and one["confirmed"]["by"] == "marie on admin"
    assert one["archive_proven"] and one["reasons"] == ["check ssh could not be asked"]


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", ("Guests brought back", "the original was said to be off", "inconclusive", "By")),
        ("fr", ("Invités remis en service", "l’original a été dit éteint", "non concluant", "Par")),
    ],
)
def test_they_are_told_in_both_languages(language: str, words: tuple[str, ...]) -> None:
    page = html.render(document(replace(put_right(), restores=(BACK,)), language=language))
    for word in (*words, "108 is off", "marie on admin", "01RESTORE", "check ssh could not be"):
        assert word in page or word.replace("’", "&#39;") in page or word.replace("’", "'") in page


REPLACED: dict[str, object] = {
    "how": How.REPLACE,
    "vmid": 208,
    "original": 105,
    "verdict": "running",
}
UNDONE = TakenBack("01UNDO", OperationState.DONE, NOW - 60)
LOST = replace(UNDONE, state=OperationState.FAILED)
UNDOING: dict[str, object] = {
    "how": How.UNDO,
    "vmid": 105,
    "original": 208,
    "verdict": "",
    "undoes": "01REPLACE",
}


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"verdict": "running"}, "running, checks passed"),
        ({"verdict": "failed"}, "checks failed"),
        ({"verdict": "simulated"}, "simulated"),
        ({"verdict": "", "started": False}, "restored, not started"),
        ({"verdict": ""}, "started, not asked"),
        ({"verdict": "", "state": OperationState.FAILED}, "failed"),
        ({"verdict": "", "state": OperationState.CANCELLED, "words": ""}, "cancelled"),
        ({"original": 105, "vmid": 208}, "guest 105"),
        (REPLACED, "in place of guest 105"),
        (REPLACED | {"verdict": ""}, "inconclusive"),
        (REPLACED | {"taken_back": UNDONE}, "taken back"),
        (REPLACED | {"taken_back": UNDONE}, "undone by 01UNDO"),
        (REPLACED | {"taken_back": replace(UNDONE, state=OperationState.OPEN)}, "being undone by"),
        (REPLACED | {"taken_back": LOST}, "01UNDO was to undo it and did not end well"),
        (REPLACED | {"state": OperationState.FAILED, "standing": Standing.OLD}, "the old guest is"),
        (REPLACED | {"state": OperationState.CANCELLED, "standing": Standing.NEW}, "the new guest"),
        (UNDOING, "back in place of guest 208, undoing 01REPLACE"),
        (UNDOING, "the old guest is back"),
        (
            UNDOING | {"state": OperationState.FAILED, "standing": Standing.NOT_KNOWN},
            "look at both",
        ),
    ],
)
def test_whatever_came_of_one_has_a_word(changes: dict[str, object], word: str) -> None:
    one = replace(BACK, **changes)  # type: ignore[arg-type]
    page = html.render(document(replace(put_right(), restores=(one,)), language="en"))
    assert word in page


@pytest.mark.parametrize(
    "changes",
    [
        {"verdict": ""},
        {"taken_back": UNDONE},
        {"taken_back": LOST},
        {"state": OperationState.FAILED, "standing": Standing.NOT_KNOWN},
        {"state": OperationState.CANCELLED, "standing": Standing.NEW},
        UNDOING,
    ],
)
def test_a_replacement_is_green_only_while_it_stands_and_was_judged_so(
    changes: dict[str, object],
) -> None:
    """Never by what is missing: no verdict, an undoing, a way back that nobody saw end."""
    for fields, good in ((REPLACED, True), (REPLACED | changes, False)):
        one = replace(BACK, **fields)  # type: ignore[arg-type]
        made = document(replace(put_right(), restores=(one,)), language="en")
        row = html.render(made).partition("01RESTORE")[0].rpartition("<tr>")[2]
        assert ('<span class="pill met">' in row) is good, row
        told = json.full(made)["restores"][0]
        assert (told["came_of_it"] == "running") is good


def test_both_are_told_in_json_with_what_became_of_the_replacement() -> None:
    first = replace(BACK, **REPLACED, taken_back=UNDONE)  # type: ignore[arg-type]
    made = document(replace(put_right(), restores=(first, replace(BACK, **UNDOING))))  # type: ignore[arg-type]
    undone, replaced = json.full(made)["restores"]
    assert (replaced["how"], replaced["vmid"], replaced["original"]) == ("replace", 208, 105)
    assert replaced["undone"]["operation"] == "01UNDO" and replaced["undone"]["state"] == "done"
    assert (undone["how"], undone["undoes"]) == ("replace-undo", "01REPLACE")


def test_without_any_it_says_so() -> None:
    assert "No guest was brought back" in html.render(document(put_right(), language="en"))
