"""A restore under another VMID: of a guest that is lost as the same machine, of one that exists as a
clone that cannot meet it.
"""

from __future__ import annotations

from typing import Any

import pytest

from policies.pve.guest_config import macs, smbios_uuid
from pvelab.accident import delete_guest
from tests.commands import Shell
from tests.integration.root_shell import NODE, Root

pytestmark = [pytest.mark.slow, pytest.mark.long(300)]
LOST, THERE, FREE, CLONE = 105, 108, 205, 208


@pytest.fixture(scope="module")
def backed_up(site: Shell) -> Shell:
    for vmid in (LOST, THERE):
        assert site("backup", "run", "--vmid", vmid, "--json").code == 0
    return site


def config(site: Shell, vmid: int) -> dict[str, str]:
    found: Any = Root(site.state)("GET", f"/nodes/{NODE}/qemu/{vmid}/config")
    return {key: str(value) for key, value in found.items()}


def test_law_1_a_guest_that_exists_is_not_restored_and_the_way_to_a_clone_is_said(
    backed_up: Shell,
) -> None:
    answer = backed_up("restore", THERE, "--yes", "--json")
    assert answer.code == 4
    assert f"`backupsvc restore {THERE} --as 109 --clone`" not in answer.json["error"]["hint"], (
        "109 is another guest's"
    )
    assert f"`backupsvc restore {THERE} --as " in answer.json["error"]["hint"]


def test_law_2_under_another_vmid_it_would_meet_the_one_that_exists(backed_up: Shell) -> None:
    before = config(backed_up, THERE)
    answer = backed_up("restore", THERE, "--as", CLONE, "--yes", "--json")
    assert answer.code == 4, answer.out
    told = answer.json["error"]
    assert f"guest {THERE} (" in told["message"] and "a second one would meet it" in told["message"]
    assert "--as N --clone" in told["hint"]
    dry = backed_up("restore", THERE, "--as", CLONE, "--dry-run", "--json")
    assert dry.code == 4 and dry.json["blockers"][0]["message"] == told["message"]
    assert CLONE not in Root(backed_up.state).guests()
    assert config(backed_up, THERE) == before


def test_law_2_a_clone_is_another_machine_with_its_links_down_and_is_not_started(
    backed_up: Shell,
) -> None:
    before = config(backed_up, THERE)
    dry = backed_up("restore", THERE, "--as", CLONE, "--clone", "--dry-run", "--json")
    assert dry.code == 0, dry.out + dry.err
    assert dry.json["target"]["vmid"] == CLONE and dry.json["vmid"] == THERE
    assert "its VMID is 208, and was 108" in dry.json["differs"]
    answer = backed_up("restore", THERE, "--as", CLONE, "--clone", "--yes")
    assert answer.code == 0, answer.err
    assert f"guest {CLONE} (" in answer.out and "and not started" in answer.out
    assert "take link_down off its NICs" in answer.out
    made = config(backed_up, CLONE)
    assert all("link_down=1" in value for key, value in made.items() if key.startswith("net"))
    assert macs(made) and not set(macs(made)) & set(macs(before))
    assert smbios_uuid(made) and smbios_uuid(made) != smbios_uuid(before)
    assert made.get("onboot", "0") == "0"
    status: Any = Root(backed_up.state)("GET", f"/nodes/{NODE}/qemu/{CLONE}/status/current")
    assert status["status"] == "stopped"
    assert config(backed_up, THERE) == before
    (operation,) = backed_up("operations", "list", "--kind", "restore", "--json").json["operations"]
    assert operation["subject"] == CLONE
    again = backed_up("restore", THERE, "--as", CLONE, "--clone", "--yes", "--json")
    assert (
        again.code == 4
        and "an existing guest is never overwritten" in again.json["error"]["message"]
    )


def test_law_10_the_clone_is_no_machine_of_the_originals_lineage(backed_up: Shell) -> None:
    assert backed_up("backup", "run", "--vmid", THERE, "--json").code == 0
    told = backed_up("catalog", "lineage", "list", "--vmid", THERE, "--json").json["guests"][0]
    assert len(told["chains"]) == 1
    assert backed_up("catalog", "lineage", "list", "--vmid", CLONE, "--json").code == 1


@pytest.mark.parametrize(
    ("vmid", "code", "said"),
    [
        (9001, 4, "lies in the scratch range"),
        (107, 4, "an existing guest is never overwritten"),
        (99, 2, "99 is no VMID"),
    ],
)
def test_a_vmid_that_is_not_free_is_refused(
    backed_up: Shell, vmid: int, code: int, said: str
) -> None:
    answer = backed_up("restore", THERE, "--as", vmid, "--clone", "--yes", "--json")
    assert answer.code == code and said in answer.json["error"]["message"], answer.out
    for words in (("--clone",), ("--clone", "--as", THERE)):
        assert backed_up("restore", THERE, *words, "--yes").code == 2


def test_a_lost_guest_comes_back_under_another_vmid_as_the_machine_that_it_was(
    backed_up: Shell,
) -> None:
    before = config(backed_up, LOST)
    delete_guest(backed_up.state / "lab", NODE, LOST)
    kept = backed_up("restore", THERE, "--as", LOST, "--clone", "--yes", "--json")
    assert kept.code == 4, "the VMID of a guest that is lost is kept for it"
    assert "is kept for another guest" in kept.json["error"]["message"]
    answer = backed_up("restore", LOST, "--as", FREE, "--no-start", "--json")
    assert answer.code == 0, answer.out + answer.err
    assert (answer.json["vmid"], answer.json["original"], answer.json["clone"]) == (
        FREE,
        LOST,
        False,
    )
    made = config(backed_up, FREE)
    assert macs(made) == macs(before) and smbios_uuid(made) == smbios_uuid(before)
    # there must not be two of it now, whichever way it is asked for
    for words in ((), ("--as", 206)):
        second = backed_up("restore", LOST, *words, "--yes", "--json")
        assert second.code == 4 and f"guest {FREE} (" in second.json["error"]["message"], second.out
        assert "a second one would meet it" in second.json["error"]["message"]
    assert LOST not in Root(backed_up.state).guests()
