"""Restoring a container: the same files with the same owners, PVE's log, and its own clean-up when
that fails.
"""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from pvelab import seed
from pvelab.kernel import Lab
from tests.unit.pvelab.containers.conftest import CT, listing
from tests.unit.pvelab.containers.test_dump import RECORDED, recorded, shape
from tests.unit.pvelab.guests.conftest import Api

LXC, NEW = "/nodes/clovis/lxc", "/nodes/clovis/lxc/9000"


@pytest.fixture
def volid(api: Api) -> str:
    """An archive of the container."""
    return api.dump(200)


def restore(api: Api, volid: str, vmid: int = 9000, **params: object) -> tuple[str, list[str]]:
    """Restore an archive and return the task's exit status and log."""
    return api.task(
        "POST",
        LXC,
        **{"vmid": vmid, "ostemplate": volid, "restore": 1, "storage": "local-lvm", **params},
    )


def volumes(api: Api) -> list[str]:
    """Return the volids of all container volumes on local-lvm."""
    return [
        row["volid"]
        for row in api("GET", "/nodes/clovis/storage/local-lvm/content", content="rootdir")
    ]


def test_every_file_comes_back_with_its_owner_and_mode_but_what_vzdump_left_out(
    api: Api, lab: Lab, volid: str
) -> None:
    assert restore(api, volid)[0] == "OK"
    before, after = listing(lab, 200), listing(lab, 9000)
    assert set(before) - set(after) == {"/tmp/session"}
    assert after == {name: before[name] for name in after}


def test_the_log_has_the_recorded_lines_in_their_order_and_those_of_newer_servers(
    api: Api, volid: str
) -> None:
    _, log = restore(api, volid)
    old = shape(recorded("vzrestore"))
    known = [line for line in shape(log) if line in old and line != "TASK OK"]
    assert known == [line for line in old if line in known]
    assert [
        line for line in log if "backed-up" in line or "restoring" in line or "extracting" in line
    ] == [
        f"recovering backed-up configuration from '{volid}'",
        f"restoring '{volid}' now..",
        "extracting archive "
        f"'{api.lab.storage_dir('clovis', 'local')}/dump/{volid.rpartition('/')[2]}'",
        "merging backed-up and given configuration..",
    ]
    assert '  Logical volume "vm-9000-disk-0" created.' in log


def test_given_options_win_over_the_archives_and_hardware_addresses_stay_without_unique(
    api: Api, volid: str
) -> None:
    archived = api("GET", f"{CT}/config")
    restore(
        api,
        volid,
        hostname="copy",
        net0="name=eth0,bridge=vmbr9,hwaddr=BC:24:11:00:00:01",
        onboot=0,
    )
    given = api("GET", f"{NEW}/config")
    assert (given["hostname"], given["onboot"]) == ("copy", 0)
    assert given["net0"] == "name=eth0,bridge=vmbr9,hwaddr=BC:24:11:00:00:01,type=veth"
    assert (given["memory"], given["unprivileged"], given["description"]) == (
        256,
        1,
        archived["description"],
    )
    restore(api, volid, vmid=9001)
    assert api("GET", f"{LXC}/9001/config")["net0"] == archived["net0"]
    restore(api, volid, vmid=9002, unique=1)
    assert api("GET", f"{LXC}/9002/config")["net0"] != archived["net0"]


def test_a_mount_points_files_come_back_into_its_own_volume(api: Api, lab: Lab) -> None:
    api("PUT", f"{CT}/config", mp0="local-lvm:1,mp=/mnt/data,backup=1")
    volume = api("GET", f"{CT}/config")["mp0"].split(",")[0]
    assert volume == "local-lvm:vm-200-disk-1"
    (lab.storage_dir("clovis", "local-lvm") / "vm-200-disk-1" / "tree" / "kept.txt").write_text(
        "data"
    )
    restore(api, api.dump(200))
    assert (
        api("GET", f"{NEW}/config")["mp0"]
        == "local-lvm:vm-9000-disk-1,backup=1,mp=/mnt/data,size=1G"
    )
    assert listing(lab, 9000)["/mnt/data/kept.txt"] == listing(lab, 200)["/mnt/data/kept.txt"]
    assert not (
        lab.storage_dir("clovis", "local-lvm")
        / "vm-9000-disk-0"
        / "tree"
        / "mnt"
        / "data"
        / "kept.txt"
    ).exists()


def test_a_root_of_another_size_is_made_when_it_is_asked_for(api: Api, volid: str) -> None:
    restore(api, volid, rootfs="local-lvm:2")
    assert api("GET", f"{NEW}/config")["rootfs"] == "local-lvm:vm-9000-disk-0,size=2G"
    refused = api.refused(
        "POST",
        LXC,
        vmid=9001,
        ostemplate=volid,
        restore=1,
        storage="local-lvm",
        mp0="local-lvm:1,mp=/x",
    )
    assert refused == (500, "mount points configured, but 'rootfs' not set - aborting")


def test_a_damaged_archive_fails_the_restore_which_takes_everything_away_again(
    api: Api, lab: Lab, volid: str
) -> None:
    path = lab.storage_dir("clovis", "local") / "dump" / volid.rpartition("/")[2]
    content = bytearray(path.read_bytes())
    content[-20] ^= 0x10
    path.write_bytes(content)
    status, log = restore(api, volid)
    assert status.startswith(
        "unable to restore CT 9000 - command 'lxc-usernsexec -m u:0:100000:65536"
    )
    assert status.endswith("--exclude './dev/*'' failed: exit code 2")
    assert "tar: Error is not recoverable: exiting now" in log
    assert '  Logical volume "vm-9000-disk-0" successfully removed.' in log
    assert volumes(api) == ["local-lvm:vm-200-disk-0"]
    assert api.refused("GET", f"{NEW}/config") == (
        500,
        "Configuration file 'nodes/clovis/lxc/9000.conf' does not exist",
    )


def test_a_member_that_leads_out_of_the_container_is_never_written(
    api: Api, lab: Lab, tmp_path: Path
) -> None:
    path = lab.storage_dir("clovis", "local") / "dump" / "vzdump-lxc-200-2026_03_09-21_00_02.tar"
    config = (
        b"arch: amd64\nhostname: evil\nrootfs: local-lvm:vm-200-disk-0,size=1G\nunprivileged: 1\n"
    )
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for name, data, link in (
            ("./etc/vzdump/pct.conf", config, ""),
            ("./out", b"", str(tmp_path)),
            ("./out/x", b"y", ""),
        ):
            entry = tarfile.TarInfo(name)
            entry.size, entry.linkname = len(data), link
            entry.type = tarfile.SYMTYPE if link else tarfile.REGTYPE
            tar.addfile(entry, io.BytesIO(data))
    status, log = restore(api, f"local:backup/{path.name}")
    assert status.endswith("failed: exit code 2")
    assert "tar: ./out/x: Cannot open: Permission denied" in log
    assert not (tmp_path / "x").exists()
    assert restore(api, f"local:backup/{path.name}", ignore_unpack_errors=1)[0] == "OK"


def test_an_existing_guest_is_never_written_over_without_force(
    api: Api, lab: Lab, volid: str
) -> None:
    wanted = {"ostemplate": volid, "restore": 1, "storage": "local-lvm"}
    assert api.refused("POST", LXC, vmid=200, **wanted) == (
        500,
        "unable to restore CT 200 - CT 200 already exists on node 'clovis'",
    )
    api.task("POST", f"{CT}/status/start")
    assert api.refused("POST", LXC, vmid=200, force=1, **wanted) == (
        500,
        "can't overwrite running container",
    )
    api.task("POST", f"{CT}/status/stop")
    lab.guests.need("clovis", 200, "lxc").config["protection"] = "1"
    assert api.refused("POST", LXC, vmid=200, force=1, **wanted) == (
        500,
        "unable to restore CT 200 - protection mode enabled",
    )
    del lab.guests.need("clovis", 200, "lxc").config["protection"]
    status, log = restore(api, volid, vmid=200, force=1)
    assert status == "OK"
    assert '  Logical volume "vm-200-disk-0" successfully removed.' in log
    assert volumes(api) == ["local-lvm:vm-200-disk-0"]


def test_a_vm_is_not_created_over_a_container_nor_a_container_over_a_vm(
    api: Api, lab: Lab, volid: str
) -> None:
    lab.guests.create("clovis", 300, {"memory": "64"})
    refused = api.refused(
        "POST", LXC, vmid=300, ostemplate=volid, restore=1, storage="local-lvm", force=1
    )
    assert refused == (500, "unable to restore CT 300 - VM 300 already exists on node 'clovis'")
    assert (
        "CT 200 already exists on node 'clovis'"
        in api.refused("POST", "/nodes/clovis/qemu", vmid=200)[1]
    )


def test_a_storage_without_containers_and_a_template_are_refused(api: Api, volid: str) -> None:
    status, errors = api.refused("POST", LXC, vmid=9000, ostemplate=volid, restore=1)
    assert (status, "storage 'local' does not support container directories" in errors) == (
        400,
        True,
    )
    assert api.refused(
        "POST", LXC, vmid=9000, ostemplate="local:vztmpl/debian-12.tar.zst", storage="local-lvm"
    ) == (
        500,
        "volume 'local:vztmpl/debian-12.tar.zst' does not exist",
    )


def test_a_privileged_copy_and_a_production_bridge_need_their_rights(
    api: Api, lab: Lab, volid: str
) -> None:
    service = api.with_token(seed.SERVICE_TOKEN)
    status, _ = restore(service, volid)
    assert (
        status == "unable to restore CT 9000 - 403 Permission check failed "
        "(/sdn/zones/localnetwork/vmbr0, SDN.Use)"
    )
    net = "name=eth0,bridge=vmbr9"
    assert restore(service, volid, net0=net)[0] == "OK"
    asked = {
        "ostemplate": volid,
        "restore": 1,
        "storage": "local-lvm",
        "net0": net,
        "unprivileged": 0,
    }
    assert service.refused("POST", LXC, vmid=9001, **asked) == (
        403,
        "Permission check failed (/, Sys.Modify)",
    )
    assert lab.guests.get(9001) is None


def test_destroying_takes_the_volumes_the_jobs_and_the_rights_along(
    api: Api, lab: Lab, volid: str
) -> None:
    restore(api, volid)
    lab.jobs.entries["backup-langeo"]["vmid"] = "108,9000"
    api.task("POST", f"{NEW}/status/start")
    assert api.refused("DELETE", NEW) == (500, "unable to destroy CT 9000 - container is running")
    status, log = api.task("DELETE", NEW, purge=1, force=1)
    assert status == "OK"
    assert "purging CT 9000 from related configurations.." in log
    assert lab.jobs.entries["backup-langeo"]["vmid"] == "108"
    assert volumes(api) == ["local-lvm:vm-200-disk-0"]
    assert lab.guests.get(9000) is None and "9000" not in {row["vmid"] for row in api("GET", LXC)}


def test_the_calls_answer_in_the_recorded_form(api: Api, volid: str) -> None:
    entries = json.loads((RECORDED / "status-vzrestore.json").read_text())
    ended = next(
        e["response"]["body"]["data"]
        for e in entries
        if e["response"]["body"]["data"]["status"] == "stopped"
    )
    upid = api("POST", LXC, vmid=9000, ostemplate=volid, restore=1, storage="local-lvm")
    api.ended(upid)
    status = api.with_token(seed.ROOT_TOKEN)("GET", f"/nodes/clovis/tasks/{upid}/status")
    assert set(status) - {"tokenid"} == set(ended)
    assert {
        key: (type(status[key]), status[key] if key in ("type", "exitstatus") else "")
        for key in ended
    } == {
        key: (type(ended[key]), ended[key] if key in ("type", "exitstatus") else "")
        for key in ended
    }


def test_a_copy_can_be_made_a_member_of_a_pool_and_loses_that_with_its_end(
    api: Api, lab: Lab, volid: str
) -> None:
    asked = {"ostemplate": volid, "restore": 1, "storage": "local-lvm", "pool": "scratch"}
    assert api.refused("POST", LXC, vmid=9000, **asked) == (
        403,
        "Permission check failed (pool 'scratch' does not exist)",
    )
    lab.access.pools["scratch"] = {"vms": [], "storage": [], "comment": ""}
    assert restore(api, volid, pool="scratch")[0] == "OK"
    assert lab.access.pool_of("vms", 9000) == "scratch"
    assert api.task("DELETE", NEW)[0] == "OK"
    assert lab.access.pool_of("vms", 9000) is None
