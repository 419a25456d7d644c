"""Commands that a hint prints are pasted into a shell, whatever the archive's own config calls its
bridge.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from backupsvc.operations.restore import rights as restore_rights
from backupsvc.settings import Settings


def test_a_bridge_of_an_archives_config_is_one_word_of_the_printed_command(tmp_path: Path) -> None:
    service: Any = SimpleNamespace(settings=Settings(state_dir=tmp_path))
    told = restore_rights.way_out(
        service, ["vmbr0", "vmbr1/10", "x;reboot"], ["local-lvm", "$(id)"]
    )
    assert (
        "`backupsvc doctor --role --restore vmbr0 --restore vmbr1/10 --restore 'x;reboot' " in told
    )
    assert "--disks local-lvm --disks '$(id)'`" in told
