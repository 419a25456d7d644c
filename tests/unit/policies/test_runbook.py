"""The runbook: pages that a tired person can type from, when nothing else is left."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import runbook
from policies.compliance.facts import SiteFacts
from policies.model import (
    ArchiveCopy,
    CopyRoute,
    CopyTarget,
    Directory,
    GuestPolicy,
    GuestType,
    PveStorage,
    SftpFolder,
    Verdict,
)
from policies.needs import Needs
from policies.runbook import Page, pages
from tests.unit.policies.what_if.sites import NEEDS, SHA, site
from tests.unit.report.langeo import GIB, NAMES, NIGHTS, NOW, archive, changed, guest, policy, proof

VAULT = CopyTarget("vault", SftpFolder("vault.example", 2222, "keeper", "/copies", ("key",)))
USB = CopyTarget("usb", Directory("/mnt/usb"))
PVE = CopyTarget("pve02", PveStorage("lge-pve02", "local", "/var/lib/vz/dump"))
FOLDERS = {
    "vault": "sftp://vault.example:2222/copies",
    "usb": "/mnt/usb",
    "pve02": "lge-pve02:/var/lib/vz/dump",
}


def written(facts: SiteFacts, vmid: int = 108, **changes: Any) -> Page:
    """One guest's page; ``changes`` are of the policy."""
    found = pages(facts, policy(copies=(VAULT, USB, PVE), **changes), NOW)
    return next(page for page in found if page.name.startswith(f"guests/{vmid}"))


def copied(facts: SiteFacts, target: str, **changes: Any) -> SiteFacts:
    """The site in which only a copy of 108 at that target is left."""
    one = archive(108, NIGHTS[-1])
    route = CopyRoute(target, FOLDERS[target], target, one.node, one.volid, 108)
    copy = ArchiveCopy(
        route, one.volid.rpartition("/")[2], one.size, SHA, NOW, "read back", "01COPY"
    )
    return changed(
        facts, 108, archives=(), removed=(one,), proofs=(), copies=(replace(copy, **changes),)
    )


def test_the_order_is_that_of_the_tiers_and_says_what_is_proven_and_how_long_it_takes() -> None:
    order = pages(site(), policy(), NOW)[0]
    assert order.name == "ORDER.txt"
    lines = [line for line in order.text.splitlines() if "tier" in line]
    assert len(lines) == len(NAMES)
    assert lines[0] == (
        "   1. 108 Debian-Server, tier critical, about 42 s, proven: guests/108-Debian-Server.txt"
    )
    assert "one after the other: 7 min 37 s by measured restore tests, without 0" in order.text
    assert "as it was known on 2026-03-10 09:00 CET" in order.text


def test_what_was_never_tested_or_has_no_archive_is_said_in_the_order() -> None:
    facts = changed(changed(site(), 105, proofs=()), 104, archives=(), proofs=())
    order = pages(replace(facts, simulated=True), policy(), NOW)[0].text
    assert "105 Kanboard-Server, tier standard, never measured, not proven" in order
    assert "104 GLPI-Server, tier standard, never measured, NO WAY BACK IS KNOWN" in order
    assert "without 2 that were never measured" in order and "SIMULATED" in order
    assert ", proven:" not in order


def test_within_a_tier_the_start_order_decides_and_templates_have_no_page() -> None:
    facts = changed(site(), 110, needs=replace(NEEDS, order=0))
    facts = changed(facts, 101, guest=guest(101, template=True))
    names = [page.name for page in pages(facts, policy(), NOW)]
    assert names[1:3] == ["guests/108-Debian-Server.txt", "guests/110-Docker-Server.txt"]
    assert not any("101" in name for name in names)


def test_a_page_tells_the_best_archive_first_with_its_command_and_its_checksum() -> None:
    text = written(site()).text
    first = text[text.index("WAY 1") : text.index("WAY 2")]
    assert "backed up 2026-03-09 21:00 CET" in first and f"SHA-256 {SHA}" in first
    assert "proven on 2026-03-09 23:00 CET, back in 42 s" in first
    volid = archive(108, NIGHTS[-1]).volid
    assert f"    qmrestore {volid} 108\n" in first
    assert "NOT PROVEN" in text[text.index("WAY 3") :]
    assert text.count("WAY ") == runbook.MOST_WAYS
    for line in ("role:     service", "was on:   clovis", "networks: vmbr0", "qm start 108"):
        assert line in text
    assert "it is well if this passes: http :80/" in text
    assert text.index("FIRST see that it runs nowhere") < text.index("WAY 1")


def test_a_proof_whose_return_was_not_timed_is_one_all_the_same() -> None:
    facts = changed(site(), 108, proofs=(proof(108, NIGHTS[-1], rto=None),))
    text = written(facts).text
    assert "proven on 2026-03-09 23:00 CET\n" in text and "restore:  never measured" in text
    failed = proof(108, NIGHTS[0], verdict=Verdict.FAILED)
    facts = changed(site(), 108, proofs=(failed,))
    assert "restore:  never measured" in written(facts).text


def test_a_shared_archive_is_restored_wherever_its_storage_is() -> None:
    on_nas = archive(108, NIGHTS[-1], storage="nas", shared=True)
    text = written(changed(site(), 108, archives=(on_nas,), proofs=())).text
    assert "on any node that has that storage:" in text


def test_a_container_is_brought_back_with_its_own_tool() -> None:
    facts = changed(site(), 108, guest=guest(108, type=GuestType.LXC))
    text = written(facts).text
    assert "    pct restore 108 local:backup/" in text and "pct start 108" in text
    assert "cluster/guests/lxc-108.conf" in text
    volid = archive(108, NIGHTS[-1]).volid.replace("qemu", "lxc")
    of_one_gone = replace(archive(108, NIGHTS[-1]), volid=volid, type=GuestType.LXC)
    gone = changed(site(), 108, guest=None, archives=(of_one_gone,), proofs=(), needs=None)
    text = written(gone).text
    assert f"pct restore 108 {volid}" in text and "it is not in the cluster" in text
    assert "needs:" not in text


def test_a_guest_of_which_nothing_is_known_says_so() -> None:
    facts = changed(site(), 108, archives=(), proofs=(), needs=Needs(), guest=None)
    text = written(facts, guests={}).text
    assert "NO WAY BACK IS KNOWN" in text and "role:" not in text
    assert "disks of no size" in text and "qm start 108" in text


def test_real_devices_and_disks_are_told() -> None:
    needs = Needs(NEEDS.disks, local=("hostpci0 is a device of its node",), memory=2 * GIB)
    text = written(changed(site(), 108, needs=needs)).text
    assert "needs:    2.0 GiB of memory, disks of 16.0 GiB on local-lvm" in text
    assert "NOTE:     hostpci0 is a device of its node" in text


def test_a_plain_copy_is_fetched_checked_and_restored() -> None:
    name = archive(108, NIGHTS[-1]).volid.rpartition("/")[2]
    landed = f"/var/lib/vz/dump/{name}"
    text = written(copied(site(), "vault")).text
    assert f"scp -P 2222 keeper@vault.example:/copies/{name} {landed}" in text
    assert f"echo '{SHA}  {landed}' | sha256sum -c" in text
    assert f"qmrestore {landed} 108" in text and "age -d" not in text
    assert (
        f"scp root@lge-pve02:/var/lib/vz/dump/{name} {landed}"
        in written(copied(site(), "pve02")).text
    )
    text = written(copied(site(), "usb")).text
    assert f"cp from /mnt/usb/{name} of the machine of this service" in text
    assert "NOTE: it lies on the machine of this service" in text


def test_an_encrypted_copy_is_decrypted_piece_by_piece_in_its_order() -> None:
    facts = copied(site(), "vault", recipients=("age1x",), segments="10 20~2 5")
    name = archive(108, NIGHTS[-1]).volid.rpartition("/")[2]
    text = written(facts).text
    assert "mkdir -m 700 -p /root/copy/" in text
    assert f"scp -P 2222 'keeper@vault.example:/copies/{name}.*' /root/copy/" in text
    assert f"for f in {name}.00001.age" in text and 'age -d -i KIT "$f" || break; done >' in text
    assert "NOTE: it is encrypted" in text


def test_a_target_that_the_policy_no_longer_names_is_said_to_be_unknown() -> None:
    facts = copied(site(), "vault")
    (page,) = [
        one for one in pages(facts, policy(copies=()), NOW) if one.name.startswith("guests/108")
    ]
    assert "its target is no longer in the policy" in page.text


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "a\nb", "-rf", "x" * 300, "日本", ".."])
def test_a_pages_name_is_a_plain_one_whatever_the_guest_is_called(name: str) -> None:
    found = runbook.page_name(replace(site().guests[0], name=name))
    assert found.startswith("guests/100") and found.endswith(".txt") and len(found) < 90
    assert found.count("/") == 1 and "\n" not in found and ".." not in found


@given(name=st.text(max_size=40), role=st.text(max_size=40), address=st.text(max_size=20))
def test_no_name_of_others_ends_a_line_or_acts_on_a_terminal(
    name: str, role: str, address: str
) -> None:
    wanted = GuestPolicy(108, name, "critical", role=role, address=address or None)
    facts = changed(site(), 108, name=name)
    text = written(facts, guests={108: wanted}).text
    assert not any(ord(one) < 32 and one != "\n" for one in text)
    plain = written(
        changed(site(), 108, name="x"), guests={108: replace(wanted, role="y", address="z")}
    )
    extra = (not role) + (not address)
    assert len(text.split("\n")) == len(plain.text.split("\n")) - extra


def test_a_name_that_is_no_text_is_written_all_the_same() -> None:
    facts = changed(site(), 108, name="a\ud800b")
    for page in pages(facts, policy(), NOW):
        page.text.encode()


@given(storage=st.text(alphabet=" ;$`'\"()&|<>*", min_size=1, max_size=8))
def test_what_is_typed_is_one_word_for_the_shell_whatever_the_volid_holds(storage: str) -> None:
    odd = replace(archive(108, NIGHTS[-1]), volid=f"{storage}:backup/vzdump-qemu-108.vma")
    text = written(changed(site(), 108, archives=(odd,), proofs=())).text
    command = next(line for line in text.splitlines() if "qmrestore" in line)
    assert shlex.split(command) == ["qmrestore", odd.volid, "108"]
