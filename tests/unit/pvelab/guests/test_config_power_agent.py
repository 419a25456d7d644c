"""A guest's configuration, its power and its agent over the API, in the recorded words."""

from __future__ import annotations

from typing import Any

import pytest

from pvelab import seed
from pvelab.app import dispatch
from pvelab.guests.devices import drive, format_size, net, with_mac
from pvelab.guests.text import archive_size, clock, duration, size
from pvelab.kernel import Lab
from pvelab.vmm.machine import AgentFailure
from pvelab.wire import Request
from tests.unit.pvelab.guests.conftest import HOME, Api
from tests.waiting import wait_until

QEMU = f"{HOME}/qemu"
AGENT = f"{QEMU}/104/agent"


def test_a_config_answers_numbers_for_numbers_and_strings_for_the_rest(api: Api) -> None:
    config = api("GET", f"{QEMU}/104/config")
    assert (config["cores"], config["onboot"], config["memory"], config["agent"]) == (
        1,
        1,
        "2048",
        "1",
    )
    assert len(config["digest"]) == 40


def test_setting_and_deleting_options_changes_the_file_and_the_digest(api: Api, lab: Lab) -> None:
    before = api("GET", f"{QEMU}/108/config")["digest"]
    api("PUT", f"{QEMU}/108/config", digest=before, tags="drill", delete="onboot,net1")
    config = api("GET", f"{QEMU}/108/config")
    assert (config["tags"], "onboot" in config, config["digest"] != before) == (
        "drill",
        False,
        True,
    )
    stored = (lab.etc / "nodes/clovis/qemu-server/108.conf").read_text()
    assert "tags: drill\n" in stored and "onboot" not in stored


@pytest.mark.parametrize(
    ("params", "answer"),
    [
        ({}, (500, "no options specified")),
        ({"delete": "nosuch"}, (400, str({"delete": "unknown option 'nosuch'"}))),
        (
            {"delete": "net0", "net0": "virtio,bridge=vmbr9"},
            (400, str({"delete": "you can't use '-net0' and -delete net0' at the same time"})),
        ),
        (
            {"digest": "0" * 40, "tags": "x"},
            (500, "checksum mismatch (file change by other user?)"),
        ),
        ({"args": "-foo"}, (500, "only root can set 'args' config")),
        ({"lock": "snapshot"}, (500, "only root can set 'lock' config")),
        ({"delete": "hookscript"}, (500, "only root can set 'hookscript' config")),
        ({"skiplock": 1, "tags": "x"}, (400, str({"skiplock": "Only root may use this option."}))),
    ],
)
def test_a_change_that_pve_refuses_is_refused_in_its_words(
    api: Api, params: dict[str, Any], answer: tuple[int, str]
) -> None:
    assert api.refused("PUT", f"{QEMU}/108/config", **params) == answer


def test_the_everyday_token_may_not_touch_disks_or_production_bridges(api: Api) -> None:
    service = api.with_token(seed.SERVICE_TOKEN)
    path = f"{QEMU}/108/config"
    assert service.refused("PUT", path, delete="scsi0") == (
        403,
        "Permission check failed (/vms/108, VM.Config.Disk)",
    )
    assert service.refused("PUT", path, startup="order=1") == (
        403,
        "Permission check failed (/, Sys.Modify)",
    )
    denied = "Permission check failed (/sdn/zones/localnetwork/vmbr0, SDN.Use)"
    assert service.refused("PUT", path, net0="virtio,bridge=vmbr0") == (403, denied)
    assert service("PUT", path, net0="virtio,bridge=vmbr9") is None


def test_a_deleted_disk_is_kept_as_unused(api: Api) -> None:
    api("PUT", f"{QEMU}/104/config", delete="scsi1")
    config = api("GET", f"{QEMU}/104/config")
    assert config["unused0"] == "local-lvm:vm-104-disk-1" and "scsi1" not in config


def test_pulling_a_cable_in_the_config_pulls_it_on_the_running_machine(api: Api, lab: Lab) -> None:
    api.start(108)
    nic = api("GET", f"{QEMU}/108/config")["net0"]
    api("PUT", f"{QEMU}/108/config", net0=f"{nic},link_down=1")
    assert lab.machines[108]._links == {0: False}  # type: ignore[attr-defined]
    api("PUT", f"{QEMU}/108/config", net0=nic)
    assert lab.machines[108]._links == {0: True}  # type: ignore[attr-defined]


def test_a_config_can_be_changed_in_a_task(api: Api) -> None:
    assert api.task("POST", f"{QEMU}/108/config", tags="drill;async") == (
        "OK",
        ["update VM 108: -tags drill;async", "TASK OK"],
    )
    assert api("POST", f"{QEMU}/108/config", tags="x", background__delay=5) is None


def test_start_stop_and_their_second_times_end_as_recorded(api: Api) -> None:
    assert api.task("POST", f"{QEMU}/104/status/start") == ("OK", ["TASK OK"])
    assert api.task("POST", f"{QEMU}/104/status/start")[0] == "VM 104 already running"
    assert api("GET", f"{QEMU}/104/status/current")["status"] == "running"
    for _ in range(2):
        assert api.task("POST", f"{QEMU}/104/status/stop") == ("OK", ["TASK OK"])
    assert api.task("POST", f"{QEMU}/104/status/shutdown", timeout=5) == ("OK", ["TASK OK"])
    state = api("GET", f"{QEMU}/104/status/current")
    assert (state["status"], state["qmpstatus"], state["uptime"], state["diskread"]) == (
        "stopped",
        "stopped",
        0,
        None,
    )


def test_a_missing_guest_starts_a_task_that_fails(api: Api) -> None:
    text = "Configuration file 'nodes/clovis/qemu-server/4711.conf' does not exist"
    assert api.task("POST", f"{QEMU}/4711/status/start")[0] == text
    assert api.refused("GET", f"{QEMU}/4711/config") == (500, text)
    assert api.refused("DELETE", f"{QEMU}/4711") == (500, text)
    assert api.refused("POST", f"{QEMU}/4711/agent/ping") == (500, text)


def test_shutdown_asks_the_agent_and_takes_the_guest_down(api: Api) -> None:
    api.start(104)
    assert api.task("POST", f"{QEMU}/104/status/shutdown", timeout=5) == ("OK", ["TASK OK"])
    assert api("GET", f"{QEMU}/104/status/current")["status"] == "stopped"


def test_a_guest_that_ignores_its_shutdown_times_out_or_is_forced(
    api: Api, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.ha.resources.clear()
    api.start(108)
    monkeypatch.setattr(lab.machines[108], "powerdown", lambda: None)
    shutdown = f"{QEMU}/108/status/shutdown"
    assert api.task("POST", shutdown, timeout=0)[0] == "VM quit/powerdown failed - got timeout"
    assert api.task("POST", shutdown, timeout=0, forceStop=1) == (
        "OK",
        ["VM still running - terminating now with SIGTERM", "TASK OK"],
    )


def test_an_ha_managed_guest_is_only_asked_for_and_comes_later(api: Api, lab: Lab) -> None:
    status, log = api.task("POST", f"{QEMU}/108/status/start")
    assert (status, log[0]) == ("OK", "Requesting HA start for VM 108")
    wait_until(
        lambda: (
            ("qmstart", "root@pam")
            in {(upid.type, upid.user) for upid, _, _ in lab.tasks.finished("clovis")}
        )
    )
    assert lab.machine_status(108) == "running"
    assert api("GET", f"{QEMU}/108/status/current")["ha"]["managed"] == 1


def test_destroying_frees_disks_jobs_ha_and_rights(api: Api, lab: Lab) -> None:
    lab.access.acl.append(
        {
            "path": "/vms/108",
            "type": "user",
            "ugid": "backupsvc@pve",
            "roleid": "BackupsvcVms",
            "propagate": 1,
        }
    )
    assert api.refused("DELETE", f"{QEMU}/108")[1].endswith(
        "used in HA resources and purge parameter not set."
    )
    assert api.task("DELETE", f"{QEMU}/108", purge=1)[0] == "OK"
    assert lab.guests.get(108) is None and not lab.ha.manages(108)
    assert "108" not in lab.jobs.entries["backup-langeo"]["vmid"].split(",")
    assert not [entry for entry in lab.access.acl if entry["path"] == "/vms/108"]
    assert api("GET", f"{HOME}/storage/local-lvm/content", vmid=108) == []


def test_a_job_or_rule_that_named_a_destroyed_guest_alone_goes_with_it(api: Api, lab: Lab) -> None:
    lab.jobs.entries |= {
        "alone": {"vmid": "108"},
        "empty": {"vmid": "", "exclude": ""},
        "others": {"all": 1, "exclude": "104;108"},
        "excluded": {"all": 1, "exclude": "108"},
    }
    nodes = {"type": "node-affinity", "nodes": "clovis"}
    lab.ha.rules |= {
        "alone": nodes | {"resources": "vm:108"},
        "both": nodes | {"resources": "vm:104,vm:108"},
    }
    assert api.task("DELETE", f"{QEMU}/108", purge=1)[0] == "OK"
    assert "alone" not in lab.jobs.entries and "alone" not in lab.ha.rules
    assert lab.jobs.entries["others"] == {"all": 1, "exclude": "104"}
    assert lab.jobs.entries["excluded"] == {"all": 1}
    assert lab.ha.rules["both"]["resources"] == "vm:104"


def test_a_protected_or_locked_guest_is_not_destroyed(api: Api, lab: Lab) -> None:
    lab.guests.need("clovis", 104).config["protection"] = "1"
    assert api.refused("DELETE", f"{QEMU}/104") == (
        500,
        "can't remove VM 104 - protection mode enabled",
    )
    lab.guests.need("clovis", 104).config.update(protection="0", lock="snapshot")
    assert api.task("DELETE", f"{QEMU}/104")[0] == "VM is locked (snapshot)"


def test_generic_agent_calls_are_wrapped_and_exec_is_not(api: Api) -> None:
    api.start(104)
    assert api("POST", f"{AGENT}/ping") == {"result": {}}
    assert api("GET", f"{AGENT}/get-osinfo")["result"]["id"] == "simulated"
    assert api("GET", f"{AGENT}/get-host-name") == {"result": {"host-name": "GLPI-Server"}}
    assert api("POST", AGENT, command="get-osinfo")["result"]["id"] == "simulated"
    pid = api("POST", f"{AGENT}/exec", command=["/usr/bin/systemctl", "x"])["pid"]
    answer = api("GET", f"{AGENT}/exec-status", pid=pid)
    assert answer == {
        "exited": 1,
        "exitcode": 0,
        "out-data": "simulated: /usr/bin/systemctl\n",
        "out-truncated": 0,
    }
    assert api.refused("GET", f"{AGENT}/exec-status", pid=pid) == (
        500,
        "Agent error: PID ld does not exist",
    )


def test_an_agent_error_of_a_generic_call_is_a_result_with_status_200(api: Api) -> None:
    api.start(104)
    assert api("POST", AGENT, command="suspend-disk")["result"]["error"]["class"] == "GenericError"


def test_agent_calls_are_refused_in_pves_order(api: Api, lab: Lab) -> None:
    assert api.refused("POST", f"{QEMU}/108/agent/ping") == (500, "No QEMU guest agent configured")
    assert api.refused("POST", f"{AGENT}/ping") == (500, "VM 104 is not running")
    api.start(108)
    api("PUT", f"{QEMU}/108/config", agent="1")
    assert api.refused("POST", f"{QEMU}/108/agent/ping") == (
        500,
        "No QEMU guest agent configured",
    ), "pending only"


def test_a_silent_agent_is_told_for_every_call(
    api: Api, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pvelab.vmm.machine import AgentSilent

    def silent(*_: object, **__: object) -> None:
        raise AgentSilent("no answer")

    api.start(104)
    monkeypatch.setattr(lab.machines[104], "agent", silent)
    for method, path, params in (
        ("POST", "ping", {}),
        ("POST", "exec", {"command": "/bin/true"}),
        ("GET", "file-read", {"file": "/etc/hostname"}),
    ):
        assert api.refused(method, f"{AGENT}/{path}", **params) == (
            500,
            "QEMU guest agent is not running",
        )


def test_bytes_of_a_guest_arrive_as_one_character_each(
    api: Api, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    import base64

    content = "häl\nlo".encode()

    def agent(command: str, arguments: dict[str, Any] | None = None, timeout: float = 3) -> Any:
        answers = {"guest-ping": {}, "guest-file-open": 7, "guest-file-close": {}}
        if command == "guest-file-read":
            return {
                "buf-b64": base64.b64encode(content).decode(),
                "count": len(content),
                "eof": True,
            }
        return answers[command]

    api.start(104)
    monkeypatch.setattr(lab.machines[104], "agent", agent)
    assert api("GET", f"{AGENT}/file-read", file="/tmp/x") == {
        "bytes-read": 7,
        "content": "hÃ¤l\nlo",
    }


def test_an_error_text_beyond_latin_1_never_arrives(
    api: Api, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def agent(command: str, arguments: dict[str, Any] | None = None, timeout: float = 3) -> Any:
        if command == "guest-ping":
            return {}
        raise AgentFailure("Failed to execute child process “/no/such” (No such file or directory)")

    api.start(104)
    monkeypatch.setattr(lab.machines[104], "agent", agent)
    token = {"authorization": f"PVEAPIToken={seed.token(lab, seed.ROOT_TOKEN)}"}
    body = b"command=%2Fno%2Fsuch"
    headers = {
        **token,
        "content-length": str(len(body)),
        "content-type": "application/x-www-form-urlencoded",
    }
    reply = dispatch(lab, Request("POST", f"/api2/json{AGENT}/exec", "", headers, body))
    assert (reply.status, reply.reason, reply.body) == (596, "Broken pipe", b"")


def test_the_token_needs_each_agent_privilege(api: Api, lab: Lab) -> None:
    lab.access.roles["BackupsvcVms"].remove("VM.GuestAgent.Audit")
    service = api.with_token(seed.SERVICE_TOKEN)
    denied = "Permission check failed (/vms/104, VM.GuestAgent.Audit|VM.GuestAgent.Unrestricted)"
    assert service.refused("POST", f"{AGENT}/ping") == (403, denied)
    assert service.refused("POST", f"{AGENT}/exec", command="x")[0] == 403


def test_property_strings_and_sizes_are_read_and_written_as_pve_does() -> None:
    found = drive("scsi0", "local-lvm:vm-108-disk-0,iothread=1,size=32G")
    assert (found.volume, found.size, found.text()) == (
        "local-lvm:vm-108-disk-0",
        32 << 30,
        "local-lvm:vm-108-disk-0,iothread=1,size=32G",
    )
    assert net("virtio=BC:24:11:00:00:01,bridge=vmbr1,link_down=1")["model"] == "virtio"
    assert (
        with_mac("virtio=bc:24:11:00:00:01,bridge=vmbr1") == "virtio=BC:24:11:00:00:01,bridge=vmbr1"
    )
    assert with_mac("model=e1000,bridge=vmbr9").startswith("e1000=BC:24:11:")
    assert [format_size(n) for n in (1 << 30, 200 << 20, 1000, 1025 << 20)] == [
        "1G",
        "200M",
        "1000",
        "1025M",
    ]


def test_logs_write_figures_as_pve_does() -> None:
    assert [archive_size(n) for n in (36_900, 226_000_000, 4_640_000_000)] == [
        "36KB",
        "215MB",
        "4.32GB",
    ]
    assert [size(n) for n in (0, 7 << 20, 1283457024)] == ["0 B", "7.0 MiB", "1.2 GiB"]
    assert size(1057263616, 2) == "1008.29 MiB"
    assert [duration(n) for n in (0, 64, 694861)] == ["0s", "1m 4s", "1w 1d 1h 1m 1s"]
    assert clock(3665) == "01:01:05"
