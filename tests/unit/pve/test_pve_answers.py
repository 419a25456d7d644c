"""Every answer that the adapter reads, as a real server gave it and with each part of it missing or
of another type.

Either the answer is still one that PVE gives (a number as text, a flag as 0 or 1), and means the
same, or it is refused by one error, which names the call and the key; it never ends in anything
else.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from backupsvc.engine.executor import trouble_of
from backupsvc.errors import PveAnswerUnreadable, PveError, PveNotFound
from backupsvc.pve import Pve, fields
from backupsvc.pve.answers import grant_for
from backupsvc.pve.client import Client, _Answers
from backupsvc.pve.fields import Answer
from backupsvc.settings import PveSettings
from policies.workflow import Trouble
from tests.fakes.clock import SteppingClock
from tests.fakes.pve_server import SECRET, TOKEN
from tests.fakes.recorded import RECORDED_AT, exchanges

VOLID = "local:backup/vzdump-qemu-200-"
GONE = object()  # what stood there is left out
# replaced in the text: neither is JSON that a program would write by chance
HUGE, NAN = "<huge>", "<nan>"
WRONG: tuple[Any, ...] = (
    GONE, None, True, "\x1b[31mred", "", -1.5, HUGE, NAN, [], ["text"], [[1]], {}, {"a": {"b": None}},
)  # fmt: skip
Key = tuple[str, str]


@cache
def recorded() -> dict[Key, Any]:
    """The last good answer to each call of a real server, by method and path."""
    found: dict[Key, Any] = {}
    for one in exchanges():
        key, fresh = (one.method, one.path), one.body.get("data") not in (None, [])
        if one.status == 200 and "data" in one.body and (fresh or key not in found):
            found[key] = one.body
    return found


@dataclass
class Replayed(Client):
    """The service's own client, with recorded answers instead of a network; ``changed`` are told
    differently.
    """

    changed: dict[Key, str] = field(default_factory=dict)
    asked: list[Key] = field(default_factory=list)

    def __post_init__(self) -> None:
        Client.__init__(
            self, PveSettings(host="pve:8006"), SecretStr(TOKEN), SteppingClock(RECORDED_AT)
        )

    def _once(
        self,
        host: Any,
        method: str,
        path: str,
        params: dict[str, Any],
        timeout: float | None = None,
    ) -> Any:
        key = (method, path.strip("/"))
        self.asked.append(key)
        response = requests.Response()
        response.status_code, response.url = 200, f"https://pve:8006/api2/json/{key[1]}"
        response.request = SimpleNamespace(method=method)  # type: ignore[assignment]
        response._content = (self.changed.get(key) or json.dumps(self.said(key))).encode()
        return _Answers(self._threads).loads(response)

    def said(self, key: Key) -> Any:
        """What is told without a change."""
        known = recorded().get(key)
        other = re.sub(r"UPID:[^/]*|local:.*|/\d+(?=/pending)", "*", key[1])
        if known is None and (other, key[0]) not in MADE:  # asked about what a changed answer named
            raise PveNotFound(f"there is no {key[1]}", "")
        return known if known is not None else {"data": MADE[other, key[0]]}


UPID = "UPID:pve:00007B5F:00097285:6B03FD3F:vzdump:200:root@pam:"
# what the recording lacks under these very names; the shapes are those of its like
MADE: dict[Key, Any] = {
    ("nodes/pve/tasks/*/status", "GET"): {
        "status": "stopped",
        "exitstatus": "OK",
        "upid": UPID,
        "pid": 1,
        "starttime": 1,
    },
    ("nodes/pve/tasks/*/log", "GET"): [{"n": 1, "t": "INFO: begins"}, {"n": 2, "t": "TASK OK"}],
    ("nodes/pve/tasks/*", "DELETE"): None,
    ("nodes/pve/qemu*/pending", "GET"): [
        {"key": "net0", "value": "virtio,bridge=vmbr1", "pending": "virtio"},
        {"key": "memory", "value": 64},
    ],
    ("nodes/pve/storage/local/content/*", "GET"): {
        "path": "/var/lib/vz/dump/a.vma.zst",
        "size": 512,
        "format": "raw",
    },
    ("nodes/pve/storage/local/content/*", "DELETE"): UPID,
    ("nodes/pve/qemu", "POST"): UPID,
    ("nodes/pve/vzdump", "POST"): UPID,
    ("nodes/pve/qemu/200/status/start", "POST"): UPID,
    ("nodes/pve/qemu/200/agent/ping", "POST"): {"result": {}},
    ("nodes/pve/qemu/200/agent/fsfreeze-status", "POST"): {"result": "thawed"},
    ("nodes/pve/qemu/200/agent/exec", "POST"): {"pid": 4711},
    ("nodes/pve/qemu/200/agent/exec-status", "GET"): {
        "exited": 1,
        "exitcode": 0,
        "out-data": "a\n",
        "out-truncated": 0,
    },
    ("cluster/ha/resources", "GET"): [{"sid": "vm:100", "state": "started"}],
    ("cluster/ha/groups", "GET"): [{"group": "g", "nodes": "pve:2", "restricted": 1}],
    ("cluster/config/nodes", "GET"): [{"node": "pve", "quorum_votes": "1"}],
    ("nodes/pve/replication", "GET"): [
        {"id": "200-0", "guest": 200, "target": "b", "last_sync": 1, "fail_count": 0}
    ],
    ("cluster/replication", "GET"): [
        {"id": "200-0", "type": "local", "guest": 200, "target": "b", "schedule": "*/15"}
    ],
    ("cluster/nextid", "GET"): "100",
}

QUESTIONS: dict[str, Callable[[Pve], Any]] = {
    "version": lambda pve: pve.cluster.version(),
    "guests": lambda pve: pve.cluster.guests(),
    "nodes": lambda pve: pve.cluster.nodes(),
    "cluster status": lambda pve: pve.cluster.status(),
    "next id": lambda pve: pve.cluster.vmid_free(9000),
    "permissions": lambda pve: pve.cluster.permissions(),
    "jobs": lambda pve: pve.cluster.jobs(),
    "clocks": lambda pve: pve.cluster.clock_offsets(),
    "bridges": lambda pve: pve.cluster.bridges("pve"),
    "network": lambda pve: pve.cluster.network("pve"),
    "ha": lambda pve: pve.ha.status(),
    "ha resources": lambda pve: pve.cluster.ha_resources(),
    "ha states": lambda pve: pve.ha.states(),
    "ha configured": lambda pve: pve.ha.resources(),
    "ha rules": lambda pve: pve.ha.rules(),
    "ha groups": lambda pve: pve.ha.groups(),
    "rebalancing": lambda pve: pve.ha.rebalancing(),
    "votes": lambda pve: pve.ha.votes(),
    "replicas": lambda pve: pve.ha.replicas("pve"),
    "replicated": lambda pve: pve.ha.replicated(),
    "media": lambda pve: pve.storage.files("pve", "local", "iso"),
    "storages": lambda pve: pve.storage.seen(),
    "archives": lambda pve: pve.storage.archives("pve", "local"),
    "config of an archive": lambda pve: pve.storage.extract_config("pve", VOLID),
    "path of an archive": lambda pve: pve.storage.volume_path("pve", VOLID),
    "volumes": lambda pve: pve.storage.volumes("pve", "local", 200),
    "defaults": lambda pve: pve.storage.backup_defaults("pve", "local"),
    "deletion": lambda pve: pve.storage.delete("pve", VOLID),
    "config": lambda pve: pve.guests.config("pve", 200),
    "state": lambda pve: pve.guests.status("pve", 200),
    "start": lambda pve: pve.guests.start("pve", 200),
    "attached": lambda pve: pve.attached.of("pve"),
    "poll": lambda pve: pve.tasks.poll(UPID),
    "log": lambda pve: pve.tasks.log(UPID),
    "find": lambda pve: pve.tasks.find("pve", type="vzdump", vmid=200, since=1, mine=False),
    "recent": lambda pve: (pve.tasks.surely_runs(UPID), pve.tasks.dumps_of_others()),
    "stop": lambda pve: pve.tasks.stop(UPID),
    "backup": lambda pve: pve.vzdump.start(
        "pve", 200, storage="local", mode="snapshot", compress="zstd", notes="", keep_all=True
    ),
    "restore": lambda pve: pve.restore.start("pve", 9000, VOLID, storage="local", overrides={}),
    "stub": lambda pve: pve.stubs().why_not("pve", 200, None),
    "agent ping": lambda pve: pve.agent.ping("pve", 200),
    "agent system": lambda pve: pve.agent.osinfo("pve", 200),
    "agent name": lambda pve: pve.agent.hostname("pve", 200),
    "agent interfaces": lambda pve: pve.agent.interfaces("pve", 200),
    "agent frozen": lambda pve: pve.agent.frozen("pve", 200),
    "agent file": lambda pve: pve.agent.read_file("pve", 200, "/etc/hostname"),
    "agent exec": lambda pve: pve.agent.exec("pve", 200, ["true"], 3.0),
}


def ask(question: str, changed: dict[Key, str] | None = None) -> tuple[Any, list[Key]]:
    """Put a question; return its answer and the calls that it made."""
    client = Replayed(changed or {})
    return QUESTIONS[question](Pve(client, SteppingClock(RECORDED_AT))), client.asked


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in an answer, of a list the first two rows and the last."""
    yield at
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*at, key))
    if isinstance(value, list):
        for number in sorted({0, 1, len(value) - 1} & set(range(len(value)))):
            yield from places(value[number], (*at, number))


def replaced(envelope: Any, place: tuple[Any, ...], value: Any) -> str:
    """The text of an answer with another value at a place."""
    made = copy.deepcopy(envelope)
    if not place:
        return written(None if value is GONE else value)
    inner = made
    for step in place[:-1]:
        inner = inner[step]
    if value is GONE:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    return written(made)


def written(value: Any) -> str:
    return json.dumps(value).replace(f'"{HUGE}"', "1" + "0" * 400).replace(f'"{NAN}"', "NaN")


def put(question: str, key: Key, body: str) -> Any:
    """Put a question to a server that answers one call so; return its answer, or the error that is
    allowed.
    """
    try:
        return ask(question, {key: body})[0]
    except PveAnswerUnreadable as error:
        assert key[1] in error.message and key[0] in error.message
        assert error.hint and error.exit_code == 3 and len(error.message) < 400
        assert "\x1b" not in error.message and SECRET not in error.message
        return error
    except PveNotFound as error:
        return error
    except PveError as error:
        # the guest's own words, which PVE passes on as they are; and law 1, which asks for a
        # storage that can be looked into
        assert "agent" in question or "no storage of pve that holds disks" in error.message, error
        return error


@pytest.mark.slow
@pytest.mark.parametrize("question", QUESTIONS)
def test_an_answer_with_any_part_missing_or_of_another_type_is_read_rightly_or_refused_by_one_error(
    question: str,
) -> None:
    before, asked = ask(question)
    refused = 0
    for key in dict.fromkeys(asked):
        envelope = Replayed({}).said(key)
        for place in places(envelope):
            for value in WRONG:
                refused += isinstance(
                    put(question, key, replaced(envelope, place, value)), PveAnswerUnreadable
                )
    assert refused > 3, "or the mutants do not reach it"
    assert ask(question)[0] == before


@pytest.mark.parametrize("question", QUESTIONS)
def test_numbers_that_come_as_text_and_flags_that_come_as_words_mean_the_same(
    question: str,
) -> None:
    before, asked = ask(question)
    for key in dict.fromkeys(asked):
        envelope = Replayed({}).said(key)
        for place in places(envelope):
            value = envelope
            for step in place:
                value = value[step]
            if isinstance(value, int) and not isinstance(value, bool) and "result" not in place:
                assert put(question, key, replaced(envelope, place, str(value))) == before, (
                    key,
                    place,
                )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


@pytest.mark.slow
@settings(max_examples=300)
@given(st.sampled_from(sorted(QUESTIONS)), st.data())
def test_whatever_stands_anywhere_in_an_answer_there_is_no_other_error(
    question: str, data: st.DataObject
) -> None:
    key = data.draw(st.sampled_from(ask(question)[1]))
    envelope = Replayed({}).said(key)
    place = data.draw(st.sampled_from(list(places(envelope))))
    put(question, key, replaced(envelope, place, data.draw(JSON)))


@pytest.mark.parametrize(
    "body",
    [
        "",
        "null",
        "[]",
        '"data"',
        "{}",
        "[" * 100_000,
        '{"data":' * 50_000,
        "\xff",
        '{"data": 1',
        '[["data", 1]]',
        "<html>",
    ],
)
def test_a_body_that_is_no_envelope_of_pves_is_refused_by_the_same_error(body: str) -> None:
    assert isinstance(put("nodes", ("GET", "nodes"), body or " "), PveAnswerUnreadable)


@pytest.mark.parametrize(
    ("question", "key", "body", "told"),
    [
        ("guests", "cluster/resources", "null", "it should be a list, and is null"),
        ("guests", "cluster/resources", '["a"]', '[0] should be an object, and is "a"'),
        (
            "guests",
            "cluster/resources",
            '[{"type": "qemu", "node": "a"}]',
            "[0].vmid should be a number, and is missing",
        ),
        (
            "archives",
            "nodes/pve/storage/local/content",
            '[{"volid": "a", "ctime": "yesterday"}]',
            "[0].ctime should be a number",
        ),
        (
            "archives",
            "nodes/pve/storage/local/content",
            '[{"volid": "a", "ctime": 1}]',
            "[0].size should be a number, and is mis",
        ),
        (
            "permissions",
            "access/permissions",
            '{"/": ["VM.Audit"]}',
            "/ should be an object, and is a list of 1",
        ),
        (
            "config",
            "nodes/pve/qemu/200/config",
            '{"cipassword": [1]}',
            "cipassword should be a text, and is a list of 1",
        ),
    ],
)
def test_the_error_names_the_call_the_key_what_is_due_and_what_came(
    question: str, key: str, body: str, told: str
) -> None:
    error = put(question, ("GET", key), f'{{"data": {body}}}')
    assert isinstance(error, PveAnswerUnreadable)
    assert (
        f"pve:8006 answered GET {key} with something that cannot be read: " in error.message
        and told in error.message
    )


def test_law_7_what_may_be_a_secret_is_not_repeated() -> None:
    answer = Answer(
        "pve", "GET nodes/pve/qemu/1/config", {"cipassword": "hunter2", "name": "x" * 500}
    )
    with pytest.raises(PveAnswerUnreadable) as caught:
        answer.row().integer("cipassword")
    assert (
        "hunter2" not in caught.value.message and "a text of 7 characters" in caught.value.message
    )
    with pytest.raises(PveAnswerUnreadable) as caught:
        answer.row().integer("name")
    assert len(caught.value.message) < 250


def test_an_operation_tries_an_answer_that_cannot_be_read_again_but_waits_for_no_outage() -> None:
    assert trouble_of(PveAnswerUnreadable("", "")) is Trouble.TRANSIENT


def test_the_largest_numbers_that_pve_means_are_read() -> None:
    row = Answer(
        "pve",
        "GET x",
        {"a": fields.LARGEST, "b": str(2**62), "c": -1, "d": "1.9", "e": 3.0, "f": ""},
    ).row()
    assert [row.integer(key) for key in "abcdefg"] == [fields.LARGEST, 2**62, -1, 1, 3, 0, 0]


def test_a_path_that_an_archives_config_names_is_one_word_of_the_printed_command() -> None:
    told = grant_for("Permission check failed (/mapping/pci/x;reboot, Mapping.Use)", "svc@pve!b1")
    assert "pveum acl modify '/mapping/pci/x;reboot' --users 'svc@pve'" in told
