"""A site like the recorded server: one node, one directory storage, one guest with an agent, KVM
off, a minimal token.

The shipped short policy must be enough, and nothing that only the reference lab has may be needed.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from pvelab import certificates, power, seed
from pvelab.guests.power import switch_off
from pvelab.hypervisors import QemuPlatform
from pvelab.images.site import GUESTS
from pvelab.kernel import Bridge, Lab, StorageDef
from pvelab.serving import ApiServer
from tests.commands import Shell, briefly

pytestmark = pytest.mark.lab

SMALL = Path(__file__).parents[3] / "policies" / "sites" / "small.yaml"
VMID, TOKEN = 200, "svc@pve!drill"
# Without any one of these something of the drill fails on a real server (pve-facts 11.2).
MINIMAL = {
    "/vms": (
        "VM.Audit VM.Backup VM.Allocate VM.PowerMgmt VM.Config.Network VM.Config.Options "
        "VM.Config.CPU VM.Config.Memory VM.GuestAgent.Audit"
    ),
    "/storage/local": "Datastore.AllocateSpace",
    "/sdn/zones/localnetwork/vmbr1": "SDN.Use",
    "/": "Sys.Audit",
}
EVERYTHING = ("images", "rootdir", "backup", "iso", "vztmpl", "snippets")


def definition() -> dict[str, Any]:
    """One node that is no cluster."""
    return {
        "cluster": "standalone node",
        "tz": "Europe/Paris",
        "auth_delay": 0.0,
        "nodes": [{"name": "pve", "id": 1, "ip": "10.99.0.1", "drift": 0, "memory": 24 * 1024**3}],
        "storages": [
            asdict(StorageDef("local", "dir", EVERYTHING, options={"prune-backups": "keep-all=1"}))
        ],
        "bridges": [asdict(Bridge("vmbr0", ("eno1",), "10.99.0.1/24")), asdict(Bridge("vmbr1"))],
    }


def seed_rights(lab: Lab) -> None:
    """One user and its token, with privilege separation and the minimal role, and root for the
    test's own hand.
    """
    access = lab.access
    access.key = uuid.uuid4().hex
    access.users["svc@pve"] = {"enable": 1, "expire": 0}
    access.tokens[TOKEN] = {"expire": 0, "privsep": 1, "secret": str(uuid.uuid4())}
    access.tokens[seed.ROOT_TOKEN] = {"expire": 0, "privsep": 0, "secret": str(uuid.uuid4())}
    for number, (path, privileges) in enumerate(MINIMAL.items()):
        access.roles[f"Drill{number}"] = privileges.split()
        for kind, ugid in (("user", "svc@pve"), ("token", TOKEN)):
            access.acl.append(
                {
                    "path": path,
                    "type": kind,
                    "ugid": ugid,
                    "roleid": f"Drill{number}",
                    "propagate": 1,
                }
            )
    access.save()


def seed_guest(lab: Lab, platform: QemuPlatform) -> None:
    """One Linux guest on the directory storage, KVM off, as the recorded server had it."""
    guest = replace(
        next(item for item in GUESTS if item.vmid == 109),
        vmid=VMID,
        name="labguest",
        system="debian",
    )
    disk = lab.storage_dir("pve", "local") / "images" / str(VMID) / f"vm-{VMID}-disk-0.raw"
    disk.parent.mkdir(parents=True)
    platform.make_disks({guest: {"scsi0": disk}})
    config = seed.guest_config(guest, {}) | {
        "scsi0": f"local:{VMID}/{disk.name},size=64M",
        "kvm": "0",
        "serial0": "socket",
    }
    lab.guests.create("pve", VMID, config)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Lab, Shell]]:
    """The site, and a user who has nothing but the settings of the contract and the short
    policy.
    """
    home, run_dir = tmp_path_factory.mktemp("small"), seed.new_run_dir()
    platform = QemuPlatform(run_dir, lambda text: None)
    lab = seed.open_lab(home / "lab", platform, run_dir, definition())
    seed_rights(lab)
    seed_guest(lab, platform)
    certs = certificates.ensure(lab.etc, ["127.0.0.1", "localhost"])
    api = ApiServer(lab, certs)
    api.start()
    power.start_all(lab, lambda text: None)
    env = {
        "BACKUPSVC_PVE__HOST": f"127.0.0.1:{api.port}",
        "BACKUPSVC_PVE__TOKEN": seed.token(lab, TOKEN),
        "BACKUPSVC_PVE__FINGERPRINT": certs.fingerprint,
        "BACKUPSVC_POLICY": str(home / "small.yaml"),
    }
    (home / "small.yaml").write_text(briefly(SMALL.read_text(encoding="utf-8")), encoding="utf-8")
    yield lab, Shell(home / "state", env)
    api.stop()
    platform.close()
    shutil.rmtree(run_dir)


def test_a_first_backup_needs_nothing_but_the_settings_and_the_short_policy(
    small: tuple[Lab, Shell],
) -> None:
    _, shell = small
    answer = shell("backup", "run", "--vmid", VMID, "--json")
    assert answer.code == 0, answer.out + answer.err
    guest = answer.json["guests"][0]
    assert (guest["status"], guest["consistency"]) == ("ok", "frozen")
    assert guest["verified"] is None


def test_the_archive_is_proven_though_the_token_may_use_one_bridge_only(
    small: tuple[Lab, Shell],
) -> None:
    lab, shell = small
    answer = shell("restore-test", VMID, "--json")
    assert (answer.code, answer.json["verdict"], answer.json["rung"]) == (0, "proven", "booted"), (
        answer.out + answer.err
    )
    stripped = answer.json["isolation"]["stripped"]
    assert "net0: bridge vmbr0 became vmbr1" in stripped
    assert "net0: link taken down" in stripped
    assert not [vm.vmid for vm in lab.guests.all() if vm.vmid >= 9000]
    assert not list(lab.dir.rglob("vm-90*"))


def test_the_catalog_the_retention_and_the_report_answer_with_the_minimal_role(
    small: tuple[Lab, Shell], tmp_path: Path
) -> None:
    _, shell = small
    listed = shell("catalog", "list", "--json")
    assert (listed.code, listed.json["archives"][0]["rung"]) == (0, "booted")
    pruned = shell("prune", "--dry-run", "--json")
    assert (pruned.code, {item["mark"] for item in pruned.json["archives"]}) == (0, {"keep"})
    status = shell("pra", "status", "--json")
    assert [(guest["vmid"], guest["proof_rung"]) for guest in status.json["guests"]] == [
        (VMID, "booted")
    ]
    assert shell("pra", "report", "--output", tmp_path).code == 0


def test_an_archive_with_a_flipped_bit_fails_and_leaves_nothing(small: tuple[Lab, Shell]) -> None:
    lab, shell = small
    made = shell("backup", "run", "--vmid", VMID, "--json").json["guests"][0]["archive"]
    dump = next(lab.dir.rglob(made["volid"].split("/")[-1]))
    content = bytearray(dump.read_bytes())
    content[len(content) // 2] ^= 0x10
    dump.write_bytes(content)
    answer = shell("restore-test", VMID, "--json")
    assert (answer.code, answer.json["verdict"]) == (1, "failed"), answer.out
    assert answer.json["error"]["step"] == "restore"
    assert not [vm.vmid for vm in lab.guests.all() if vm.vmid >= 9000]
    older = shell(
        "restore-test",
        VMID,
        "--archive",
        shell("catalog", "list", "--json").json["archives"][-1]["volid"],
        "--json",
    )
    assert older.json["verdict"] == "proven"


def test_law_2_the_everyday_token_puts_no_guest_back_onto_production_and_leaves_nothing(
    small: tuple[Lab, Shell],
) -> None:
    lab, shell = small
    switch_off(lab, VMID)
    lab.guests.remove(VMID)
    answer = shell("restore", VMID, "--json")
    assert answer.code == 4
    assert "SDN.Use" in answer.json["error"]["message"]
    assert answer.json["error"]["hint"]
    assert lab.guests.get(VMID) is None
