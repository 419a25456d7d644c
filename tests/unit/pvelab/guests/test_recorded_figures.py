"""Fields and their types as the real server was seen to give them: whole zeroes, numbers and text,
what is left out.
"""

from __future__ import annotations

import re
import shlex
from types import SimpleNamespace
from typing import Any

import pytest

from pvelab import seed
from pvelab.guests import dump_progress
from pvelab.guests.vzdump_options import command
from pvelab.kernel import Lab
from pvelab.simulated import SimulatedMachine
from tests.unit.pvelab.guests import recorded
from tests.unit.pvelab.guests.conftest import HOME, MIB, Api

QEMU = f"{HOME}/qemu"
_JOB = re.compile(r"INFO: starting new backup job: (vzdump .*)")


def jobs() -> list[str]:
    """Every command line that a recorded log begins with."""
    found = dict.fromkeys(match[1] for match in _JOB.finditer("\n".join(recorded.lines())))
    assert len(found) > 15
    return list(found)


@pytest.mark.parametrize("line", jobs())
def test_a_jobs_command_line_is_quoted_as_the_recorded_one(line: str) -> None:
    words = shlex.split(line)[1:]
    at = next((n for n, word in enumerate(words) if word.startswith("--")), len(words))
    params = {"vmid": ",".join(words[:at])} if at else {}
    options = dict(zip(words[at::2], words[at + 1 :: 2], strict=True))
    params |= {name.removeprefix("--"): value for name, value in options.items()}
    assert sorted(command(params).split(" --")) == sorted(line.split(" --"))


@pytest.mark.parametrize(
    ("template", "shown"),
    [
        ("x", "x"),
        ("{{guestname}}", "'{{guestname}}'"),
        ("a b", "'a b'"),
        ("a=b", "'a=b'"),
        ("it's", r"'it'\''s'"),
        ("", "''"),
    ],
)
def test_a_notes_template_is_quoted_only_where_a_shell_would_read_it_otherwise(
    template: str, shown: str
) -> None:
    assert command({"vmid": "108", "notes-template": template, "node": "clovis"}) == (
        f"vzdump 108 --notes-template {shown} --node clovis"
    )


@pytest.mark.parametrize(
    ("seconds", "line"),
    [
        (0.4, "INFO: transferred 64.00 MiB in <1 seconds"),
        (2.5, "INFO: transferred 64.00 MiB in 2 seconds (32.0 MiB/s)"),
    ],
)
def test_the_sum_of_less_than_a_second_has_no_rate(
    monkeypatch: pytest.MonkeyPatch, seconds: float, line: str
) -> None:
    now, said = [100.0], list[str]()
    monkeypatch.setattr(
        dump_progress, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=None)
    )
    log: Any = SimpleNamespace(info=lambda text: said.append(f"INFO: {text}"), task=None)
    progress = dump_progress.Progress(log, 64 * MIB, 0)
    now[0] += seconds
    progress.finish()
    assert said[-1] == line
    shape = recorded.shape(
        [line, *(text for text in recorded.log("03_vzdump_ok", 14) if "transferred" in text)]
    )
    assert shape[0] == shape[1]


def test_the_task_that_ended_last_is_saved_as_a_number_until_it_is_read_back(
    api: Api, lab: Lab
) -> None:
    real = recorded.exchange("07_tasks", 31)["response"]["json"]["data"]
    assert [type(row["saved"]) for row in real[:2]] == [int, str]
    for vmid in (104, 108):
        api.task("POST", f"{QEMU}/{vmid}/status/start")
    rows = [row for row in api("GET", "/cluster/tasks") if row["type"] == "qmstart"]
    newest = max(row["endtime"] for row in rows)
    assert {row["saved"] for row in rows if row["endtime"] == newest} == {1}
    lab.nodes["clovis"].drift += 11
    assert {row["saved"] for row in api("GET", "/cluster/tasks")} == {"1"}


def test_what_a_guest_uses_of_its_processors_is_a_whole_zero_until_it_was_measured(
    api: Api, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = recorded.exchange("02_inventory", 38)["response"]["json"]["data"]
    assert [type(row["cpu"]) for row in sorted(real, key=lambda row: row["vmid"])] == [int, float]
    api.start(104)

    def shares() -> list[float]:
        listed = next(row for row in api("GET", QEMU) if row["vmid"] == 104)
        resource = next(
            row for row in api("GET", "/cluster/resources", type="vm") if row["vmid"] == 104
        )
        return [listed["cpu"], api("GET", f"{QEMU}/104/status/current")["cpu"], resource["cpu"]]

    assert [type(share) for share in shares()] == [int] * 3
    monkeypatch.setattr(SimulatedMachine, "uptime", lambda self: 12.0)
    assert [type(share) for share in shares()] == [float] * 3


@pytest.mark.parametrize("port", range(4))
def test_a_guest_with_a_serial_port_says_so_in_listing_and_status(
    api: Api, lab: Lab, port: int
) -> None:
    real = {
        row["vmid"]: row.get("serial")
        for row in recorded.exchange("02_inventory", 19)["response"]["json"]["data"]
    }
    assert real == {100: None, 200: 1}
    lab.guests.need("clovis", 104).config[f"serial{port}"] = "socket"
    assert {row["vmid"]: row.get("serial") for row in api("GET", QEMU)} == {
        104: 1,
        105: None,
        108: None,
    }
    assert api("GET", f"{QEMU}/104/status/current")["serial"] == 1


def test_a_disk_is_idle_since_a_time_only_once_it_was_used(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = recorded.exchange("02_inventory", 22)["response"]["json"]["data"]["blockstat"]["scsi0"]
    api.start(104)
    monkeypatch.setattr(SimulatedMachine, "uptime", lambda self: 1.0)
    first = api("GET", f"{QEMU}/104/status/current")["blockstat"]["scsi0"]
    assert (first["rd_operations"], first.keys()) == (0, real.keys() - {"idle_time_ns"})
    monkeypatch.setattr(SimulatedMachine, "uptime", lambda self: 3.0)
    used = api("GET", f"{QEMU}/104/status/current")["blockstat"]
    assert used["scsi0"].keys() == real.keys() and used["scsi0"]["idle_time_ns"] > 0
    assert (used["scsi0"]["rd_operations"], used["scsi1"]["rd_operations"]) == (
        real["rd_operations"],
        1,
    )


def test_a_nodes_cards_are_listed_beside_its_bridges_and_said_to_exist(api: Api) -> None:
    rows = {row["iface"]: row for row in api("GET", f"{HOME}/network")}
    assert {name: (row["type"], row.get("exists")) for name, row in rows.items()} == {
        "vmbr0": ("bridge", None),
        "vmbr9": ("bridge", None),
        "eno1": ("eth", 1),
    }
    assert len({row["priority"] for row in rows.values()}) == 3
    assert {row["iface"] for row in api("GET", f"{HOME}/network", type="any_bridge")} == {
        "vmbr0",
        "vmbr9",
    }
    assert [row["iface"] for row in api("GET", f"{HOME}/network", type="eth")] == ["eno1"]


def test_a_bridge_of_the_archives_own_config_is_refused_inside_the_task_as_recorded(
    api: Api, lab: Lab
) -> None:
    volid = api.dump(104)
    service = api.with_token(seed.SERVICE_TOKEN)
    status, log = service.task("POST", QEMU, vmid=9000, archive=volid, storage="local-lvm")
    real = recorded.log("10_permissions", 255)
    bridge = "/sdn/zones/localnetwork/vmbr0"
    assert status == f"403 Permission check failed ({bridge}/10, SDN.Use)"
    theirs = [line.replace("VM 9030", "VM 9000").replace(bridge, f"{bridge}/10") for line in real]
    assert log == theirs
    assert (
        service.refused(
            "POST", QEMU, vmid=9001, archive=volid, storage="local-lvm", net0="virtio,bridge=vmbr0"
        )[0]
        == 403
    )
