"""The client: how it asks, what it repeats, and what it says when it is refused."""

from __future__ import annotations

import logging
import socket
import threading
import traceback
import warnings
from pathlib import Path

import pytest
from pydantic import SecretStr
from urllib3.exceptions import InsecureRequestWarning

from backupsvc.errors import (
    LawRefused,
    PveAnswerUnreadable,
    PveError,
    PveNotFound,
    PvePermissionDenied,
    PveTokenRefused,
    PveUnreachable,
    UsageError,
)
from backupsvc.pve import connect
from backupsvc.pve.client import Client, encoded
from tests.fakes.clock import SteppingClock
from tests.fakes.pve_server import SECRET, TOKEN, FakePve, Reply, refuse
from tests.fakes.recorded import RECORDED_AT

from .conftest import settings_for


@pytest.fixture
def client(fake: FakePve, clock: SteppingClock) -> Client:
    return Client(settings_for(fake), SecretStr(TOKEN), clock)


def closed_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def test_a_read_carries_the_token_and_returns_the_data(fake: FakePve, client: Client) -> None:
    fake.replay("02", 6)
    assert client.get("nodes/pve/version").data["release"] == "9.0"
    assert fake.requests[0].headers["Authorization"] == f"PVEAPIToken={TOKEN}"


def test_parameters_are_encoded_so_that_an_equals_sign_and_a_comma_arrive(
    fake: FakePve, client: Client
) -> None:
    fake.on("PUT", "/nodes/pve/qemu/9001/config", None)
    value = "virtio=BC:24:11:00:00:08,bridge=vmbr9;x=ü%"
    client.put(
        "nodes/pve/qemu/9001/config",
        {"net0": value, "onboot": False, "agent": True, "absent": None},
    )
    assert fake.requests[0].params == {"net0": value, "onboot": "0", "agent": "1"}
    # a raw second = would cut the value there (pve-facts 1.2)
    assert "virtio=" not in fake.requests[0].body


def test_a_delete_carries_its_parameters_in_the_query_and_no_body(
    fake: FakePve, client: Client
) -> None:
    fake.on("DELETE", "/nodes/pve/qemu/9001", None)
    client.delete("nodes/pve/qemu/9001", {"purge": True, "destroy-unreferenced-disks": True})
    assert fake.requests[0].raw_path.endswith("?purge=1&destroy-unreferenced-disks=1")
    assert fake.requests[0].body == ""  # PVE answers a body on DELETE with 501


def test_a_list_is_sent_as_a_repeated_key(fake: FakePve, client: Client) -> None:
    fake.on("POST", "/nodes/pve/qemu/9001/agent/exec", {"pid": 1})
    client.post("nodes/pve/qemu/9001/agent/exec", {"command": ["/bin/sh", "-c", "echo a b"]})
    assert fake.requests[0].params == {"command": ["/bin/sh", "-c", "echo a b"]}


def test_a_name_with_odd_characters_stays_one_path(fake: FakePve, client: Client) -> None:
    volid = "local:backup/vzdump-qemu-1 #?%.vma.zst"
    fake.on("GET", f"/nodes/pve/storage/local/content/{volid}", {"path": "/x"})
    assert client.get(f"nodes/pve/storage/local/content/{volid}").data == {"path": "/x"}


@pytest.mark.parametrize("name", ["force", "skiplock"])
def test_law_1_force_and_skiplock_are_never_sent(fake: FakePve, client: Client, name: str) -> None:
    with pytest.raises(LawRefused) as caught:
        client.post("nodes/pve/qemu", {"vmid": 9001, name: True})
    assert caught.value.law == 1
    assert fake.requests == []


def test_encoded_parameters_are_what_pve_takes() -> None:
    assert encoded({"a": True, "b": False, "c": None, "d": 0, "e": "x", "f": ["p"]}) == {
        "a": 1,
        "b": 0,
        "d": 0,
        "e": "x",
        "f": ["p"],
    }


@pytest.mark.parametrize(
    "reply",
    [
        Reply(status=596, reason="Connection timed out", raw=""),
        refuse(503, "restarting"),
        Reply(drop=True),
    ],
)
def test_a_read_is_repeated_when_nobody_answers(
    fake: FakePve, client: Client, clock: SteppingClock, reply: Reply
) -> None:
    fake.on("GET", "/version", reply, reply, {"release": "9.0"})
    assert client.get("version").data == {"release": "9.0"}
    assert clock.slept == [0.3, 1.0]


def test_a_read_is_given_up_after_three_tries(fake: FakePve, client: Client) -> None:
    fake.on("GET", "/nodes/b/status", Reply(status=595, reason="Connection refused", raw=""))
    with pytest.raises(PveUnreachable, match="595 Connection refused"):
        client.get("nodes/b/status")
    assert len(fake.requests) == 3


@pytest.mark.parametrize(
    "reply", [Reply(status=596, reason="Connection timed out", raw=""), Reply(drop=True)]
)
def test_a_write_is_never_repeated(fake: FakePve, client: Client, reply: Reply) -> None:
    fake.on("POST", "/nodes/pve/vzdump", reply)
    with pytest.raises(PveUnreachable):
        client.post("nodes/pve/vzdump", {"vmid": 100})
    assert len(fake.changes()) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 500, 501])
def test_a_refusal_is_not_repeated(fake: FakePve, client: Client, status: int) -> None:
    fake.on("GET", "/version", refuse(status, "no"))
    with pytest.raises(Exception, match="no"):
        client.get("version")
    assert len(fake.requests) == 1


def test_an_unprintable_agent_error_is_not_taken_for_a_dead_node(
    fake: FakePve, client: Client
) -> None:
    fake.replay("05c", 1)
    with pytest.raises(PveError) as caught:
        client.post("nodes/pve/qemu/200/agent/exec", {"command": ["/no/such"]})
    assert not isinstance(caught.value, PveUnreachable)
    assert (caught.value.status, caught.value.text) == (596, "Broken pipe")


@pytest.mark.parametrize("number", [1, 6, 7, 8])
def test_a_refused_token_is_told_with_the_reason_that_stands_only_in_the_status_line(
    fake: FakePve, client: Client, number: int
) -> None:
    fake.replay("01", number)
    reason = fake.routes["GET", "/version"][0].reason  # type: ignore[union-attr]
    with pytest.raises(PveTokenRefused) as caught:
        client.get("version")
    assert reason in caught.value.message and "svc@pve!b1" in caught.value.message
    assert "BACKUPSVC_PVE__TOKEN" in caught.value.hint and caught.value.exit_code == 4


def test_a_missing_privilege_is_told_with_its_path_and_how_to_give_it(
    fake: FakePve, client: Client
) -> None:
    fake.replay("06", 529)
    with pytest.raises(PvePermissionDenied) as caught:
        client.post("nodes/pve/qemu/200/agent/ping")
    assert (
        "Permission check failed (/vms/200, VM.GuestAgent.Audit|VM.GuestAgent.Unrestricted)"
        in caught.value.message
    )
    assert "VM.GuestAgent.Audit or VM.GuestAgent.Unrestricted on /vms/200" in caught.value.hint
    assert "--users 'svc@pve' --tokens 'svc@pve!b1'" in caught.value.hint


def test_the_one_refusal_that_names_no_privilege_is_explained(
    fake: FakePve, client: Client
) -> None:
    fake.on("POST", "/nodes/pve/qemu", refuse(403, "Permission check failed"))
    with pytest.raises(PvePermissionDenied) as caught:
        client.post("nodes/pve/qemu", {"vmid": 9001})
    assert "VM.Allocate on /vms" in caught.value.hint


def test_a_call_that_no_token_may_make_is_told_so(fake: FakePve, client: Client) -> None:
    fake.replay("01", 24)
    with pytest.raises(PvePermissionDenied) as caught:
        client.post("access/ticket", {"username": "x"})
    assert caught.value.hint == "PVE gives this call to no API token at all"


@pytest.mark.parametrize(
    ("scene", "number", "path"),
    [
        ("02", 29, "nodes/pve/qemu/999/status/current"),
        ("02", 73, "nodes/pve/storage/nosuch/content"),
        (
            "02",
            81,
            "nodes/pve/storage/local/content/local:backup/vzdump-qemu-200-2020_01_01-00_00_00.vma.zst",
        ),
        ("02", 62, "nodes/pve/storage/nosuch/status"),
        (
            "07",
            54,
            "nodes/pve/tasks/UPID:pve:00000001:00000001:60000000:vzdump:100:root@pam:/status",
        ),
    ],
)
def test_what_does_not_exist_is_told_apart(
    fake: FakePve, client: Client, scene: str, number: int, path: str
) -> None:
    fake.replay(scene, number)
    with pytest.raises(PveNotFound) as caught:
        client.get(path)
    assert caught.value.text in caught.value.message and caught.value.hint


def test_an_unknown_node_is_an_error_but_not_a_missing_guest(fake: FakePve, client: Client) -> None:
    fake.replay("01", 32)
    with pytest.raises(PveError) as caught:
        client.get("nodes/nosuchnode/status")
    assert not isinstance(caught.value, PveNotFound)
    assert "no node of that name" in caught.value.hint


def test_a_parameter_error_names_the_parameter(fake: FakePve, client: Client) -> None:
    fake.replay("02", 45)
    with pytest.raises(
        PveError, match=r"Parameter verification failed\.; vmid: VM 100 already exists"
    ) as caught:
        client.get("cluster/nextid", {"vmid": 100})
    assert caught.value.errors == {"vmid": "VM 100 already exists"}
    assert caught.value.status == 400


def test_a_parameter_error_nested_in_a_500_is_read_from_the_message(
    fake: FakePve, client: Client
) -> None:
    fake.replay("09", 23)
    with pytest.raises(PveError, match="delete: unknown option 'nosuch'") as caught:
        client.put("cluster/backup/langeo-test", {"delete": "nosuch"})
    assert caught.value.errors == {"delete": "unknown option 'nosuch'"}


def test_an_answer_that_is_not_pves_is_told_so(fake: FakePve, client: Client) -> None:
    fake.on("GET", "/version", Reply(raw="<html>router login</html>"))
    with pytest.raises(
        PveAnswerUnreadable,
        match=r"answered GET version with something that Proxmox VE does not say",
    ) as caught:
        client.get("version")
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("location", ["", "/api2/json/elsewhere", "https://127.0.0.1:9/"])
def test_a_redirect_is_not_followed_with_the_token(
    fake: FakePve, client: Client, location: str
) -> None:
    fake.on("GET", "/version", Reply(status=301, reason="Moved", raw="", location=location))
    with pytest.raises(PveError, match="points elsewhere"):
        client.get("version")
    assert len(fake.requests) == 1


def test_a_host_that_refuses_is_one_sentence_with_the_next_action(
    clock: SteppingClock, fake: FakePve
) -> None:
    port = closed_port()
    pve = connect(settings_for(fake, host=f"127.0.0.1:{port}"), clock)
    with pytest.raises(PveUnreachable) as caught:
        pve.cluster.version()
    assert f"127.0.0.1:{port} refuses connections" in caught.value.message
    assert "BACKUPSVC_PVE__HOST" in caught.value.hint and caught.value.exit_code == 3


def test_a_host_that_stays_silent_is_told_with_the_time_that_was_waited(
    fake: FakePve, clock: SteppingClock
) -> None:
    fake.on("POST", "/nodes/pve/vzdump", Reply("late", delay=4.0))
    client = Client(settings_for(fake, timeout=1.5), SecretStr(TOKEN), clock)
    with pytest.raises(
        PveUnreachable,
        match=r"did not answer within 1.5 s .*whether it was carried out is not known",
    ):
        client.post("nodes/pve/vzdump")


def test_a_name_that_does_not_resolve_is_told_so(fake: FakePve, clock: SteppingClock) -> None:
    pve = connect(settings_for(fake, host="no-such-host.invalid:8006"), clock)
    with pytest.raises(PveUnreachable, match=r"there is no host called no-such-host\.invalid"):
        pve.cluster.version()
    assert clock.slept == []


def test_a_server_without_tls_is_told_so(clock: SteppingClock, fake: FakePve) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            peer, _ = server.accept()
            with peer:
                peer.recv(1024)
                peer.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        pve = connect(settings_for(fake, host=f"127.0.0.1:{server.getsockname()[1]}"), clock)
        with pytest.raises(PveUnreachable, match="does not speak TLS"):
            pve.cluster.version()
        thread.join()


@pytest.mark.parametrize(
    "token", ["", "svc@pve", "svc@pve!b1", "svc!b1=x", "svc@pve!b1=se cret", "svc@pve!b1=" + "x\ny"]
)
def test_a_malformed_token_is_wrong_usage_and_is_not_shown(
    fake: FakePve, clock: SteppingClock, token: str
) -> None:
    with pytest.raises(UsageError, match="BACKUPSVC_PVE__TOKEN") as caught:
        connect(settings_for(fake, token=SecretStr(token)), clock)
    assert "se cret" not in f"{caught.value}{caught.value.hint}"


@pytest.mark.parametrize(
    "host", ["", "https://pve:8006", "pve:8006/api2", "pve:port", "user@pve", "pve:99999"]
)
def test_a_malformed_host_is_wrong_usage(fake: FakePve, clock: SteppingClock, host: str) -> None:
    with pytest.raises(UsageError, match="BACKUPSVC_PVE__HOST"):
        connect(settings_for(fake, host=host), clock)


def test_a_host_without_port_gets_the_api_port(fake: FakePve, clock: SteppingClock) -> None:
    assert connect(settings_for(fake, host="pve.example.org"), clock).host == "pve.example.org:8006"
    assert (
        connect(settings_for(fake, host="[2001:db8::1]:8007"), clock).host == "[2001:db8::1]:8007"
    )


def test_the_restore_token_is_used_only_where_asked_for(
    fake: FakePve, clock: SteppingClock
) -> None:
    settings = settings_for(fake, restore_token=SecretStr("svc@pve!r1=other-secret"))
    assert connect(settings, clock).token_id == "svc@pve!b1"
    assert connect(settings, clock, restore=True).token_id == "svc@pve!r1"
    assert connect(settings_for(fake), clock, restore=True).token_id == "svc@pve!b1"


def test_threads_have_connections_of_their_own(fake: FakePve, client: Client) -> None:
    fake.on("GET", "/version", {"release": "9.0"})
    results: list[object] = []
    threads = [
        threading.Thread(target=lambda: results.append(client.get("version").data))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [{"release": "9.0"}] * 8


def test_law_7_no_error_representation_or_log_shows_the_secret(
    fake: FakePve, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("proxmoxer.core", "proxmoxer.backends.https", "urllib3", "requests"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    fake.on("GET", "/a", refuse(401, "invalid token value!"))
    fake.on("GET", "/b", refuse(403, "Permission check failed (/, Sys.Audit)"))
    fake.on("GET", "/c", refuse(500, "no"))
    fake.on("GET", "/d", Reply(drop=True))
    fake.on("GET", "/e", Reply(raw="no json"))
    shown = [
        repr(client),
        str(client),
        repr(vars(client)),
        repr(connect(settings_for(fake), SteppingClock(RECORDED_AT))),
    ]
    for path in ("a", "b", "c", "d", "e"):
        with pytest.raises(Exception) as caught:
            client.get(path)
        shown += [
            "".join(traceback.format_exception(caught.value)),
            repr(caught.value),
            repr(vars(caught.value)),
        ]
        assert _carries_nothing(caught.value)
    assert fake.requests and all(
        SECRET in request.headers["Authorization"] for request in fake.requests
    )
    assert SECRET not in "".join(shown) + caplog.text


def _carries_nothing(error: BaseException) -> bool:
    """Neither the error nor what is chained to it holds a request, in whose headers the token
    stands.
    """
    chain = [error]
    while (last := chain[-1]).__cause__ or last.__context__:
        chain.append(last.__cause__ or last.__context__)  # type: ignore[arg-type]
    return not any(hasattr(item, "request") or SECRET in str(item) for item in chain)


def test_importing_the_client_leaves_the_warnings_about_insecure_requests_on() -> None:
    ignored = [
        entry
        for entry in warnings.filters
        if entry[0] == "ignore" and entry[2] is InsecureRequestWarning
    ]
    assert ignored == []


def test_no_proxy_and_no_netrc_of_the_environment_comes_between_us_and_the_cluster(
    fake: FakePve, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text(
        "machine 127.0.0.1 login root password wrong\nmachine localhost login root password "
        "wrong\n",
        encoding="utf-8",
    )
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port()}")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    fake.replay("02", 6)
    assert client.get("nodes/pve/version").data["release"] == "9.0"
    assert fake.requests[0].headers["Authorization"] == f"PVEAPIToken={TOKEN}"
