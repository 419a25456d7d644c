"""``break-glass``: the service's machine burns, and a new one goes on from a bundle: on a lab with
modelled guests, with the catalog, the policy and every setting gone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from pyrage import x25519

from pvelab.accident import delete_guest
from tests.commands import Answer, Shell
from tests.integration.administrator import disable_pve_job
from tests.integration.conftest import LANGEO
from tests.rehearsed import Record, rehearsal

pytestmark = pytest.mark.slow
LOST = 105
KIT = x25519.Identity.generate()


@dataclass
class Burnt:
    """A site, and the bundle of its service that burnt; ``listed`` is what that listed."""

    site: Shell
    bundle: Path
    kit: Path
    listed: str


@pytest.fixture
def burnt(site: Shell, tmp_path: Path) -> Burnt:
    disable_pve_job(site.state)
    (tmp_path / "vault").mkdir()
    kit, policy = tmp_path / "kit.txt", tmp_path / "policy.yaml"
    kit.write_text(f"{KIT}\n", encoding="ascii")
    vault = {"kind": "directory", "path": str(tmp_path / "vault"), "encrypt": "age"}
    vault |= {"recipients": [str(KIT.to_public())]}  # type: ignore[dict-item]
    text = LANGEO.read_text(encoding="utf-8").replace(
        'schedule: "21:00"', 'schedule: "2038-01-01 21:00"'
    )
    policy.write_text(f"{text}\ncopies: {json.dumps({'vault': vault})}\n", encoding="utf-8")
    named = str(policy)
    assert site("backup", "run", "--vmid", LOST, BACKUPSVC_POLICY=named).code == 0
    listed = site("catalog", "list", "--json", BACKUPSVC_POLICY=named).out
    made = site("break-glass", "export", "--with-secrets", "--json", BACKUPSVC_POLICY=named)
    assert made.code == 0, made.out + made.err
    (one,) = made.json["bundles"]
    return Burnt(site, tmp_path / "vault" / one["file"], kit, listed)


def on_a_new_machine(environment: Path, home: Path, *words: str) -> Answer:
    """What a shell answers that knows nothing but the bundle's file of settings."""
    home.mkdir(exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BACKUPSVC_")}
    done = subprocess.run(
        [
            "sh",
            "-c",
            'set -a; . "$0"; set +a; exec "$@"',
            environment,
            sys.executable,
            "-m",
            "backupsvc",
            *words,
        ],
        env=kept | {"HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    return Answer(done.returncode, done.stdout, done.stderr)


def test_a_new_machine_with_the_kit_alone_knows_what_was_known_and_brings_the_lost_guest_back(
    burnt: Burnt, tmp_path: Path, record_property: Record
) -> None:
    lab = burnt.site.state / "lab"
    with rehearsal(record_property, "a fresh machine with a bundle", lab, gone=(LOST,)):
        opened = Shell(tmp_path / "nothing")(
            "break-glass", "open", burnt.bundle, tmp_path / "new", "--identity", burnt.kit, "--json"
        )
        assert opened.code == 0, opened.out + opened.err
        assert opened.json["missing"] == [], opened.json
        environment = Path(opened.json["environment"])
        delete_guest(burnt.site.state / "lab", "clovis", LOST)

        def new(*words: str) -> Answer:
            return on_a_new_machine(environment, tmp_path / "home", *words)

        listed = new("catalog", "list", "--json")
        known = {one["volid"]: one["sha256"] for one in json.loads(burnt.listed)["archives"]}
        assert {one["volid"]: one["sha256"] for one in listed.json["archives"]} == known
        shown = new("catalog", "config", "show", "latest", f"guests/qemu-{LOST}.conf")
        assert shown.code == 0 and "scsi0" in shown.out, shown.err
        back = new("restore", str(LOST), "--yes", "--no-start")
        assert back.code == 0, back.out + back.err
        there = burnt.site("restore", LOST, "--dry-run")
        assert there.code == 4 and "exists on clovis" in there.err


def test_the_service_shows_that_its_catalog_could_be_had_again_and_tells_where_it_could_not(
    burnt: Burnt,
) -> None:
    site = Shell(burnt.site.state, {"BACKUPSVC_POLICY": str(burnt.kit.with_name("policy.yaml"))})
    made = site("catalog", "backup", "--json")
    assert made.code == 0, made.err
    assert "Nobody has shown" in site("pra", "status").out
    sealed = site("break-glass", "rehearse", "--json")
    assert sealed.code == 0, sealed.out + sealed.err
    assert {one["state"] for one in sealed.json["trials"]} == {"sealed"}
    opened = site("break-glass", "rehearse", "--identity", burnt.kit, "--json")
    assert opened.code == 0, opened.out + opened.err
    assert {one["state"] for one in opened.json["trials"]} == {"compared"}
    assert all(", digest " in one["said"] for one in opened.json["trials"])
    found = site("pra", "status", "--json").json["findings"]
    assert "catalog-snapshot-unproven" not in {one["id"] for one in found}
    burnt.bundle.write_bytes(burnt.bundle.read_bytes()[:-1])
    bad = site("break-glass", "rehearse")
    assert bad.code == 1 and "altered" in bad.out, bad.out + bad.err
    assert "has other bytes than were written" in " ".join(site("pra", "status").out.split())
    dry = site("break-glass", "rehearse", "--dry-run")
    assert dry.code == 0 and "nothing was brought back" in dry.out


def test_without_this_service_a_person_reads_how_to_bring_it_back(
    burnt: Burnt, tmp_path: Path
) -> None:
    opened = Shell(tmp_path / "nothing")(
        "break-glass", "open", burnt.bundle, tmp_path / "new", "--identity", burnt.kit
    )
    assert opened.code == 0 and "ORDER.txt" in opened.out, opened.err
    order = (tmp_path / "new" / "ORDER.txt").read_text(encoding="utf-8")
    assert "SIMULATED" in order and f"{LOST} Kanboard-Server" in order
    (page,) = (tmp_path / "new" / "guests").glob(f"{LOST}-*")
    text = page.read_text(encoding="utf-8")
    assert f"qmrestore local:backup/vzdump-qemu-{LOST}-" in text and "on clovis:" in text


def test_law_7_no_secret_stands_in_a_bundle_unencrypted(burnt: Burnt, tmp_path: Path) -> None:
    saved = json.loads((burnt.site.state / "lab" / "settings.json").read_text(encoding="utf-8"))
    secret = saved["pve"]["token"].rpartition("=")[2]
    assert secret
    made = burnt.site("break-glass", "export", "--output", tmp_path, "--json")
    assert made.code == 0, made.out + made.err
    opened = Shell(tmp_path / "nothing")(
        "break-glass",
        "open",
        tmp_path / made.json["bundles"][0]["file"],
        tmp_path / "new",
        "--json",
    )
    assert opened.code == 0, opened.err
    assert "BACKUPSVC_PVE__TOKEN" in opened.json["missing"]
    for path in (tmp_path / "new").rglob("*"):
        assert not path.is_file() or secret.encode() not in path.read_bytes(), path


def test_a_bundle_is_tried_without_leaving_anything(burnt: Burnt, tmp_path: Path) -> None:
    tried = Shell(tmp_path / "nothing")(
        "break-glass", "open", burnt.bundle, tmp_path / "deep" / "new", "--identity", burnt.kit,
        "--dry-run",
    )  # fmt: skip
    assert tried.code == 0 and "which was not made" in tried.out, tried.err
    assert list((tmp_path / "deep").iterdir()) == []
    cut = tmp_path / "cut.tar.zst.age"
    cut.write_bytes(burnt.bundle.read_bytes()[:-40])
    bad = Shell(tmp_path / "nothing")(
        "break-glass", "open", cut, tmp_path / "deep" / "new", "--identity", burnt.kit, "--dry-run"
    )
    assert bad.code == 1 and "take another day's" in bad.err, bad.err
    assert list((tmp_path / "deep").iterdir()) == []


def test_secrets_need_somebody_to_encrypt_them_to(site: Shell, tmp_path: Path) -> None:
    answer = site("break-glass", "export", "--output", tmp_path, "--with-secrets")
    assert answer.code == 2 and "names no recipients" in answer.err
    assert list(tmp_path.iterdir()) == []
    planned = site("break-glass", "export", "--output", tmp_path, "--dry-run", "--json")
    assert planned.code == 0 and planned.json["bundles"][0]["state"] == "planned"
