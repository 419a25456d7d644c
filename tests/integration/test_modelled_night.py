"""The whole night over real HTTP against modelled guests: every command's contract, and the laws
where they bite.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, select

from backupsvc.catalog import Catalog
from backupsvc.catalog.tables import METADATA
from tests.commands import Shell
from tests.postgres import ON_BOTH

pytestmark = [pytest.mark.slow, ON_BOTH]


def catalog_of(site: Shell) -> str:
    """The URL of a site's catalog."""
    return site.env.get("BACKUPSVC_CATALOG__URL", f"sqlite:///{site.state}/lab/catalog.db")


def rows_of(site: Shell) -> str:
    """Every row of a site's catalog, as text."""
    engine = create_engine(catalog_of(site))
    with engine.connect() as connection:
        rows = [
            str(row)
            for table in METADATA.sorted_tables
            for row in connection.execute(select(table))
        ]
    engine.dispose()
    assert rows
    return "\n".join(rows)


@pytest.fixture(scope="module")
def night(site: Shell) -> Any:
    """The nightly job, run once."""
    answer = site("backup", "run", "--json")
    assert answer.code == 0, answer.out + answer.err
    return answer.json


def test_eleven_guests_are_backed_up_and_every_archive_is_read_back(night: Any) -> None:
    assert [guest["vmid"] for guest in night["guests"]] == list(range(100, 111))
    for guest in night["guests"]:
        assert guest["status"] == "ok"
        assert guest["archive"]["size"] > 0
        assert guest["archive"]["name"] == guest["name"]


def test_archives_are_verified_over_ssh_after_the_backup(night: Any) -> None:
    assert {guest["verified"] for guest in night["guests"]} == {True}
    assert {guest["archive"]["rung"] for guest in night["guests"]} == {"intact"}


def test_the_catalog_lists_every_archive_with_the_keys_of_the_contract(
    site: Shell, night: Any
) -> None:
    archives = site("catalog", "list", "--json").json["archives"]
    assert {archive["vmid"] for archive in archives} >= set(range(100, 111))
    for archive in archives:
        assert {
            "volid",
            "node",
            "storage",
            "vmid",
            "name",
            "ctime",
            "size",
            "rung",
            "protected",
        } <= set(archive)


def test_a_guest_that_is_not_there_is_an_absence_and_not_silence(site: Shell, night: Any) -> None:
    answer = site("backup", "run", "--vmid", 4711, "--json")
    assert answer.code == 1
    assert answer.json["guests"][0]["status"] == "failed"
    assert "guest 4711 is not in the cluster" in answer.json["guests"][0]["error"]


def test_law_5_a_modelled_guest_is_never_proven(site: Shell, night: Any) -> None:
    answer = site("restore-test", 101, "--json")
    assert answer.code == 1
    assert answer.json["verdict"] == "simulated"
    archives = site("catalog", "list", "--vmid", 101, "--json").json["archives"]
    assert all(archive["proven_at"] is None for archive in archives)


@pytest.mark.parametrize(
    "words",
    ["catalog list", "operations list", "pra status", "prune --dry-run", "backup run --dry-run"],
)
def test_law_5_every_screen_over_modelled_guests_says_so(
    site: Shell, night: Any, words: str
) -> None:
    assert site(*words.split()).err.startswith("SIMULATED")


def test_a_restore_test_leaves_no_guest_no_disk_and_no_lease(site: Shell, night: Any) -> None:
    answer = site("restore-test", 108, "--json").json
    assert [stage["name"] for stage in answer["stages"]][-2:] == ["tear-down", "judge"]
    assert answer["scratch"]["vmid"] in range(9000, 9100)
    with Catalog.open(catalog_of(site)) as catalog:
        assert catalog.leases.holders() == {}


def test_a_restore_test_keeps_what_was_stripped_and_what_was_asserted(
    site: Shell, night: Any
) -> None:
    isolation = site("restore-test", 108, "--json").json["isolation"]
    assert "net0: bridge vmbr0 became vmbr9" in isolation["stripped"]
    assert all(sentence.startswith("holds: ") for sentence in isolation["asserted"])
    assert any(
        "every NIC is on the isolated bridge vmbr9" in sentence
        for sentence in isolation["asserted"]
    )


def test_an_existing_guest_is_never_restored_over(site: Shell, night: Any) -> None:
    answer = site("restore", 105, "--json")
    assert answer.code == 4
    assert "guest 105 (Kanboard-Server) exists on clovis" in answer.json["error"]["message"]
    assert "backupsvc restore-test 105" in answer.json["error"]["hint"]


def test_prune_shows_every_archive_with_its_mark_and_reasons(site: Shell, night: Any) -> None:
    answer = site("prune", "--dry-run", "--json")
    assert answer.code == 0
    listed = site("catalog", "list", "--json").json["archives"]
    assert {item["volid"] for item in answer.json["archives"]} == {item["volid"] for item in listed}
    assert all(
        item["mark"] in ("keep", "remove", "protected", "renamed") and item["reasons"]
        for item in answer.json["archives"]
    )


def test_the_seven_findings_of_the_reference_site_are_found(site: Shell, night: Any) -> None:
    answer = site("pra", "status", "--json")
    assert answer.code == 1
    found = {finding["id"] for finding in answer.json["findings"]}
    assert found >= {
        "archives-on-guest-node",
        "job-pinned-to-node",
        "quorum-two-votes",
        "clock-drift",
        "guest-agent-missing",
        "never-proven",
    }
    assert {guest["vmid"] for guest in answer.json["guests"]} >= set(range(100, 111))


def test_the_report_is_written_as_html_and_json(site: Shell, night: Any, tmp_path: Path) -> None:
    answer = site("pra", "report", "--output", tmp_path)
    assert answer.code == 0, answer.err
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".html", ".json"]
    json.loads(next(tmp_path.glob("*.json")).read_text(encoding="utf-8"))


def test_an_archive_that_vanished_stops_the_prune_until_it_is_accepted(
    site: Shell, night: Any
) -> None:
    extra = site("backup", "run", "--vmid", 110, "--json").json["guests"][0]["archive"]
    dump = next((site.state / "lab").rglob(extra["volid"].split("/")[-1]))
    dump.unlink()
    refused = site("prune", "--dry-run", "--json")
    assert refused.code == 4
    assert "no longer listed" in refused.json["error"]["message"]
    assert site("catalog", "sync", "--json").json["gone"][0]["volid"] == extra["volid"]
    assert site("prune", "--dry-run", "--json").code == 0


def test_a_corrupt_archive_is_a_verdict_and_not_a_crash(site: Shell, night: Any) -> None:
    made = site("backup", "run", "--vmid", 109, "--json").json["guests"][0]["archive"]
    dump = next((site.state / "lab").rglob(made["volid"].split("/")[-1]))
    content = bytearray(dump.read_bytes())
    content[len(content) // 2] ^= 0x10
    dump.write_bytes(content)
    answer = site("restore-test", 109, "--json")
    assert answer.code == 1
    assert answer.json["verdict"] in ("failed", "simulated")
    assert answer.json["error"]["step"] in ("choose", "restore")
    guests = site("operations", "show", answer.json["operation"], "--json").json
    assert guests["state"] == "done"
    verified = site("archive", "verify", dump, "--json")
    assert verified.code == 1
    assert verified.json["archives"][0]["problems"]


def test_operations_show_every_transition_with_its_upid(site: Shell, night: Any) -> None:
    id = night["guests"][0]["operation"]
    shown = site("operations", "show", id, "--json").json
    assert ("dump", "intent") in [(row["step"], row["event"]) for row in shown["transitions"]]
    assert any(row["upid"] for row in shown["transitions"])
    assert id in site("operations", "list").out


def test_law_7_no_secret_is_in_any_answer_or_in_the_catalog(site: Shell, night: Any) -> None:
    saved = json.loads((site.state / "lab" / "settings.json").read_text(encoding="utf-8"))
    secrets = [saved["pve"][name].split("=", 1)[1] for name in ("token", "restore_token")]
    answers = [
        site("operations", "list"),
        site("catalog", "list"),
        site("pra", "status", "--json"),
        site("policy", "show"),
    ]
    said = "".join(answer.out + answer.err for answer in answers)
    stored = (
        b"".join(path.read_bytes() for path in (site.state / "lab").glob("catalog.db*"))
        + rows_of(site).encode()
    )
    for secret in secrets:
        assert secret not in said
        assert secret.encode() not in stored
