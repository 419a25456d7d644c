"""Law 2 through the whole service: what a guest carries that could meet production never reaches a
running copy.
"""

from __future__ import annotations

import json
import ssl
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.commands import Shell
from tests.integration.conftest import LANGEO

pytestmark = pytest.mark.slow


def as_root(site: Shell, method: str, path: str, **params: str) -> Any:
    """Call the lab's API with the ticket of root@pam, who alone may set the dangerous options."""
    home = site.state / "lab"
    saved, root = (
        json.loads((home / name).read_text(encoding="utf-8"))
        for name in ("settings.json", "root.json")
    )
    context = ssl.create_default_context(cafile=saved["pve"]["ca_file"])

    def call(method: str, path: str, params: dict[str, str], headers: dict[str, str]) -> Any:
        body = urllib.parse.urlencode(params).encode() if params else None
        request = urllib.request.Request(
            f"https://{saved['pve']['host']}/api2/json{path}", body, headers, method=method
        )
        with urllib.request.urlopen(request, context=context, timeout=30) as answer:
            return json.load(answer)["data"]

    ticket = call(
        "POST", "/access/ticket", {"username": root["user"], "password": root["password"]}, {}
    )
    cookie = f"PVEAuthCookie={urllib.parse.quote(ticket['ticket'], safe='')}"
    return call(
        method,
        path,
        params,
        {"Cookie": cookie, "CSRFPreventionToken": ticket["CSRFPreventionToken"]},
    )


def result_with(site: Shell, vmid: int, **config: str) -> Any:
    """Give a guest some configuration, back it up, test its archive, and return what came of it."""
    path = f"/nodes/clovis/qemu/{vmid}/config"
    as_root(site, "PUT", path, **config)
    try:
        assert site("backup", "run", "--vmid", vmid, "--json").code == 0
        return site("restore-test", vmid, "--json")
    finally:
        as_root(site, "PUT", path, delete=",".join(config))


def tasks(site: Shell, kind: str) -> list[str]:
    """The UPIDs of a kind of task on a scratch VMID."""
    rows = as_root(site, "GET", "/nodes/clovis/tasks?limit=500&source=all")
    return [row["upid"] for row in rows if row["type"] == kind and row["id"].startswith("90")]


def test_law_2_a_medium_of_production_is_taken_out_and_kept_as_evidence(site: Shell) -> None:
    for node in ("clovis", "lge-pve02"):
        iso = (
            site.state
            / "lab"
            / "nodes"
            / node
            / "var"
            / "lib"
            / "vz"
            / "template"
            / "iso"
            / "tools.iso"
        )
        iso.parent.mkdir(parents=True, exist_ok=True)
        iso.write_bytes(b"iso")
    answer = result_with(site, 110, ide2="local:iso/tools.iso,media=cdrom")
    assert answer.json["error"] is None
    assert any(
        sentence.startswith("ide2: medium local:iso/tools.iso")
        for sentence in answer.json["isolation"]["stripped"]
    )
    assert all(sentence.startswith("holds: ") for sentence in answer.json["isolation"]["asserted"])


def test_law_2_a_guest_whose_host_devices_the_token_may_not_replace_is_refused_before_it_is_restored(
    site: Shell,
) -> None:
    restored = tasks(site, "qmrestore")
    answer = result_with(site, 110, hostpci0="0000:01:00.0", usb0="host=1234:5678")
    assert answer.code == 4
    assert "VM.Config.HWType" in answer.json["error"]["message"]
    assert "hostpci0" in answer.json["error"]["message"]
    # what was not done is not said
    assert answer.json["isolation"] == {"stripped": [], "asserted": []}
    assert tasks(site, "qmrestore") == restored


def test_law_2_a_frozen_guest_boots_as_a_copy_and_its_tags_do_not_follow(site: Shell) -> None:
    answer = result_with(site, 110, freeze="1", tags="daily;prod", rng0="source=/dev/urandom")
    assert answer.json["error"] is None
    assert {"freeze: 1 became 0", "tags: daily;prod became backupsvc-scratch"} <= set(
        answer.json["isolation"]["stripped"]
    )
    assert all(sentence.startswith("holds: ") for sentence in answer.json["isolation"]["asserted"])


def test_law_2_a_copy_that_nobody_but_root_could_make_harmless_is_never_started(
    site: Shell,
) -> None:
    restored = tasks(site, "qmrestore")
    answer = result_with(site, 109, args="-no-reboot")
    assert answer.code == 4
    assert answer.json["verdict"] != "proven"
    assert "args" in answer.json["error"]["message"]
    assert "(law 2)" in answer.json["error"]["message"]
    assert tasks(site, "qmrestore") == restored
    assert not [
        guest
        for guest in as_root(site, "GET", "/cluster/resources?type=vm")
        if guest["vmid"] >= 9000
    ]


def test_law_2_no_copy_is_made_for_a_bridge_that_joins_production(
    site: Shell, policy_of: Path
) -> None:
    restored, started = tasks(site, "qmrestore"), tasks(site, "qmstart")
    policy_of.write_text(
        LANGEO.read_text(encoding="utf-8").replace("bridge: vmbr9", "bridge: vmbr0"),
        encoding="utf-8",
    )
    assert site("backup", "run", "--vmid", 108, "--json").code == 0
    answer = site("restore-test", 108, "--json", BACKUPSVC_POLICY=str(policy_of))
    assert answer.code == 4
    assert "bridge vmbr0 on clovis has the ports eno1" in answer.json["error"]["message"]
    assert "(law 2)" in answer.json["error"]["message"]
    assert answer.json["verdict"] != "proven"
    assert (tasks(site, "qmrestore"), tasks(site, "qmstart")) == (restored, started)


def test_law_2_a_copy_does_not_start_with_its_node_and_is_not_protected(site: Shell) -> None:
    answer = result_with(site, 107, protection="1")
    assert "protection: 1 became 0" in answer.json["isolation"]["stripped"]
    assert "onboot: 1 became 0" in answer.json["isolation"]["stripped"]
    assert answer.json["error"] is None


def test_law_1_production_guests_are_untouched_by_a_restore_test(site: Shell) -> None:
    def configs() -> dict[int, Any]:
        guests = as_root(site, "GET", "/cluster/resources?type=vm")
        return {
            guest["vmid"]: as_root(
                site, "GET", f"/nodes/{guest['node']}/qemu/{guest['vmid']}/config"
            )
            for guest in guests
        }

    site("backup", "run", "--vmid", 101, "--json")
    before = configs()
    site("restore-test", 101, "--json")
    assert configs() == before
