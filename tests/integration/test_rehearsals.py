"""Bad days that no other test plays, on one lab with modelled guests (docs/rehearsals.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from policies.pve.guest_config import macs, smbios_uuid
from pvelab.accident import delete_guest
from tests.commands import Shell
from tests.disks import hash_disk
from tests.integration.root_shell import NODE, Root
from tests.rehearsed import Record, rehearsal

pytestmark = [pytest.mark.slow, pytest.mark.long(300)]
REUSED, FREE, LOST = 110, 210, 104


@pytest.fixture(scope="module")
def backed_up(site: Shell) -> Shell:
    for vmid in (REUSED, LOST):
        assert site("backup", "run", "--vmid", vmid, "--json").code == 0
    return site


def config(site: Shell, vmid: int) -> dict[str, str]:
    found: Any = Root(site.state)("GET", f"/nodes/{NODE}/qemu/{vmid}/config")
    return {key: str(value) for key, value in found.items()}


def disks(site: Shell, vmid: int) -> dict[str, str]:
    """The hashes of a guest's disks, by their number."""
    found = (site.state / "lab" / "nodes" / NODE / "dev" / "pve").glob(f"vm-{vmid}-disk-*")
    return {path.name.rpartition("-")[2]: hash_disk(path) for path in found}


def test_law_10_a_guest_whose_vmid_another_machine_has_by_now_comes_back_beside_it(
    backed_up: Shell, record_property: Record
) -> None:
    site, lab = backed_up, backed_up.state / "lab"
    was, held = config(site, REUSED), disks(site, REUSED)
    (archive,) = site("catalog", "list", "--vmid", REUSED, "--json").json["archives"]
    with rehearsal(record_property, "a reused VMID", lab, gone=(REUSED,)):
        delete_guest(lab, NODE, REUSED)
        new = {
            "name": "newcomer",
            "memory": 64,
            "scsi0": "local-lvm:1",
            "net0": "virtio,bridge=vmbr0",
        }
        Root(site.state).task("POST", f"/nodes/{NODE}/qemu", vmid=REUSED, **new)
        other, others = config(site, REUSED), disks(site, REUSED)
        over = site("restore", REUSED, "--yes", "--json")
        assert over.code == 4, over.out + over.err
        assert "an existing guest is never overwritten" in over.json["error"]["message"]
        words = ("--as", FREE, "--archive", archive["volid"], "--no-start", "--json")
        back = site("restore", REUSED, *words)
        assert back.code == 0, back.out + back.err
        assert (back.json["vmid"], back.json["original"]) == (FREE, REUSED)
    made = config(site, FREE)
    assert smbios_uuid(made) == smbios_uuid(was) and macs(made) == macs(was)
    assert disks(site, FREE) == held
    assert (config(site, REUSED), disks(site, REUSED)) == (other, others), "the newcomer"


def test_law_8_a_lost_guest_comes_back_with_an_empty_catalog_and_without_redis(
    backed_up: Shell, record_property: Record, tmp_path: Path
) -> None:
    site, lab = backed_up, backed_up.state / "lab"
    held = disks(site, LOST)
    catalog, broker = f"sqlite:///{tmp_path}/empty.db", "redis://127.0.0.1:1/0"
    anew = Shell(site.state, {"BACKUPSVC_CATALOG__URL": catalog, "BACKUPSVC_BROKER__URL": broker})
    with rehearsal(record_property, "an empty catalog, no Redis", lab, gone=(LOST,)):
        delete_guest(lab, NODE, LOST)
        back = anew("restore", LOST, "--yes", "--no-start", "--json")
        assert back.code == 0, back.out + back.err
    assert disks(site, LOST) == held
