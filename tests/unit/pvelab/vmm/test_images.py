"""Images as bytes: file system archive, partition table, what a guest's partition holds. Nothing is
booted or fetched.
"""

from __future__ import annotations

import base64
import shutil
import stat
import struct
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from hypothesis import given
from hypothesis import strategies as st

from pvelab.images import build, content, disks, initramfs, keys, site, software
from pvelab.images.site import GUESTS, MIB

CONTENTS = st.dictionaries(
    st.text("abc/", min_size=1, max_size=12), st.binary(max_size=40), max_size=6
)


def read_cpio(archive: bytes) -> dict[str, tuple[int, bytes]]:
    """Read a newc archive by the kernel's description of it, independently of the writer."""
    entries: dict[str, tuple[int, bytes]] = {}
    at = 0
    while True:
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        name = archive[at + 110 : at + 110 + fields[11] - 1].decode()
        start = (at + 110 + fields[11] + 3) // 4 * 4
        if name == "TRAILER!!!":
            return entries
        entries[name] = (fields[1], archive[start : start + fields[6]])
        at = (start + fields[6] + 3) // 4 * 4


@given(CONTENTS)
def test_every_file_of_the_initial_file_system_is_where_the_kernel_looks_for_it(
    files: dict[str, bytes],
) -> None:
    entries = {name: (stat.S_IFREG | 0o644, data) for name, data in files.items()}
    assert read_cpio(initramfs.cpio(entries)) == entries


def test_modules_come_after_what_they_need(tmp_path: Path) -> None:
    folder = tmp_path / "lib/modules/6.1/kernel/drivers"
    folder.mkdir(parents=True)
    for name, needs in (
        ("virtio_net", "net_failover,virtio"),
        ("net_failover", "failover"),
        ("failover", ""),
        ("virtio", ""),
    ):
        (folder / f"{name}.ko").write_bytes(
            b"\x7fELF\0license=GPL\0depends=" + needs.encode() + b"\0name=x\0"
        )
    order = [path.stem for path in initramfs.module_order(tmp_path, ("virtio_net", "virtio"))]
    assert order == ["failover", "net_failover", "virtio", "virtio_net"]


def test_the_partition_table_names_both_partitions_without_overlap() -> None:
    sector = disks.partition_table(b"\xeb\x63code", 64 * MIB)
    first, second = (
        struct.unpack("<B3xB3xII", sector[446 + 16 * n : 462 + 16 * n]) for n in range(2)
    )
    assert sector[:6] == b"\xeb\x63code"
    assert sector[510:] == b"\x55\xaa"
    assert first == (0x80, 0x06, 2048, 24 * 2048)
    assert second == (0, 0x83, 25 * 2048, 39 * 2048)


@pytest.mark.parametrize("seed", GUESTS, ids=lambda seed: seed.name)
def test_a_guests_partition_holds_its_name_addresses_and_every_service(
    seed: site.GuestSeed, tmp_path: Path
) -> None:
    content.write_system(seed, tmp_path)
    assert (tmp_path / "hostname").read_text() == f"{seed.name}\n"
    assert (tmp_path / "net").read_text().split()[1::2] == [nic.address for nic in seed.nics]
    assert len((tmp_path / "services").read_text().splitlines()) == len(seed.services)
    for service in seed.services:
        if service.kind == "http":
            assert (
                (tmp_path / "pages" / str(service.port)).read_text().startswith(f"{service.path}\n")
            )
        if service.kind == "tcp":
            assert (tmp_path / "answers" / str(service.port)).stat().st_size > 0


def test_a_guest_carries_what_its_own_services_need_and_no_others(tmp_path: Path) -> None:
    for kind in software.SOFTWARE:
        (tmp_path / "software" / kind / "lib").mkdir(parents=True)
        (tmp_path / "software" / kind / "program").write_text(kind)
    for vmid, kinds in ((100, ["https"]), (102, ["ldap"]), (108, [])):
        folder = tmp_path / str(vmid)
        folder.mkdir()
        content.write_system(site.guest(vmid), folder, None, tmp_path / "software")
        assert sorted(path.parent.name for path in folder.glob("*/program")) == kinds


def test_a_web_server_shows_a_certificate_of_its_guests_name_and_address(tmp_path: Path) -> None:
    content.write_system(site.guest(100), tmp_path)
    pem = (tmp_path / "https" / "server.pem").read_bytes()
    shown = x509.load_pem_x509_certificate(pem)
    assert shown.subject.rfc4514_string() == "CN=PfSense"
    names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name) for name in names.get_values_for_type(x509.IPAddress)] == ["192.168.10.1"]
    assert load_pem_private_key(pem, None).public_key() == shown.public_key()
    assert "pfSense" in (tmp_path / "https" / "pages" / "index.html").read_text()


def test_another_list_of_software_or_another_script_makes_another_image(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = build._digest(("slapd_1.deb",))
    assert build._digest(("slapd_2.deb",)) != before
    monkeypatch.setattr(initramfs, "SCRIPTS", tmp_path)
    (tmp_path / "answer-ldap").write_text("exec slapd\n")
    assert build._digest(("slapd_1.deb",)) != before


def test_a_system_disk_holds_the_folder_in_its_second_partition(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "hostname").write_text("here\n")
    (tmp_path / "boot").write_bytes(b"boot" * 1024)
    disks.write_system_disk(
        tmp_path / "boot", b"code", tmp_path / "folder", tmp_path / "disk", 64 * MIB
    )
    assert (tmp_path / "disk").stat().st_size == 64 * MIB
    with (tmp_path / "disk").open("rb") as disk, (tmp_path / "second").open("wb") as second:
        disk.seek(disks.SYSTEM_START)
        shutil.copyfileobj(disk, second)
    assert read_ext4(tmp_path / "second", "/hostname") == "here\n"


def test_a_data_disk_holds_the_database_with_all_its_records(tmp_path: Path) -> None:
    seed = site.guest(104)
    (tmp_path / "data").mkdir()
    content.write_data(seed, tmp_path / "data")
    disks.write_data_disk(tmp_path / "data", tmp_path / "disk", seed.data_disk)
    records = read_ext4(tmp_path / "disk", "/records.db").splitlines()
    assert (len(records), records[-1].split("|")[2]) == (1200, "GLPI-Server record 1200")


def read_ext4(image: Path, path: str) -> str:
    tool = shutil.which("debugfs", path="/usr/sbin:/sbin:/usr/bin")
    assert tool is not None
    return subprocess.run(
        [tool, "-R", f"cat {path}", str(image)], capture_output=True, text=True, check=True
    ).stdout


def test_the_eleven_guests_have_their_own_vmids_addresses_macs_and_uuids() -> None:
    nics = [nic for seed in GUESTS for nic in seed.nics]
    assert [seed.vmid for seed in GUESTS] == list(range(100, 111))
    for values in (
        [nic.mac for nic in nics],
        [nic.address for nic in nics],
        [seed.uuid for seed in GUESTS],
    ):
        assert len(set(values)) == len(values)


def test_the_guests_are_those_of_the_reference_site() -> None:
    by_vmid = {seed.vmid: seed for seed in GUESTS}
    assert [vmid for vmid, seed in by_vmid.items() if not seed.agent] == [108]
    assert [vmid for vmid, seed in by_vmid.items() if seed.data_disk] == [103, 104, 105]
    assert [nic.mac for nic in by_vmid[100].nics] == [
        "BC:24:11:00:00:00",
        "BC:24:11:00:01:00",
        "BC:24:11:00:02:00",
    ]
    assert (by_vmid[106].name, by_vmid[110].nics[0].tag, by_vmid[110].nics[0].address) == (
        "Keyclock-Server",
        30,
        "192.168.30.10/24",
    )


def test_a_dropbear_key_holds_the_seed_and_point_of_the_same_key_that_is_published() -> None:
    pair = keys.generate()
    kind, blob = pair.public.split()
    assert kind == "ssh-ed25519"
    assert pair.dropbear[:19] == b"\0\0\0\x0bssh-ed25519" + b"\0\0\0\x40"
    assert base64.b64decode(blob)[-32:] == pair.dropbear[-32:]
