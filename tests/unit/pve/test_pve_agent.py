"""The guest agent, as a real server relays it."""

from __future__ import annotations

import pytest

from backupsvc.errors import AgentHeld, PveError, PvePermissionDenied, PveUnreachable, TaskFailed
from backupsvc.pve import Pve
from tests.fakes.clock import SteppingClock
from tests.fakes.pve_server import FakePve, Reply, refuse

AGENT = "/nodes/pve/qemu/9001/agent"
STATUS = "/nodes/pve/qemu/9001/status/current"
RUNS = {"status": "running", "qmpstatus": "running", "agent": 1, "uptime": 60}


@pytest.fixture(autouse=True)
def _running(fake: FakePve) -> None:
    """Guests that run, and that nobody dumps."""
    for vmid in (200, 9001, 9010):
        fake.on("GET", f"/nodes/pve/qemu/{vmid}/status/current", RUNS)


def test_an_agent_that_answers_answers(fake: FakePve, pve: Pve) -> None:
    fake.on("POST", f"{AGENT}/ping", {"result": {}})
    assert pve.agent.ping("pve", 9001)
    assert pve.agent.port("pve", 9001).ping()


@pytest.mark.parametrize("text", ["VM 9001 is not running", "QEMU guest agent is not running"])
def test_a_guest_that_still_boots_does_not_answer_yet(fake: FakePve, pve: Pve, text: str) -> None:
    fake.on("POST", f"{AGENT}/ping", refuse(500, text))
    assert not pve.agent.ping("pve", 9001)


def test_a_recorded_boot_is_silence_and_then_an_answer(fake: FakePve, pve: Pve) -> None:
    fake.replay("05", 71)
    assert not pve.agent.ping("pve", 9001)


@pytest.mark.parametrize(
    ("status", "reason"),
    [(595, "No route to host"), (595, "Connection refused"), (596, "Connection timed out")],
)
def test_a_node_that_does_not_answer_is_no_silence_of_a_guests_agent(
    fake: FakePve, pve: Pve, status: int, reason: str
) -> None:
    fake.on("POST", f"{AGENT}/ping", Reply(status=status, reason=reason, raw=""))
    fake.on("GET", "/nodes/pve/version", Reply(status=595, reason="No route to host", raw=""))
    with pytest.raises(PveUnreachable) as caught:
        pve.agent.ping("pve", 9001)
    assert caught.value.node == "pve"


def test_what_an_agent_says_in_characters_that_pve_cannot_pass_on_is_its_silence(
    fake: FakePve, pve: Pve
) -> None:
    fake.on("POST", f"{AGENT}/ping", Reply(status=596, reason="Broken pipe", raw=""))
    assert not pve.agent.ping("pve", 9001)


def test_a_guest_without_agent_is_an_error_and_no_silence(fake: FakePve, pve: Pve) -> None:
    fake.replay("06", 586)
    with pytest.raises(PveError, match="No QEMU guest agent configured"):
        pve.agent.ping("pve", 9010)


def test_a_missing_right_to_ask_the_agent_is_no_silence(fake: FakePve, pve: Pve) -> None:
    fake.replay("06", 529)
    with pytest.raises(PvePermissionDenied):
        pve.agent.ping("pve", 200)


def test_the_operating_system_is_unwrapped(fake: FakePve, pve: Pve) -> None:
    fake.on(
        "GET",
        f"{AGENT}/get-osinfo",
        {"result": {"pretty-name": "Lab guest 1", "kernel-release": "6.12"}},
    )
    fake.replay("05", 84, 86)
    assert pve.agent.osinfo("pve", 9001)["pretty-name"] == "Lab guest 1"
    assert pve.agent.hostname("pve", 9001) == "labguest"
    assert pve.agent.interfaces("pve", 9001)[0]["name"] == "lo"


def test_an_error_inside_a_200_is_an_error(fake: FakePve, pve: Pve) -> None:
    fake.on(
        "GET",
        f"{AGENT}/get-osinfo",
        {"result": {"error": {"class": "GenericError", "desc": "not supported"}}},
    )
    with pytest.raises(PveError, match="not supported"):
        pve.agent.osinfo("pve", 9001)


def test_a_command_is_run_and_its_three_answers_are_kept(fake: FakePve, pve: Pve) -> None:
    fake.replay("05", 97, 98)
    result = pve.agent.exec("pve", 9001, ["/bin/sh", "-c", "echo out; echo err >&2; exit 3"], 10)
    assert (result.exitcode, result.out, result.err, result.signal, result.truncated) == (
        3,
        "out\n",
        "err\n",
        None,
        False,
    )
    assert fake.sent("POST", f"{AGENT}/exec") == [
        {"command": ["/bin/sh", "-c", "echo out; echo err >&2; exit 3"]}
    ]


def test_the_bytes_of_a_guest_become_its_text_again(fake: FakePve, pve: Pve) -> None:
    fake.replay("05c", 5, 6)
    assert pve.agent.exec("pve", 200, ["printf", "\\303\\274"], 10).out == "ü"


def test_a_command_that_takes_its_time_is_asked_for_until_it_ends(fake: FakePve, pve: Pve) -> None:
    fake.on("POST", f"{AGENT}/exec", {"pid": 7})
    fake.on("GET", f"{AGENT}/exec-status", {"exited": 0}, {"exited": 0}, {"exited": 1, "signal": 9})
    result = pve.agent.exec("pve", 9001, ["sleep", "9"], 60)
    assert (result.exitcode, result.signal) == (None, 9)
    assert fake.sent("GET", f"{AGENT}/exec-status") == [{"pid": "7"}] * 3


def test_a_command_that_outlives_its_deadline_is_an_error_and_no_task_failure(
    fake: FakePve, pve: Pve
) -> None:
    fake.on("POST", f"{AGENT}/exec", {"pid": 7})
    fake.on("GET", f"{AGENT}/exec-status", {"exited": 0})
    with pytest.raises(PveError, match="still runs in guest 9001") as caught:
        pve.agent.exec("pve", 9001, ["sleep", "99"], 5)
    assert not isinstance(caught.value, TaskFailed)


def test_a_file_is_read_and_its_bytes_become_its_text_again(fake: FakePve, pve: Pve) -> None:
    fake.on("GET", f"{AGENT}/file-read", {"content": "f\u00c3\u00bcr\n", "bytes-read": 5})
    assert pve.agent.read_file("pve", 9001, "/etc/motd") == "f\u00fcr\n"
    assert fake.sent("GET", f"{AGENT}/file-read") == [{"file": "/etc/motd"}]


def test_the_answer_of_a_command_is_fetched_once_even_when_the_line_breaks(
    fake: FakePve, pve: Pve
) -> None:
    fake.on("POST", f"{AGENT}/exec", {"pid": 7})
    fake.on("GET", f"{AGENT}/exec-status", Reply(drop=True), {"exited": 1, "exitcode": 0})
    with pytest.raises(Exception, match="exec-status"):
        pve.agent.exec("pve", 9001, ["true"], 5)
    assert len(fake.sent("GET", f"{AGENT}/exec-status")) == 1


# --- never while a dump runs ----------------------------------------------------------------------


@pytest.mark.parametrize("lock", ["backup", "snapshot"])
@pytest.mark.parametrize("call", ["ping", "osinfo", "hostname", "interfaces", "frozen", "thaw"])
def test_no_agent_is_asked_anything_while_its_guest_is_being_dumped(
    fake: FakePve, pve: Pve, call: str, lock: str
) -> None:
    fake.on("GET", STATUS, RUNS | {"lock": lock})
    with pytest.raises(AgentHeld, match="being dumped"):
        getattr(pve.agent, call)("pve", 9001)
    with pytest.raises(AgentHeld):
        pve.agent.exec("pve", 9001, ["true"], 5)
    assert [request for request in fake.requests if "/agent/" in request.path] == []
    assert pve.agent.held("pve", 9001)


def test_a_command_that_runs_when_a_dump_begins_is_asked_for_after_it(
    fake: FakePve, pve: Pve
) -> None:
    dumped = RUNS | {"lock": "backup"}
    fake.on("GET", STATUS, RUNS, dumped, dumped, RUNS)
    fake.on("POST", f"{AGENT}/exec", {"pid": 7})
    fake.on("GET", f"{AGENT}/exec-status", {"exited": 0}, {"exited": 1, "exitcode": 0})
    assert pve.agent.exec("pve", 9001, ["sleep", "9"], 60).exitcode == 0


def test_one_look_at_the_lock_serves_for_the_calls_of_that_second(fake: FakePve, pve: Pve) -> None:
    fake.on("POST", f"{AGENT}/ping", {"result": {}})
    fake.on("GET", f"{AGENT}/get-osinfo", {"result": {}})
    pve.agent.ping("pve", 9001)
    pve.agent.osinfo("pve", 9001)
    assert len(fake.sent("GET", STATUS)) == 1


def test_a_look_at_the_lock_serves_no_longer_than_that(
    fake: FakePve, pve: Pve, clock: SteppingClock
) -> None:
    fake.on("GET", STATUS, RUNS, RUNS | {"lock": "backup"})
    fake.on("POST", f"{AGENT}/ping", {"result": {}})
    assert pve.agent.ping("pve", 9001)
    clock.time += 1.0
    with pytest.raises(AgentHeld):
        pve.agent.ping("pve", 9001)


@pytest.mark.parametrize(("said", "frozen"), [("frozen", True), ("thawed", False)])
def test_the_agent_says_whether_the_file_systems_are_frozen(
    fake: FakePve, pve: Pve, said: str, frozen: bool
) -> None:
    fake.on("POST", f"{AGENT}/fsfreeze-status", {"result": said})
    assert pve.agent.frozen("pve", 9001) is frozen


@pytest.mark.parametrize(
    "said", [{"error": {"class": "GenericError", "desc": "no"}}, None, "error", {}]
)
def test_an_agent_that_says_neither_is_never_taken_for_thawed(
    fake: FakePve, pve: Pve, said: object
) -> None:
    fake.on("POST", f"{AGENT}/fsfreeze-status", {"result": said})
    with pytest.raises(PveError):
        pve.agent.frozen("pve", 9001)


def test_a_guest_is_thawed_through_its_agent(fake: FakePve, pve: Pve) -> None:
    fake.on("POST", f"{AGENT}/fsfreeze-thaw", {"result": 2})
    pve.agent.thaw("pve", 9001)
    assert fake.changes() == [("POST", f"{AGENT}/fsfreeze-thaw")]
