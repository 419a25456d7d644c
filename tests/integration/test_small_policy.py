"""The shipped short policy on a fresh site: the printed role suffices for copies, links down, or
doctor says why not.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from policies import role
from tests.commands import Answer, Shell, briefly
from tests.integration.root_shell import NODE, Root

pytestmark = pytest.mark.slow

SMALL = Path(__file__).parents[2] / "policies" / "sites" / "small.yaml"
VMID = 104


@pytest.fixture(scope="module")
def root(site: Shell) -> Root:
    """A lab whose guest 104 has an archive."""
    admin = Root(site.state)
    admin.task("POST", f"/nodes/{NODE}/vzdump", vmid=VMID, storage="local", compress="zstd")
    return admin


@pytest.fixture
def shell(site: Shell, root: Root, tmp_path: Path) -> Shell:
    """A user with the short policy (disks of copies on the lab's own storage for disks) and the
    token of the printed role.
    """
    policy = tmp_path / "small.yaml"
    text = briefly(SMALL.read_text(encoding="utf-8"))
    text = re.sub(r"storage: local +# CHANGE: a storage for disks", "storage: local-lvm  #", text)
    assert "local-lvm" in text
    policy.write_text(text.replace("guests: all", f"guests: [{VMID}]"))
    return Shell(tmp_path, {"BACKUPSVC_POLICY": str(policy)})


def pasted(shell: Shell, site: Shell, root: Root, *words: str) -> Shell:
    """Give the role that is printed with these options, and return a user with the token of it."""
    root.gone()
    assert root.paste(shell("doctor", "--role", *words).out) == ""
    saved = json.loads((site.state / "lab" / "settings.json").read_text(encoding="utf-8"))["pve"]
    pve = {
        "HOST": saved["host"],
        "CA_FILE": saved["ca_file"],
        "TOKEN": f"{role.USER}!service={root.secrets['service']}",
    }
    return Shell(
        shell.state, shell.env | {f"BACKUPSVC_PVE__{name}": value for name, value in pve.items()}
    )


def bridge_lines(answer: Answer, status: str) -> list[Any]:
    return [
        line
        for line in answer.json["lines"]
        if line["name"] == "isolated bridge" and line["status"] == status
    ]


def test_law_2_the_printed_role_proves_a_guest_with_a_nic_link_down_on_a_bridge_of_its_own(
    site: Shell, shell: Shell, root: Root
) -> None:
    user = pasted(shell, site, root)
    doctor = user("doctor", "--json")
    assert (doctor.code, bridge_lines(doctor, "failed")) == (0, []), doctor.out
    answer = user("restore-test", VMID, "--json")
    assert answer.json["error"] is None, answer.out + answer.err
    stripped = " ".join(answer.json["isolation"]["stripped"])
    assert "bridge vmbr0 became vmbr9" in stripped and "link taken down" in stripped


def test_doctor_refuses_a_bridge_that_no_node_has_and_names_the_command(
    site: Shell, shell: Shell, root: Root
) -> None:
    user = pasted(shell, site, root, "--bridge", "vmbr77")
    doctor = user("doctor", "--json")
    (line,) = bridge_lines(doctor, "failed")
    assert doctor.code == 1
    assert "vmbr77" in line["detail"] and "clovis" in line["detail"]
    assert "pvesh create /nodes/NODE/network --iface vmbr77 --type bridge" in line["action"]


def test_law_2_a_token_without_a_bridge_is_refused_before_anything_is_restored_and_never_sent_to_production(
    site: Shell, shell: Shell, root: Root
) -> None:
    user = pasted(shell, site, root)
    for row in root("GET", "/access/acl"):
        if row["ugid"] == f"{role.USER}!service" and row["path"].startswith("/sdn"):
            root(
                "PUT",
                "/access/acl",
                path=row["path"],
                roles=row["roleid"],
                tokens=row["ugid"],
                delete=1,
            )
    doctor = user("doctor", "--json")
    (line,) = bridge_lines(doctor, "failed")
    assert doctor.code == 4 and "may use no bridge" in line["detail"]
    before = len(root("GET", f"/nodes/{NODE}/tasks"))
    dry = user("restore-test", VMID, "--dry-run", "--json")
    real = user("restore-test", VMID, "--json")
    assert real.code == 4, real.out + real.err
    for said in (line["action"], json.dumps(dry.json), json.dumps(real.json)):
        assert "pvesh create" in said
        assert "localnetwork/vmbr0" not in said
    assert len(root("GET", f"/nodes/{NODE}/tasks")) == before
    assert not [vmid for vmid in root.guests() if vmid >= 9000]
