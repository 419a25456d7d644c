"""Where a file lies, read from the kernel's own list of mounts."""

from __future__ import annotations

from pathlib import Path, PurePath

import pytest

from backupsvc.catalog.mounts import file_system, network_file_system

MOUNTS = r"""
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
30 22 0:26 / /home rw,relatime shared:5 - nfs4 server:/home rw,vers=4.2
31 30 254:1 / /home/local rw - xfs /dev/vdb rw
32 22 0:27 / /mnt/my\040share rw master:2 shared:7 - cifs //server/share rw
33 22 0:28 / /srv rw - autofs systemd-1 rw
34 33 0:29 / /srv rw - nfs server:/srv rw
""".strip()


@pytest.mark.parametrize(
    ("path", "type"),
    [
        ("/var/lib/backupsvc/catalog.db", "ext4"),
        ("/home/anna/.local/state/backupsvc/catalog.db", "nfs4"),
        ("/homely/catalog.db", "ext4"),
        ("/home/local/catalog.db", "xfs"),
        ("/mnt/my share/catalog.db", "cifs"),
        ("/srv/catalog.db", "nfs"),
    ],
)
def test_the_innermost_and_newest_mount_holds_the_file(path: str, type: str) -> None:
    assert file_system(PurePath(path), MOUNTS) == type


def test_a_file_of_this_machine_lies_on_no_network(tmp_path: Path) -> None:
    assert network_file_system(tmp_path / "not" / "yet" / "there") is None
