"""``backupsvc pra`` over a real catalog and a cluster that answers by script: its JSON, its exit
codes, its files.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from backupsvc import bootstrap
from backupsvc.catalog import Catalog
from backupsvc.cli.pra import app
from backupsvc.errors import PvePermissionDenied, UsageError
from backupsvc.pve.cluster import ClusterStatus
from policies.model import Policy, Rung, Verdict
from tests.catalogs import new_catalog
from tests.fakes.clock import StoppedClock
from tests.unit.report.langeo import NAMES, NIGHTS, NOW, SEVEN, archive, policy, proof
from tests.unit.report.worlds import World, served


class Site:
    """A world, a catalog and a policy behind ``open_service``."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog, self.world, self.policy = catalog, World(), policy()

    @contextmanager
    def service(self, **_: Any) -> Iterator[Any]:
        yield SimpleNamespace(
            pve=served(self.world),
            catalog=self.catalog,
            policy=self.policy,
            clock=StoppedClock(NOW),
            settings=SimpleNamespace(simulated=False),
        )

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(app, list(arguments))

    def heal(self) -> None:
        """Everything that the findings of the reference site ask for."""
        world = self.world
        world.archive_list = [
            archive(vmid, night, node)
            for vmid in NAMES
            for night in NIGHTS
            for node in ("clovis", "lge-pve02")
        ]
        world.configs[108]["agent"] = "1"
        world.job_list, world.offsets = [], {"clovis": 0.0, "lge-pve02": 0.4}
        world.status_answer = ClusterStatus(
            "langeo", True, (*world.status_answer.nodes, world.status_answer.nodes[0])
        )
        world.refuse = {"ha": PvePermissionDenied("Permission check failed (/, Sys.Audit)")}
        self.catalog.archives.observe(world.archive_list, scope=[], at=NIGHTS[-1] + 60)
        for vmid in NAMES:
            self.catalog.proofs.record(proof(vmid, NIGHTS[-1]))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with Catalog.open(new_catalog(tmp_path)) as catalog:
        made = Site(catalog)
        monkeypatch.setattr(bootstrap, "open_service", made.service)
        yield made


def test_the_status_of_the_reference_site_has_all_seven_findings_and_exits_1(
    site: Site,
) -> None:
    del site.world.network[1]
    result = site.run("status", "--json")
    value = json.loads(result.stdout)
    assert result.exit_code == 1
    assert {item["id"] for item in value["findings"]} >= SEVEN
    assert [item["vmid"] for item in value["guests"]] == list(NAMES)
    assert value["site"] == "langeo" and value["gaps"] == []


def test_a_site_put_right_exits_0_and_says_what_is_not_known(site: Site) -> None:
    site.heal()
    result = site.run("status", "--json")
    value = json.loads(result.stdout)
    assert (result.exit_code, value["findings"], value["status"]) == (0, [], "compliant")
    assert value["gaps"][0]["reason"] == "Permission check failed (/, Sys.Audit)"


def test_in_a_pipe_the_status_is_plain_lines_with_each_finding_once(site: Site) -> None:
    result = site.run("status")
    assert result.exit_code == 1 and "\x1b" not in result.stdout
    assert "langeo: not compliant" in result.stdout
    assert result.stdout.count("critical: never-proven:") == 1
    assert "  -> Run backupsvc restore-test VMID." in result.stdout


def test_the_status_speaks_french_when_asked_and_no_third_language(site: Site) -> None:
    assert "Lancer backupsvc restore-test VMID" in site.run("status", "--language", "fr").stdout
    site.world.calls.clear()
    refused = site.run("status", "--language", "de")
    assert isinstance(refused.exception, UsageError) and site.world.calls == []


def test_a_simulated_cluster_is_said_to_be_one_on_the_first_line(site: Site) -> None:
    from backupsvc.pve.cluster import Version

    site.heal()
    site.world.version_answer = Version("9.2", "9.2.11", simulated=True)
    result = site.run("status")
    assert result.exit_code == 1 and result.stdout.startswith("SIMULATED")


def test_the_report_is_written_in_the_policys_language_and_its_paths_are_printed(
    site: Site, tmp_path: Path
) -> None:
    site.policy = policy(language="fr")
    result = site.run("report", "--month", "2026-03", "--output", str(tmp_path / "out"))
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        str(tmp_path / "out" / f"pra-2026-03.{kind}") for kind in ("html", "json")
    ]
    assert "Non conforme" in (tmp_path / "out" / "pra-2026-03.html").read_text(encoding="utf-8")


def test_check_turns_the_reports_verdict_into_the_exit_code(site: Site, tmp_path: Path) -> None:
    arguments = ("report", "--output", str(tmp_path), "--check", "--language", "en", "--json")
    bad = site.run(*arguments)
    assert bad.exit_code == 1 and json.loads(bad.stdout)["status"] == "not-compliant"
    site.heal()
    good = site.run(*arguments)
    assert good.exit_code == 0 and json.loads(good.stdout)["month"] == "2026-03"


@pytest.mark.parametrize("month", ["2026-13", "2027-01", "march"])
def test_a_wrong_month_is_refused_before_the_cluster_is_asked(
    site: Site, tmp_path: Path, month: str
) -> None:
    result = site.run("report", "--month", month, "--output", str(tmp_path / "out"))
    assert isinstance(result.exception, UsageError) and result.exception.exit_code == 2
    assert site.world.calls == [] and not (tmp_path / "out").exists()


def test_an_error_of_the_policy_reaches_the_command_line_unchanged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Broken:
        settings = SimpleNamespace(simulated=False)

        @property
        def policy(self) -> Policy:
            raise UsageError("no policy is configured", "set BACKUPSVC_POLICY")

    @contextmanager
    def opened(**_: Any) -> Iterator[Any]:
        yield Broken()

    monkeypatch.setattr(bootstrap, "open_service", opened)
    result = CliRunner().invoke(app, ["status"])
    assert (
        isinstance(result.exception, UsageError)
        and result.exception.message == "no policy is configured"
    )


def test_the_status_says_of_what_is_proven_no_further_than_booted_that_it_is(site: Site) -> None:
    site.heal()
    assert "(booted)" not in site.run("status").stdout
    tiers = {name: replace(tier, proof_rung=Rung.BOOTED) for name, tier in policy().tiers.items()}
    site.policy = policy(tiers=tiers)
    site.catalog.proofs.record(
        replace(proof(101, NIGHTS[-1], ended=NIGHTS[-1] + 3 * 3600), rung=Rung.BOOTED)
    )
    shown = site.run("status").stdout
    assert [line.split()[0] for line in shown.splitlines() if "(booted)" in line] == ["101"]


def test_what_is_not_met_is_told_with_its_reason_breaches_first(site: Site) -> None:
    site.heal()
    night = NIGHTS[-1]
    site.catalog.proofs.record(
        proof(101, night, ended=night + 3 * 3600, verdict=Verdict.FAILED, reason="http: 500")
    )
    site.catalog.proofs.record(
        proof(102, night, ended=night + 3 * 3600, verdict=Verdict.FAILED, reason="ssh: refused")
    )
    shown = site.run("status").stdout
    breaches = [line for line in shown.splitlines() if line.startswith("breached: ")]
    assert (
        "breached: Proof: never proven; the latest restore test ended failed: http: 500: 101 "
        "Windows-Client"
        in breaches
        or any("http: 500" in line and line.endswith(": 101 Windows-Client") for line in breaches)
    )
    assert any(
        "ssh: refused" in line and line.endswith(": 102 Windows-Server") for line in breaches
    )
    told = [
        line.partition(":")[0]
        for line in shown.splitlines()
        if line.startswith(("breached: ", "unknown: "))
    ]
    assert told == sorted(told), "breaches come first"


def test_a_reason_that_many_guests_share_is_told_once_with_all_of_them(site: Site) -> None:
    shown = site.run("status").stdout
    line = next(line for line in shown.splitlines() if line.startswith("unknown: RTO: "))
    assert all(f"{vmid} {name}" in line for vmid, name in NAMES.items())


def test_a_finding_of_many_guests_names_each_ones_own_cause(site: Site) -> None:
    for vmid, reason in ((101, "http: answers 500"), (102, "the copy showed no sign of life")):
        site.catalog.proofs.record(
            proof(vmid, NIGHTS[-1], verdict=Verdict.INCONCLUSIVE, reason=reason)
        )
    shown = site.run("status").stdout
    assert any(
        "101 Windows-Client: " in line and "http: answers 500" in line
        for line in shown.splitlines()
    )
    assert any(
        "102 Windows-Server: " in line and "no sign of life" in line for line in shown.splitlines()
    )
    assert (
        "Remove the cause that its latest restore test names" in shown
        and "named above" not in shown
    )
