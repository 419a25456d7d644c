"""With a pool for copies, what a failed restore leaves is in no pool: the reader is told which VM
to remove, and how.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from policies import role
from tests.commands import Shell
from tests.integration.root_shell import NODE, Root

pytestmark = pytest.mark.slow

VMID = 105
POLICY = """
site: pooled
timezone: Europe/Paris
scratch: {vmids: 9000-9009, bridge: vmbr9, storage: local-lvm, settle: 1s, pool: copies}
jobs: {nightly: {storage: local, guests: [105]}}
"""


def test_law_1_the_rest_of_a_failed_restore_in_no_pool_is_named_with_the_command_that_removes_it(
    site: Shell, tmp_path: Path
) -> None:
    root = Root(site.state)
    (tmp_path / "policy.yaml").write_text(POLICY)
    root("POST", "/pools", poolid="copies")
    root.gone()
    assert (
        root.paste(
            Shell(tmp_path, {"BACKUPSVC_POLICY": str(tmp_path / "policy.yaml")})(
                "doctor", "--role"
            ).out
        )
        == ""
    )
    saved = json.loads((site.state / "lab" / "settings.json").read_text(encoding="utf-8"))["pve"]
    pve = {
        "HOST": saved["host"],
        "CA_FILE": saved["ca_file"],
        "TOKEN": f"{role.USER}!service={root.secrets['service']}",
    }
    user = Shell(
        tmp_path,
        {"BACKUPSVC_POLICY": str(tmp_path / "policy.yaml")}
        | {f"BACKUPSVC_PVE__{name}": value for name, value in pve.items()},
    )
    made = user("backup", "run", "--json")
    assert made.code == 0, made.out
    site("lab", "fault", "archive-flip", made.json["guests"][0]["archive"]["volid"])
    answer = user("restore-test", VMID, "--json")
    assert 9000 in root.guests(), answer.out
    error = answer.json["error"]
    assert "VM 9000 on clovis is the empty rest of our failed restore" in error["message"], error
    assert "qm destroy 9000" in error["hint"]
    assert "ROLE" not in error["hint"] and "VM.Config" not in error["hint"]
    root.task("DELETE", f"/nodes/{NODE}/qemu/9000")
