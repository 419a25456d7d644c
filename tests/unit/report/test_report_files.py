"""The files: one self-contained page and one JSON object, whole or not at all, and never greener
than the truth.
"""

from __future__ import annotations

import json as stdlib_json
import re
import unicodedata
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from backupsvc.errors import UsageError
from backupsvc.report.document import Document, build
from backupsvc.report.html import bar, render
from backupsvc.report.json import status
from backupsvc.report.write import write_report
from policies.compliance.facts import Gap, SiteFacts
from policies.compliance.objectives import Objective, Status
from policies.model import Exemption, Rung, Verdict
from tests.unit.report.langeo import NIGHTS, NOW, changed, documented, policy, proof, put_right

VOID = {"meta", "link", "br", "rect"}


class Page(HTMLParser):
    """Reads a page, holding that its tags nest and that it needs nothing from outside."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.pills: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "img", "iframe", "link", "object")
        assert not {"src", "href", "onclick", "onload"} & {name for name, _ in attributes}
        named = dict(attributes)
        if tag == "span" and (named.get("class") or "").startswith("pill"):
            self.pills.append(named["class"] or "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"[ \n]+", " ", " ".join(self.words))


def document(facts: SiteFacts, **policy_changes: object) -> Document:
    return build(facts, policy(**policy_changes), "2026-03", NOW)


def page(facts: SiteFacts, **policy_changes: object) -> Page:
    return Page(render(document(facts, **policy_changes)))


def test_the_page_is_self_contained_and_well_formed_in_both_languages() -> None:
    for language in ("en", "fr"):
        text = render(document(documented(), language=language))
        assert f'<html lang="{language}">' in text
        assert (
            "http://" not in text
            and "https://" not in text
            and "url(" not in text
            and "@import" not in text
        )
        assert Page(text).text


def test_the_first_words_are_the_verdict_and_the_count_that_explains_it() -> None:
    text = page(documented()).text
    assert (
        text.index("Not compliant")
        < text.index("0 of 11 guests have been restored and checked in time")
        < text.index("Guests and")
    )
    good = page(put_right()).text
    assert "Compliant" in good and "Not compliant" not in good


def test_law_5_an_unproven_guest_is_never_green() -> None:
    shown = page(documented())
    assert (
        "not proven" in shown.text
        and "pill met" not in shown.pills
        and "pill proven" not in shown.pills
    )
    tried = page(
        changed(documented(), 108, proofs=(proof(108, NIGHTS[-1], verdict=Verdict.INCONCLUSIVE),))
    )
    assert "pill inconclusive" in tried.pills and "pill proven" not in tried.pills


def test_what_is_proven_no_further_than_booted_says_its_rung_in_the_page_and_in_the_json() -> None:
    tiers = {name: replace(tier, proof_rung=Rung.BOOTED) for name, tier in policy().tiers.items()}
    guests = {**policy().guests, 101: replace(policy().guests[101], checks=())}
    facts = changed(put_right(), 101, proofs=(replace(proof(101, NIGHTS[-1]), rung=Rung.BOOTED),))
    shown = page(facts, tiers=tiers, guests=guests).text
    assert re.search(r"ago Rung: booted", shown) and "Proven when" in shown
    assert (
        "Nothing asks the service of: 101 Windows-Client. Where they are proven, that means that "
        "their copies boot" in shown
    )
    told = {
        guest["vmid"]: guest["proof_rung"]
        for guest in status(document(facts, tiers=tiers, guests=guests))["guests"]
    }
    assert (told[101], told[102]) == ("booted", "healthy")
    assert "Rung: booted" not in page(put_right()).text


def test_a_guest_whose_service_nobody_asks_is_among_what_was_not_tested() -> None:
    guests = {**policy().guests, 101: replace(policy().guests[101], checks=())}
    assert (
        "Nothing asks the service of: 101 Windows-Client. Their copies can boot at most"
        in page(put_right(), guests=guests).text
    )


def test_law_5_simulated_data_bear_a_banner_and_are_never_compliant() -> None:
    shown = page(replace(put_right(), simulated=True))
    assert (
        "SIMULATED DATA" in shown.text
        and "Not compliant" in shown.text
        and "pill met" not in shown.pills
    )
    assert "SIMULATED DATA" not in page(put_right()).text


def test_names_from_the_cluster_cannot_inject_markup() -> None:
    evil = "<script>alert(1)</script>"
    facts = changed(
        documented(),
        108,
        name=evil,
        proofs=(proof(108, NIGHTS[-1], reason=evil, verdict=Verdict.FAILED),),
    )
    text = render(document(replace(facts, cluster=evil, gaps=(Gap("clock", evil, evil),))))
    assert "<script" not in text and "&lt;script&gt;" in text
    Page(text)


def test_failed_and_inconclusive_tests_exemptions_and_gaps_stand_in_the_report() -> None:
    tests = (
        proof(108, NIGHTS[0], verdict=Verdict.FAILED, reason="no sign of life"),
        proof(108, NIGHTS[1], verdict=Verdict.INCONCLUSIVE, reason="the probe did not answer"),
    )
    facts = replace(
        changed(documented(), 108, proofs=tests),
        gaps=(Gap("ha", "", "Permission check failed (/, Sys.Audit)"),),
    )
    exemption = Exemption("guest-agent-missing", 108, "M. Dupont", "agent planned", "2026-06-30")
    text = page(facts, exemptions=(exemption,)).text
    for words in (
        "no sign of life",
        "the probe did not answer",
        "M. Dupont",
        "agent planned",
        "Permission check failed",
        "What could not",
    ):
        assert words in text


def test_the_french_page_is_french_down_to_its_spaces() -> None:
    text = page(documented(), language="fr").text
    for words in (
        "Non conforme",
        "mars 2026",
        "Invités et objectifs",
        "Constats",
        "Limites\u00a0: ce qui n'a pas été testé",
        "À faire en premier",
    ):
        assert words in text
    assert not re.search(r" [;!?%]", text) and not re.search(r"\w :\s", text)
    assert "Findings" not in text and "breached" not in text


def test_a_report_with_gaps_says_so_on_its_first_page_even_when_compliant() -> None:
    text = page(replace(put_right(), gaps=(Gap("ha", "", "403"),))).text
    assert text.index("Not everything could be read (1)") < text.index(
        "Guests and their objectives"
    )
    assert "Not everything" not in page(put_right()).text


def test_a_bar_shows_the_share_of_the_objective_and_nothing_when_nothing_was_measured() -> None:
    def objective(measured: float | None) -> Objective:
        return Objective("rpo", 100.0, measured, Status.MET, "")

    assert bar(objective(75.0)) == (50.0, 66.7)
    assert bar(objective(100_000.0)) == (100.0, 66.7)
    assert bar(objective(0.0)) == (2.0, 66.7)
    assert bar(objective(None)) is None and bar(None) is None


def test_both_files_are_written_into_a_directory_that_is_made(tmp_path: Path) -> None:
    paths = write_report(document(put_right()), tmp_path / "a" / "b", "fr")
    assert [path.name for path in paths] == ["pra-2026-03.html", "pra-2026-03.json"]
    value = stdlib_json.loads(paths[1].read_text(encoding="utf-8"))
    assert (
        value["status"] == "compliant" and value["language"] == "fr" and value["month"] == "2026-03"
    )
    assert value["totals"]["proven_in_time"] == 11
    assert 'lang="fr"' in paths[0].read_text(encoding="utf-8")
    assert sorted(item.name for item in paths[0].parent.iterdir()) == [
        "pra-2026-03.html",
        "pra-2026-03.json",
    ]


def test_a_report_replaces_the_one_before_and_a_failed_one_leaves_it_alone(tmp_path: Path) -> None:
    first = write_report(document(put_right()), tmp_path, "en")
    again = write_report(document(documented()), tmp_path, "en")
    assert first == again and "Not compliant" in first[0].read_text(encoding="utf-8")
    with pytest.raises(UsageError):
        write_report(document(put_right()), tmp_path, "de")
    assert "Not compliant" in first[0].read_text(encoding="utf-8")


def test_a_directory_that_cannot_be_written_is_wrong_usage_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UsageError, match="file"):
        write_report(document(put_right()), tmp_path / "file", "en")


def test_a_year_of_a_large_site_is_rendered_without_losing_a_test(tmp_path: Path) -> None:
    one = put_right().guests[0]
    many = tuple(
        replace(
            one, vmid=1000 + number, proofs=tuple(proof(1000 + number, night) for night in NIGHTS)
        )
        for number in range(200)
    )
    paths = write_report(document(replace(put_right(), guests=many)), tmp_path, "en")
    assert len(stdlib_json.loads(paths[1].read_text(encoding="utf-8"))["proofs"]) == 600


def test_a_hostile_text_neither_acts_nor_hides_in_the_files(tmp_path: Path) -> None:
    bad = "web\x1b[31m\u202egpj\u200b\x9b\udcff<script>alert(1)</script>"
    facts = changed(
        documented(),
        108,
        name=bad,
        proofs=(proof(108, NIGHTS[-1], verdict=Verdict.FAILED, reason=bad),),
    )
    html, data = write_report(document(facts), tmp_path, "en")
    page = html.read_text(encoding="utf-8")
    assert not [
        c
        for c in page + data.read_text(encoding="utf-8")
        if unicodedata.category(c) in ("Cc", "Cf", "Cs") and c != "\n"
    ]
    assert r"web\x1b[31m\u202egpj\u200b\x9b\udcff&lt;script&gt;" in page
    assert 'class="pill' in page, "our own markup is markup still"
    assert bad.replace("\udcff", "\ufffd") in [
        item["name"] for item in stdlib_json.loads(data.read_text(encoding="utf-8"))["guests"]
    ]
