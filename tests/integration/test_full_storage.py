"""A full storage as a reader meets it: said by ``doctor`` and ``backup run`` before, and named
first in what failed after.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest

from tests.commands import Answer, Shell
from tests.integration.root_shell import NODE, Root
from tests.rehearsed import Record, rehearsal

pytestmark = pytest.mark.slow

VMID = 104
POLICY = """
site: full
timezone: Europe/Paris
scratch: {vmids: 9000-9009, bridge: vmbr9, storage: local-lvm, settle: 1s}
jobs: {nightly: {storage: local, guests: [104]}}
"""


FULL = (
    "storage local on clovis has no room: SIZE free, the last archives of 1 guest(s) that it is "
    "to take again are SIZE"
)
FREE = (
    "free some, keep fewer archives (`backupsvc prune --dry-run` says what would go), or name "
    "another storage in the job"
)
DOCTOR = f"failed: room: {FULL}\n  -> {FREE}"
WARNED = f"backupsvc: WARNING: {FULL}; {FREE}"
BACKUP = (
    "104: backup of guest 104 on clovis left no archive on local: the target is full (zstd: error "
    "70 : Write error : "
    "cannot write block : No space left on device); PVE says of it: vma_queue_write: write error "
    "- Broken pipe\n"
    "  -> free space on the storage, or choose another one"
)
THIN = (
    "storage local-lvm on clovis has SIZE free, and the disks take SIZE there when full: only what "
    "is written is allocated, so the restore may fit, and the guest run out of room later; the "
    "archive alone is SIZE packed, so it will hardly fit; free some, or name another storage with "
    "--storage"
)
RESTORE = (
    "backupsvc: restoring guest 104 on clovis from local:backup/vzdump-qemu-104-WHEN.vma.zst (an "
    "empty VM that it left goes "
    "at the next try) failed: the target is full, or a quota is (vma: restore failed - blk_pwrite "
    "to  failed (-28)); PVE ended "
    "it with: command 'set -o pipefail && zstd -q -d -c DUMP/vzdump-qemu-104-WHEN.vma.zst | vma "
    "extract -v -r "
    "/var/tmp/vzdumptmpPID.fifo - /var/tmp/vzdumptmpPID' failed: exit code 133\n"
    "  -> free space on the storage, or choose another one"
)


@pytest.fixture(scope="module")
def user(site: Shell, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A user of the lab whose job takes guest 104 alone, which has an archive."""
    policy = tmp_path_factory.mktemp("full") / "policy.yaml"
    policy.write_text(POLICY)
    shell = Shell(site.state, {"BACKUPSVC_POLICY": str(policy)})
    assert shell("backup", "run").code == 0
    return shell


@pytest.fixture
def full(user: Shell) -> Iterator[Callable[[str], Answer]]:
    """Let a storage of the node have no room until the test is over."""
    yield lambda storage: user("lab", "fault", "storage-full", f"{NODE}/{storage}")
    user("lab", "fault", "clear")


def golden(answer: Answer) -> str:
    """What was printed, warnings and errors first, with what differs from run to run taken out."""
    text = answer.err + answer.out
    for pattern, stands in (
        (r"\b01[0-9A-HJKMNP-TV-Z]{24}\b", "OPERATION"),
        (r"\d+(\.\d+)? [kMGT]?B\b", "SIZE"),
        (r"vzdump-qemu-104-[\d_-]+", "vzdump-qemu-104-WHEN"),
        (r"\S*/dump/", "DUMP/"),
        (r"vzdumptmp\d+", "vzdumptmpPID"),
        (r"\d+\.\d s\b", "SECONDS"),
        (r" {2,}\d+\.\d$", "  SECONDS"),
    ):
        text = re.sub(pattern, stands, text, flags=re.MULTILINE)
    return text.rstrip()


def shown(answer: Answer, *words: str) -> str:
    """The lines that hold one of these words."""
    return "\n".join(
        line for line in golden(answer).splitlines() if any(word in line for word in words)
    )


def test_doctor_says_it_before(user: Shell, full: Callable[[str], Answer]) -> None:
    assert re.search(
        r"^room +ok +storage local on clovis has room", user("doctor").out, re.MULTILINE
    )
    full("local")
    answer = user("doctor")
    assert answer.code == 1
    assert shown(answer, "failed: room", "  -> free some") == DOCTOR


def test_backup_run_says_it_before_and_names_the_full_storage_first_after(
    user: Shell, full: Callable[[str], Answer]
) -> None:
    full("local")
    dry = user("backup", "run", "--dry-run")
    assert shown(dry, "WARNING") == WARNED and dry.code == 0
    answer = user("backup", "run")
    assert answer.code == 1
    assert shown(answer, "WARNING") == WARNED
    assert shown(answer, "104: backup of", "  -> free space") == BACKUP


def test_restore_names_the_full_storage_first_and_not_an_exit_code(
    user: Shell, full: Callable[[str], Answer], site: Shell, record_property: Record
) -> None:
    lab = site.state / "lab"
    with rehearsal(record_property, "the storage full in mid-restore", lab, gone=(VMID,)):
        dumps = {path: path.read_bytes() for path in lab.glob("nodes/*/var/lib/vz/dump/vzdump-*")}
        Root(site.state).destroy(VMID)
        full("local-lvm")
        dry = user("restore", VMID, "--dry-run")
        assert dry.code == 0 and shown(dry, "WARNING: storage") == f"  WARNING: {THIN}"
        answer = user("restore", VMID, "--yes")
        assert answer.code == 1
        assert not list(lab.glob(f"nodes/*/dev/pve/vm-{VMID}-*")), "nothing of it takes room"
        # with room again, what is left of it goes and the guest comes back
        user("lab", "fault", "clear")
        again = user("restore", VMID, "--yes", "--no-start", "--json")
        assert again.code == 0, again.out + again.err
        assert {path: path.read_bytes() for path in dumps} == dumps
    assert shown(answer, "WARNING: storage local-lvm") == f"backupsvc: WARNING: {THIN}", (
        "a thin pool may be overcommitted"
    )
    assert shown(answer, "backupsvc: restoring", "  -> free") == RESTORE
