"""Restore over the API: disks and configuration from the archive alone, overrides, rights, damage,
and what a failure leaves.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pvelab import seed
from pvelab.guests import restore as restore_module
from pvelab.images.site import guest
from pvelab.kernel import Lab, StorageDef
from tests.unit.pvelab.guests import recorded
from tests.unit.pvelab.guests.conftest import HOME, MIB, Api, sha256
from tests.waiting import wait_until

QEMU = f"{HOME}/qemu"
ISOLATED = "virtio,bridge=vmbr9,link_down=1"
EMPTY_DIGEST = "da39a3ee5e6b4b0d3255bfef95601890afd80709"


@pytest.fixture
def archive(api: Api) -> str:
    return api.dump(104)


def path_of(lab: Lab, volid: str) -> Path:
    return lab.storage_dir("clovis", "local") / "dump" / volid.rpartition("/")[2]


def test_a_restore_recreates_the_disks_bit_by_bit_with_the_originals_gone(
    api: Api, lab: Lab, archive: str
) -> None:
    paths = [seed.disk_path(lab, guest(104), key) for key in ("scsi0", "scsi1")]
    before = [sha256(path) for path in paths]
    assert api.task("DELETE", f"{QEMU}/104", purge=1)[0] == "OK"
    assert not any(path.exists() for path in paths)
    assert api.task("POST", QEMU, vmid=104, archive=archive)[0] == "OK"
    assert [sha256(path) for path in paths] == before
    assert paths[0].stat().st_blocks * 512 < MIB, "the restored disk is not sparse"


def test_the_restored_config_is_the_archived_one_with_new_volumes_and_overrides(
    api: Api, lab: Lab, archive: str
) -> None:
    original = api("GET", f"{QEMU}/104/config")
    overrides = {
        "net0": ISOLATED,
        "name": "drill-9000",
        "memory": "192",
        "onboot": 0,
        "description": "restored by\ntest: 100% übung",
    }
    assert (
        api.task("POST", QEMU, vmid=9000, archive=archive, storage="local-lvm", **overrides)[0]
        == "OK"
    )
    restored = api("GET", f"{QEMU}/9000/config")
    changed = {key for key in {*original, *restored} if original.get(key) != restored.get(key)}
    assert changed == {
        "net0",
        "name",
        "memory",
        "onboot",
        "description",
        "scsi0",
        "scsi1",
        "vmgenid",
        "digest",
    }
    assert restored["scsi1"] == "local-lvm:vm-9000-disk-1,iothread=1,size=2M"
    assert restored["net0"].endswith(",bridge=vmbr9,link_down=1") and restored["net0"].startswith(
        "virtio=BC:24:11:"
    )
    assert restored["description"] == overrides["description"]
    text = (lab.etc / "nodes/clovis/qemu-server/9000.conf").read_text()
    assert text.startswith(
        "#restored by\n#test%3A 100%25 %C3%BCbung\nagent: 1\nboot: order=scsi0\n"
    )


def test_the_mac_and_the_uuid_stay_unless_unique_is_asked_for(api: Api, archive: str) -> None:
    original = api("GET", f"{QEMU}/104/config")
    assert api.task("POST", QEMU, vmid=9000, archive=archive)[0] == "OK"
    assert api.task("POST", QEMU, vmid=9001, archive=archive, unique=1)[0] == "OK"
    same, fresh = api("GET", f"{QEMU}/9000/config"), api("GET", f"{QEMU}/9001/config")
    assert (same["net0"], same["smbios1"]) == (original["net0"], original["smbios1"])
    assert same["vmgenid"] != original["vmgenid"]
    assert fresh["net0"] != original["net0"] and fresh["net0"].endswith(
        ",bridge=vmbr0,firewall=1,tag=10"
    )
    assert fresh["smbios1"] != original["smbios1"]


def test_a_disk_that_was_left_out_comes_back_as_a_comment_only(api: Api, lab: Lab) -> None:
    lab.guests.need("clovis", 104).config["scsi1"] += ",backup=0"
    volid = api.dump(104)
    assert api.task("POST", QEMU, vmid=9000, archive=volid)[0] == "OK"
    config = api("GET", f"{QEMU}/9000/config")
    assert "scsi1" not in config
    assert config["description"] == "scsi1: local-lvm:vm-104-disk-1,iothread=1,size=2M,backup=0"


def test_the_log_of_a_restore_is_the_recorded_one(api: Api, archive: str) -> None:
    status, log = api.task("POST", QEMU, vmid=9000, archive=archive, storage="local-lvm")
    assert (status, recorded.shape(log)) == (
        "OK",
        recorded.shape(recorded.log("05_restore_ok", 13)),
    )


def test_progress_counts_whole_clusters(api: Api, archive: str) -> None:
    _, log = api.task("POST", QEMU, vmid=9000, archive=archive)
    lines = [line for line in log if line.startswith("progress")]
    assert lines[0].startswith("progress 1% (read 65536 bytes") and lines[-1].startswith(
        "progress 100% (read 4194304 bytes"
    )
    assert any(line.startswith("total bytes read 4194304, sparse bytes ") for line in log)


@pytest.mark.parametrize(
    ("damage", "texts", "exit_text"),
    [
        (lambda raw: raw[: len(raw) // 2], ["Read error (39) : premature end"], "exit code 133"),
        (lambda raw: raw[:-3], ["Read error (39) : premature end"], "exit code 1"),
        (lambda raw: raw[:-6] + bytes([raw[-6] ^ 1]) + raw[-5:], ["Decoding error ("], "exit code"),
    ],
    ids=["cut in half", "checksum cut off", "flipped bit"],
)
def test_damage_in_the_data_fails_fast_and_leaves_only_the_stub(
    api: Api,
    lab: Lab,
    archive: str,
    damage: Callable[[bytes], bytes],
    texts: list[str],
    exit_text: str,
) -> None:
    path = path_of(lab, archive)
    path.write_bytes(damage(path.read_bytes()))
    status, log = api.task("POST", QEMU, vmid=9000, archive=archive)
    assert exit_text in status and status.startswith("command 'set -o pipefail && zstd -q -d -c ")
    assert all(any(text in line for line in log) for text in texts)
    assert log[-3:-1] == [
        "no lock found trying to remove 'create'  lock",
        "error before or during data restore, some or all disks were not completely restored. VM "
        "9000 state is NOT cleaned up.",
    ]
    assert sum("successfully removed" in line for line in log) == 2
    stub = api("GET", f"{QEMU}/9000/config")
    assert {key: value for key, value in stub.items() if key != "digest"} == {"memory": "128"}
    assert api("GET", f"{HOME}/storage/local-lvm/content", vmid=9000) == []
    assert api.task("DELETE", f"{QEMU}/9000", purge=1) == (
        "OK",
        ["purging VM 9000 from related configurations..", "TASK OK"],
    )


def test_the_log_of_a_cut_archive_is_the_recorded_one(api: Api, lab: Lab) -> None:
    api.dump(108)
    (volid,) = api.archives()
    path = path_of(lab, volid)
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) * 2 // 3])
    _, log = api.task("POST", QEMU, vmid=9000, archive=volid)
    wanted = recorded.shape(recorded.log("06_restore_errors", 20))
    assert [line for line in recorded.shape(log) if "vma: restore" not in line] == [
        line for line in wanted if "vma: restore" not in line
    ]


def test_a_broken_header_costs_a_wait_and_leaves_an_empty_config(
    api: Api, lab: Lab, archive: str
) -> None:
    path = path_of(lab, archive)
    path.write_bytes(path.read_bytes()[:100])
    started = time.monotonic()
    status, log = api.task("POST", QEMU, vmid=9000, archive=archive)
    assert time.monotonic() - started >= 0.2
    assert status.endswith("failed: got timeout reading VMA header - corrupted?")
    assert recorded.shape(log) == recorded.shape(recorded.log("06_restore_errors", 151))
    assert api("GET", f"{QEMU}/9000/config") == {"digest": EMPTY_DIGEST}


def test_a_flipped_data_bit_in_an_uncompressed_archive_restores_as_if_good(
    api: Api, lab: Lab
) -> None:
    volid = api.dump(108, compress="0")
    path = path_of(lab, volid)
    raw = bytearray(path.read_bytes())
    raw[-100] ^= 1
    path.write_bytes(raw)
    assert api.task("POST", QEMU, vmid=9000, archive=volid)[0] == "OK"


@pytest.mark.parametrize(
    ("storage", "text"),
    [
        ("nosuch", "storage 'nosuch' does not exist"),
        ("local", "Content type 'images' is not available on storage 'local'"),
        ("offst", "storage 'offst' is disabled"),
    ],
)
def test_a_storage_that_holds_no_disks_fails_the_task(
    api: Api, lab: Lab, archive: str, storage: str, text: str
) -> None:
    lab.storages["offst"] = StorageDef("offst", "dir", ("images",), disabled=True)
    status, log = api.task("POST", QEMU, vmid=9000, archive=archive, storage=storage)
    assert status.startswith("command 'set -o pipefail && ") and status.endswith(f"failed: {text}")
    left = api("GET", f"{QEMU}/9000/config")
    assert left.get("memory") == ("128" if storage == "offst" else None)
    assert ("no lock found trying to remove 'create'  lock" in log) == (storage == "offst")


def test_what_is_refused_before_the_task_leaves_nothing(api: Api, lab: Lab, archive: str) -> None:
    missing = "local:backup/vzdump-qemu-104-2020_01_01-00_00_00.vma.zst"
    cases = [
        ({"archive": missing}, (500, f"volume '{missing}' does not exist")),
        (
            {"archive": "garbage"},
            (
                500,
                "Only root can pass arbitrary filesystem paths. at "
                "/usr/share/perl5/PVE/Storage.pm line 651.",
            ),
        ),
        (
            {"scsi5": "none,media=cdrom"},
            (400, str({"scsi5": "option conflicts with option 'archive'"})),
        ),
        ({"pool": "nosuch"}, (403, "Permission check failed (pool 'nosuch' does not exist)")),
        ({"args": "-foo"}, (500, "only root can set 'args' config")),
        ({"net0": "virtio"}, (500, "no sdn vnet ID specified")),
    ]
    for params, answer in cases:
        assert api.refused("POST", QEMU, **{"vmid": 9000, "archive": archive, **params}) == answer
    assert lab.guests.get(9000) is None


def test_an_existing_guest_is_never_overwritten_without_force(api: Api, archive: str) -> None:
    text = "unable to restore VM 108 - VM 108 already exists on node 'clovis'"
    assert api.refused("POST", QEMU, vmid=108, archive=archive) == (500, text)


def test_force_refuses_running_protected_and_locked_guests_in_pves_words(
    api: Api, lab: Lab, archive: str
) -> None:
    params = {"vmid": 104, "archive": archive, "force": 1}
    api.start(104)
    assert api.task("POST", QEMU, **params)[0] == "unable to restore VM 104 - vm is running"
    lab.machines[104].stop()
    lab.guests.need("clovis", 104).config["protection"] = "1"
    assert (
        api.task("POST", QEMU, **params)[0]
        == "unable to restore VM 104 - - protection mode enabled"
    )
    lab.guests.need("clovis", 104).config.update(protection="0", lock="backup")
    assert api.refused("POST", QEMU, **params) == (
        500,
        "unable to restore VM 104 - VM is locked (backup)",
    )


def test_force_over_a_stopped_guest_replaces_its_disks(api: Api, lab: Lab, archive: str) -> None:
    disk = seed.disk_path(lab, guest(104), "scsi0")
    before = sha256(disk)
    disk.write_bytes(bytes(2 * MIB))
    assert api.task("POST", QEMU, vmid=104, archive=archive, force=1)[0] == "OK"
    assert sha256(disk) == before
    assert len(api("GET", f"{HOME}/storage/local-lvm/content", vmid=104)) == 2


def test_law_2_the_everyday_token_cannot_restore_onto_the_production_bridge(
    api: Api, lab: Lab, archive: str
) -> None:
    service = api.with_token(seed.SERVICE_TOKEN)
    refused = "Permission check failed (/sdn/zones/localnetwork/vmbr0/10, SDN.Use)"
    params = {"vmid": 9000, "archive": archive, "storage": "local-lvm"}
    assert service.refused("POST", QEMU, **params, net0="virtio,bridge=vmbr0,tag=10") == (
        403,
        refused,
    )
    status, log = service.task("POST", QEMU, **params)
    assert status == f"403 {refused}" and "zstd" not in log[0]
    assert service("GET", f"{QEMU}/9000/config") == {"digest": EMPTY_DIGEST}
    assert service.task("DELETE", f"{QEMU}/9000", purge=1)[0] == "OK"
    assert service.task("POST", QEMU, **params, net1=ISOLATED)[0] == f"403 {refused}"
    assert service.task("DELETE", f"{QEMU}/9000", purge=1)[0] == "OK"
    assert service.task("POST", QEMU, **params, net0=ISOLATED)[0] == "OK"


def test_the_restore_token_may_use_the_production_bridge(api: Api, archive: str) -> None:
    restore = api.with_token(seed.RESTORE_TOKEN)
    assert restore.task("POST", QEMU, vmid=9000, archive=archive)[0] == "OK"


@pytest.mark.parametrize(
    ("missing", "params", "text"),
    [
        ("VM.Allocate", {}, "Permission check failed"),
        ("VM.Backup", {}, "Permission check failed (/vms/104, VM.Backup)"),
        (
            "VM.Config.Network",
            {"net0": ISOLATED},
            "Permission check failed (/vms/9000, VM.Config.Network)",
        ),
        (
            "VM.Config.Options",
            {"name": "x"},
            "Permission check failed (/vms/9000, VM.Config.Options)",
        ),
        (
            "VM.Config.Memory",
            {"memory": "64"},
            "Permission check failed (/vms/9000, VM.Config.Memory)",
        ),
    ],
)
def test_each_privilege_of_a_restore_is_asked_for(
    api: Api, lab: Lab, archive: str, missing: str, params: dict[str, Any], text: str
) -> None:
    lab.access.roles["BackupsvcVms"].remove(missing)
    service = api.with_token(seed.SERVICE_TOKEN)
    assert service.refused(
        "POST", QEMU, vmid=9000, archive=archive, storage="local-lvm", **params
    ) == (403, text)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Let restores wait for an event in the middle of their data."""
    go, original = threading.Event(), restore_module._Progress.__call__

    def waiting(self: restore_module._Progress, figures: Any) -> None:
        while not go.wait(0.02):
            self._log.check_cancelled()
        original(self, figures)

    monkeypatch.setattr(restore_module._Progress, "__call__", waiting)
    return go


def wait_for_memory(api: Api) -> None:
    """Wait until a restore has come to its data: its lock is replaced by a stub."""

    def stub() -> bool:
        config = api("GET", f"{QEMU}/9000/config")
        assert config.get("lock") == "create" or config.get("memory") == "128"
        return bool(config.get("memory") == "128")

    wait_until(stub, "the restore never came to its data", pause=0.02)


def test_a_restore_shows_first_a_lock_and_then_a_stub_without_one(
    api: Api, archive: str, held: threading.Event
) -> None:
    upid = api("POST", QEMU, vmid=9000, archive=archive)
    wait_for_memory(api)
    assert "lock" not in api("GET", f"{QEMU}/9000/config")
    start = api("POST", f"{QEMU}/9000/status/start")
    time.sleep(0.1)
    held.set()
    assert api.ended(upid)[0] == "OK"
    assert api.ended(start) == ("OK", ["trying to acquire lock...", " OK", "TASK OK"])


def test_a_restore_that_is_told_to_stop_frees_its_disks(
    api: Api, archive: str, held: threading.Event
) -> None:
    upid = api("POST", QEMU, vmid=9000, archive=archive)
    wait_for_memory(api)
    api("DELETE", f"{HOME}/tasks/{upid}")
    status, log = api.ended(upid)
    assert status.endswith("failed: interrupted by signal")
    assert sum("successfully removed" in line for line in log) == 2
    assert api("GET", f"{HOME}/storage/local-lvm/content", vmid=9000) == []


def test_start_1_starts_the_guest_in_a_task_of_its_own_and_hides_its_failure(
    api: Api, lab: Lab, archive: str
) -> None:
    status, log = api.task(
        "POST", QEMU, vmid=9000, archive=archive, net0="virtio,bridge=vmbr77", start=1
    )
    assert (status, log[-2:]) == ("OK", ["Execute autostart", "TASK OK"])
    ended = wait_until(
        lambda: [
            status for upid, _, status in lab.tasks.finished("clovis") if upid.type == "qmstart"
        ]
    )
    assert ended == ["bridge 'vmbr77' does not exist"]


def test_without_quorum_nothing_is_restored(api: Api, lab: Lab, archive: str) -> None:
    lab.nodes["lge-pve02"].online = False
    assert api.refused("POST", QEMU, vmid=9000, archive=archive) == (
        500,
        "cluster not ready - no quorum?",
    )


def test_an_empty_guest_is_created_with_a_new_disk(api: Api) -> None:
    assert (
        api.task(
            "POST", QEMU, vmid=300, name="new", scsi0="local-lvm:1", net0="virtio,bridge=vmbr0"
        )[0]
        == "OK"
    )
    config = api("GET", f"{QEMU}/300/config")
    assert config["scsi0"] == "local-lvm:vm-300-disk-0,size=1G" and {"smbios1", "vmgenid"} <= set(
        config
    )


def test_a_restored_guest_starts_with_its_disks_and_cables(
    api: Api, lab: Lab, archive: str
) -> None:
    params = {"net0": ISOLATED, "memory": "64"}
    assert (
        api.task("POST", QEMU, vmid=9000, archive=archive, storage="local-lvm", **params)[0] == "OK"
    )
    assert api.task("POST", f"{QEMU}/9000/status/start")[0] == "OK"
    spec = lab.machines[9000].spec
    assert [disk.path.name for disk in spec.disks] == ["vm-9000-disk-0", "vm-9000-disk-1"]
    assert [(nic.bridge, nic.link_up) for nic in spec.nics] == [("vmbr9", False)]
    assert spec.memory == 64
