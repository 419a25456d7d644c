"""A rule and its cases, as they are unless a finding says otherwise."""

from __future__ import annotations

from policies.compliance.facts import GuestFacts
from policies.compliance.rule import Rule, Seen, about
from policies.model import Severity

GUEST = GuestFacts(104, "web", None)


def test_a_case_waits_for_no_node_unless_it_says_so() -> None:
    assert Seen("clovis").waits is False
    assert about(GUEST).waits is False
    assert about(GUEST, waits=True).waits is True
    assert (about(GUEST, "form", of=1).form, about(GUEST).subject) == ("form", "104 web")


def test_a_finding_may_be_accepted_unless_it_says_otherwise() -> None:
    rule = Rule("some-finding", Severity.WARNING, lambda facts, policy, now: ())
    assert rule.exemptable is True
    assert (rule.key(""), rule.key("form")) == ("some-finding", "some-finding.form")
    assert rule.severity_of("form") is Severity.WARNING
