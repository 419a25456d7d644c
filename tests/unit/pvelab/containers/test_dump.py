"""vzdump of a container: its log lines, and what its archive holds."""

from __future__ import annotations

import io
import json
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest
from backports import zstd

from backupsvc.archives.describe import describe
from backupsvc.archives.verify import verify_file
from policies.pve.guest_config import parse_config
from policies.pve.vzdump_log import Consistency, read
from pvelab.kernel import Lab
from tests.unit.pvelab.containers.conftest import CT
from tests.unit.pvelab.guests.conftest import Api

RECORDED = Path(__file__).parents[3] / "golden" / "recorded_containers"


def archive(api: Api, **params: Any) -> Path:
    """Back the container up and return its archive."""
    return (
        api.lab.storage_dir("clovis", "local") / "dump" / api.dump(200, **params).rpartition("/")[2]
    )


def members(path: Path) -> dict[str, tarfile.TarInfo]:
    """Return an archive's members in order."""
    data = path.read_bytes()
    raw = zstd.decompress(data) if path.suffix == ".zst" else data
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        return {entry.name: entry for entry in tar}


def recorded(name: str) -> list[str]:
    """Return the longest recorded state of a task log."""
    entries = json.loads((RECORDED / f"log-{name}.json").read_text())
    rows = max((entry["response"]["body"]["data"] for entry in entries), key=len)
    return [row["t"] for row in sorted(rows, key=lambda row: row["n"])]


def shape(lines: list[str]) -> list[str]:
    """Return log lines without names, numbers and times."""
    return [
        re.sub(r"'/\S+'|CT Name: .*|job: .*|[\d:.]+(?:[KMGT]i?B)?", "#", line) for line in lines
    ]


def test_a_stopped_containers_log_is_the_recorded_one_with_the_lines_that_newer_servers_added(
    api: Api,
) -> None:
    _, log = api.task("POST", "/nodes/clovis/vzdump", vmid=200, storage="local", compress="zstd")
    added = ("INFO: including mount point", "INFO: prune older", "INFO: pruned")
    old = [
        line.replace("creating archive", "creating vzdump archive") for line in recorded("vzdump")
    ]
    assert shape([line for line in log if not line.startswith(added)]) == shape(old)


def test_a_running_container_is_dumped_from_a_snapshot(api: Api) -> None:
    api.task("POST", f"{CT}/status/start")
    status, log = api.task(
        "POST", "/nodes/clovis/vzdump", vmid=200, storage="local", compress="zstd"
    )
    assert status == "OK"
    assert shape(log)[1:] == shape(
        [
            "INFO: Starting Backup of VM 200 (lxc)",
            "INFO: Backup started at 2026-03-09 21:00:02",
            "INFO: status = running",
            "INFO: CT Name: web-ct",
            "INFO: including mount point rootfs ('/') in backup",
            "INFO: backup mode: snapshot",
            "INFO: ionice priority: 7",
            "INFO: create storage snapshot 'vzdump'",
            "INFO: creating vzdump archive '/var/lib/vz/dump/x.tar.zst'",
            "INFO: Total bytes written: 430080 (420KiB, 12MiB/s)",
            "INFO: archive file size: 400KB",
            "INFO: cleanup temporary 'vzdump' snapshot",
            "INFO: Finished Backup of VM 200 (00:00:00)",
            "INFO: Backup finished at 2026-03-09 21:00:03",
            "INFO: Backup job finished successfully",
            "TASK OK",
        ]
    )
    assert read(log, 200).consistency is Consistency.CRASH


def test_without_snapshots_on_the_storage_the_mode_falls_back_to_suspend(
    api: Api, lab: Lab
) -> None:
    # its volumes lie elsewhere then, so only the first lines are looked at
    lab.storages["local-lvm"].type = "lvm"
    api.task("POST", f"{CT}/status/start")
    _, log = api.task("POST", "/nodes/clovis/vzdump", vmid=200, storage="local")
    at = log.index("INFO: mode failure - some volumes do not support snapshots")
    assert log[at + 1 : at + 3] == [
        "INFO: trying 'suspend' mode instead",
        "INFO: backup mode: suspend",
    ]


def test_mode_stop_switches_a_running_container_off_and_on_again(api: Api, lab: Lab) -> None:
    api.task("POST", f"{CT}/status/start")
    _, log = api.task("POST", "/nodes/clovis/vzdump", vmid=200, storage="local", mode="stop")
    assert [
        line for line in log if line in ("INFO: stopping virtual guest", "INFO: restarting vm")
    ] != []
    assert lab.machine_status(200) == "running"
    assert read(log, 200).consistency is Consistency.STOPPED


def test_the_configuration_comes_first_and_every_owner_is_a_number(api: Api, lab: Lab) -> None:
    (lab.etc / "firewall").mkdir()
    (lab.etc / "firewall" / "200.fw").write_text("[OPTIONS]\n")
    found = members(archive(api))
    assert list(found)[:3] == ["./etc/vzdump/pct.conf", "./etc/vzdump/pct.fw", "."]
    assert not any(entry.uname or entry.gname for entry in found.values())
    shadow, notes = found["./etc/shadow"], found["./home/web/notes.txt"]
    assert (shadow.uid, shadow.gid, shadow.mode) == (0, 42, 0o640)
    assert (notes.uid, notes.gid, notes.mode) == (1000, 1000, 0o600)
    assert found["./bin/sh"].linkname == "busybox" and found["./bin/busybox.static"].islnk()


def test_temporary_files_stay_out_unless_they_are_asked_for(api: Api) -> None:
    assert "./tmp/session" not in members(archive(api)) and "./tmp" in members(archive(api))
    assert "./tmp/session" in members(archive(api, stdexcludes=0))
    left = members(archive(api, exclude_path=["/var/www"]))
    assert "./var/log" in left and "./var/www" not in left and "./var/www/index.html" not in left


def test_a_bind_mount_and_a_volume_that_does_not_ask_for_it_are_excluded_and_the_service_notices(
    api: Api, lab: Lab
) -> None:
    lab.guests.need("clovis", 200, "lxc").config.update(mp0="/srv/pool,mp=/data")
    api("PUT", f"{CT}/config", mp1="local-lvm:1,mp=/scratch")
    _, log = api.task("POST", "/nodes/clovis/vzdump", vmid=200, storage="local")
    assert "INFO: excluding bind mount point mp0 ('/data') from backup (not a volume)" in log
    assert "INFO: excluding volume mount point mp1 ('/scratch') from backup (disabled)" in log
    assert read(log, 200).excluded == ("mp0", "mp1")


def test_extractconfig_returns_pct_conf_without_lock_and_the_service_reads_it(
    api: Api, lab: Lab
) -> None:
    volid = api.dump(200)
    text = api("GET", "/nodes/clovis/vzdump/extractconfig", volume=volid)
    assert text == lab.guests.need("clovis", 200, "lxc").text()
    config = parse_config(text)
    assert config["hostname"] == "web-ct" and config["rootfs"] == "local-lvm:vm-200-disk-0,size=1G"
    assert "modelled" in config["description"]


@pytest.mark.parametrize("compress", ["zstd", "gzip", "0"])
def test_the_services_own_reader_finds_the_archive_whole_and_names_the_container(
    api: Api, compress: str
) -> None:
    path = archive(api, compress=compress)
    found = verify_file(path)
    assert found.intact, found
    described = describe(path).as_dict()
    assert (described["name"], described["type"], described["vmid"]) == ("web-ct", "lxc", 200)
    assert set(described["configs"]) == {"pct.conf"}  # type: ignore[call-overload]


def test_an_archive_without_a_configuration_is_told_in_pves_words(api: Api, lab: Lab) -> None:
    path = lab.storage_dir("clovis", "local") / "dump" / "vzdump-lxc-200-2026_03_09-21_00_02.tar"
    with tarfile.open(path, "w") as tar:
        tar.addfile(tarfile.TarInfo("./etc/passwd"))
    refused = api.refused(
        "GET", "/nodes/clovis/vzdump/extractconfig", volume=f"local:backup/{path.name}"
    )
    assert refused == (500, "ERROR: archive contains no configuration file")


def test_a_full_storage_fails_the_dump_as_pves_command_line_and_leaves_only_the_log(
    api: Api, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> object:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zstd, "ZstdFile", full)
    status, log = api.task(
        "POST", "/nodes/clovis/vzdump", vmid=200, storage="local", compress="zstd"
    )
    assert status == "job errors"
    failure = read(log, 200).failure or ""
    assert failure.startswith("command 'set -o pipefail && lxc-usernsexec -m u:0:100000:65536")
    assert failure.endswith(".tar.dat' failed: exit code 1")
    left = sorted(path.suffix for path in (lab.storage_dir("clovis", "local") / "dump").iterdir())
    assert left == [".log"]
    assert "lock" not in lab.guests.need("clovis", 200, "lxc").config


def test_a_locked_container_is_not_dumped(api: Api, lab: Lab) -> None:
    lab.guests.need("clovis", 200, "lxc").config["lock"] = "snapshot"
    _, log = api.task("POST", "/nodes/clovis/vzdump", vmid=200, storage="local")
    assert "ERROR: Backup of VM 200 failed - CT is locked (snapshot)" in log


def test_a_container_is_part_of_a_job_over_all_guests_and_pruned_by_its_own_type(api: Api) -> None:
    first = api.dump(200)
    api.dump(200, prune_backups="keep-last=1")
    assert first not in api.archives()
    (row,) = api("GET", "/nodes/clovis/storage/local/content", content="backup", vmid=200)
    assert (row["subtype"], row["format"], row["vmid"]) == ("lxc", "tar.zst", 200)
    assert (
        api("GET", "/nodes/clovis/storage/local/prunebackups", prune_backups="keep-last=1")[0][
            "type"
        ]
        == "lxc"
    )
    _, log = api.task("POST", "/nodes/clovis/vzdump", all=1, storage="local")
    assert "INFO: Starting Backup of VM 200 (lxc)" in log
