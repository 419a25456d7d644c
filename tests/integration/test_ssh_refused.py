"""Another machine at a node's SSH address: the command says so at once and ends with 4; it is no
outage that might pass.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.commands import Shell
from tests.unit.remote.sshd import keygen

pytestmark = pytest.mark.slow


@pytest.fixture
def strangers(site: Shell, tmp_path: Path) -> Path:
    """A known_hosts file that holds another key than each node shows."""
    ssh = json.loads((site.state / "lab" / "settings.json").read_text(encoding="utf-8"))["ssh"]
    key = keygen(tmp_path / "another")
    lines = [
        f"[{host}]:{port} {key}"
        for host, _, port in (address.rpartition(":") for address in ssh["nodes"].values())
    ]
    path = tmp_path / "known_hosts"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_a_backup_that_is_to_be_read_from_another_machine_is_refused_without_waiting(
    site: Shell, policy: Path, strangers: Path
) -> None:
    answer = site(
        "backup",
        "run",
        "--json",
        BACKUPSVC_POLICY=str(policy),
        BACKUPSVC_SSH__KNOWN_HOSTS=str(strangers),
    )
    assert answer.code == 4, answer.out + answer.err
    assert (
        "shows the ssh-ed25519 host key SHA256:" in answer.out and "known is SHA256:" in answer.out
    )
    assert f"{strangers} (BACKUPSVC_SSH__KNOWN_HOSTS)" in answer.out
    for row in site("operations", "list", "--json").json["operations"]:
        assert '"retry"' not in site("operations", "show", row["id"], "--json").out


def test_doctor_names_the_node_both_fingerprints_and_the_setting(
    site: Shell, policy: Path, strangers: Path
) -> None:
    answer = site("doctor", BACKUPSVC_POLICY=str(policy), BACKUPSVC_SSH__KNOWN_HOSTS=str(strangers))
    assert answer.code == 4, answer.out + answer.err
    assert (
        "node clovis (" in answer.out
        and "another machine may answer; nothing was sent" in " ".join(answer.out.split())
    )
    assert "StrictHostKeyChecking" not in answer.out
