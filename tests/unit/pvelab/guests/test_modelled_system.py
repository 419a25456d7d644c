"""What a modelled guest's agent tells of programs and files: a handful of them, in the words of the
recorded agent.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from pvelab import seed
from pvelab.app import dispatch
from pvelab.kernel import Lab
from pvelab.simulated_system import SimulatedSystem
from pvelab.wire import Request
from tests.unit.pvelab.guests.conftest import HOME, Api

AGENT = f"{HOME}/qemu/104/agent"
NO_SUCH = "Agent error: failed to open file '{}' (mode: '{}'): No such file or directory"


@pytest.fixture
def running(api: Api) -> Api:
    api.start(104)
    return api


def run(api: Api, *command: str, **more: Any) -> dict[str, Any]:
    """Run a program to its end and return its result."""
    pid = api("POST", f"{AGENT}/exec", command=command, **more)["pid"]
    result: dict[str, Any] = api("GET", f"{AGENT}/exec-status", pid=pid)
    return result


def sh(api: Api, script: str) -> dict[str, Any]:
    return run(api, "/bin/sh", "-c", script)


def test_each_boot_has_an_id_of_its_own(running: Api, lab: Lab) -> None:
    def boot() -> str:
        return str(
            running("GET", f"{AGENT}/file-read", file="/proc/sys/kernel/random/boot_id")["content"]
        )

    first = boot()
    assert first == boot() and len(first.strip()) == 36
    assert running.task("POST", f"{HOME}/qemu/104/status/reset")[0] == "OK"
    assert boot() != first


@pytest.mark.parametrize(
    ("script", "told"),
    [
        (
            "echo out; echo err >&2; exit 3",
            {"exitcode": 3, "out-data": "out\n", "err-data": "err\n"},
        ),
        ("kill -9 $$", {"signal": 9}),
        ('printf "\\377\\000\\001"', {"exitcode": 0, "out-data": "\xff\0\1"}),
        ("echo a; exit 2; echo b", {"exitcode": 2, "out-data": "a\n"}),
        (
            "/no/such; echo on",
            {"exitcode": 0, "out-data": "on\n", "err-data": "sh: /no/such: not found\n"},
        ),
        ("cat /etc/hostname", {"exitcode": 0, "out-data": "GLPI-Server\n"}),
        ("cat /nowhere", {"exitcode": 1, "err-data": "cat: /nowhere: No such file or directory\n"}),
        ("", {"exitcode": 0}),
    ],
)
def test_the_shell_runs_simple_commands(running: Api, script: str, told: dict[str, Any]) -> None:
    result = sh(running, script)
    assert {name: value for name, value in result.items() if "truncated" not in name} == {
        "exited": 1,
        **told,
    }


@pytest.mark.parametrize(
    "script",
    [
        "for i in 1 2; do echo $i; done",
        "echo a | cat",
        "echo a > /tmp/x",
        "true && echo a",
        "echo $HOME",
        "echo 'a",
        "ls *",
    ],
)
def test_the_shell_says_what_it_does_not_know_instead_of_making_it_up(
    running: Api, script: str
) -> None:
    result = sh(running, f"{script}; echo after" if "'" not in script else script)
    assert result["exitcode"] == 2
    assert result["err-data"].startswith("sh: simulated: this shell does not know: ")
    assert "after" not in result.get("out-data", "")


def test_a_program_reads_what_it_is_given_and_an_unknown_one_says_that_nothing_runs(
    running: Api,
) -> None:
    assert run(running, "/bin/cat", input_data="hello stdin\n")["out-data"] == "hello stdin\n"
    assert run(running, "systemctl", "is-active", "glpi")["out-data"] == "simulated: systemctl\n"


@pytest.mark.parametrize("program", ["/no/such", "ls /"])
def test_a_program_that_does_not_exist_is_596_as_on_a_real_server(
    running: Api, lab: Lab, program: str
) -> None:
    body = f"command={quote(program, safe='')}".encode()
    headers = {
        "content-length": str(len(body)),
        "content-type": "application/x-www-form-urlencoded",
    }
    headers["authorization"] = f"PVEAPIToken={seed.token(lab, seed.ROOT_TOKEN)}"
    reply = dispatch(lab, Request("POST", f"/api2/json{AGENT}/exec", "", headers, body))
    assert (reply.status, reply.reason, reply.body) == (596, "Broken pipe", b"")


def test_a_program_runs_for_as_long_as_it_sleeps_and_its_result_is_told_once() -> None:
    now = [0.0]
    system = SimulatedSystem("guest", lambda: now[0], lambda: now[0], lambda: None)
    pid = system.execute({"path": "/bin/sh", "arg": ["-c", "sleep 3; echo done"]})
    assert system.status(pid) == {"exited": False}
    now[0] = 3.0
    assert system.status(pid)["exited"]
    with pytest.raises(Exception, match="PID ld does not exist"):
        system.status(pid)


def test_files_hold_what_is_written_until_the_guest_is_off(running: Api, lab: Lab) -> None:
    running("POST", f"{AGENT}/file-write", file="/tmp/x.txt", content="häl\nlo")
    assert running("GET", f"{AGENT}/file-read", file="/tmp/x.txt") == {
        "bytes-read": 6,
        "content": "häl\nlo",
    }
    running("POST", f"{AGENT}/file-write", file="/tmp/x.txt", content="aGVsbG8=", encode=0)
    assert running("GET", f"{AGENT}/file-read", file="/tmp/x.txt") == {
        "bytes-read": 5,
        "content": "hello",
    }
    lab.machines[104].stop()
    lab.machines[104].start()
    assert running.refused("GET", f"{AGENT}/file-read", file="/tmp/x.txt") == (
        500,
        NO_SUCH.format("/tmp/x.txt", "r"),
    )


def test_a_long_file_is_read_in_pieces(running: Api) -> None:
    running("POST", f"{AGENT}/file-write", file="/tmp/long", content="x" * 50_000)
    lab_answer = running.lab.machines[104].agent("guest-file-open", {"path": "/tmp/long"})
    first = running.lab.machines[104].agent(
        "guest-file-read", {"handle": lab_answer, "count": 30_000}
    )
    assert (first["count"], first["eof"]) == (30_000, False)
    assert running.lab.machines[104].agent(
        "guest-file-read", {"handle": lab_answer, "count": 30_000}
    )["eof"]


def test_files_are_refused_in_the_agents_words(running: Api) -> None:
    assert running.refused("GET", f"{AGENT}/file-read", file="/no/such") == (
        500,
        NO_SUCH.format("/no/such", "r"),
    )
    assert running.refused("POST", f"{AGENT}/file-write", file="/no/such/dir", content="x") == (
        500,
        NO_SUCH.format("/no/such/dir", "wb"),
    )
    assert (
        running.refused("GET", f"{AGENT}/file-read", file="/tmp")[1]
        == "Agent error: failed to read file: Is a directory"
    )
    assert (
        "Is a directory"
        in running.refused("POST", f"{AGENT}/file-write", file="/tmp", content="x")[1]
    )
    assert (
        "Permission denied"
        in running.refused("POST", f"{AGENT}/file-write", file="/proc/version", content="x")[1]
    )
    wide = "Wide character in subroutine entry at /usr/share/perl5/PVE/API2/Qemu/Agent.pm line 580."
    assert running.refused("POST", f"{AGENT}/file-write", file="/tmp/u", content="€") == (500, wide)


def test_a_guest_that_powers_itself_off_is_off(running: Api, lab: Lab) -> None:
    running("POST", f"{AGENT}/exec", command=["/bin/sh", "-c", "sync; poweroff -f"])
    assert lab.machine_status(104) == "stopped"


def test_the_old_form_has_the_calls_that_the_schema_lacks(running: Api) -> None:
    def ask(command: str) -> Any:
        return running("POST", AGENT, command=command)["result"]

    assert ask("get-timezone") == {"zone": "UTC", "offset": 0}
    assert [row["logical-id"] for row in ask("get-vcpus")] == list(range(len(ask("get-vcpus"))))
    assert ask("fstrim") == {"paths": []}
    assert all(row["online"] for row in ask("get-memory-blocks"))
