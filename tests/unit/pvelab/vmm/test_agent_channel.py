"""The guest agent's protocol against a scripted agent behind a real unix socket."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pvelab.vmm.agent import AgentChannel, AgentFailure, AgentSilent

Answer = Callable[[dict[str, object]], bytes | None]


class ScriptedAgent:
    """Answers as qemu-ga does; ``answer`` may return bytes to say instead, or None to stay
    silent.
    """

    def __init__(self, path: Path) -> None:
        self.answer: Answer = lambda message: (
            json.dumps({"return": message["execute"]}).encode() + b"\n"
        )
        self.stale = b""
        self.connections = 0
        self.commands: list[str] = []
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._server.bind(str(path))
        self._server.listen(5)
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                channel, _ = self._server.accept()
            except OSError:
                return
            self.connections += 1
            with channel, channel.makefile("rb") as lines:
                channel.sendall(self.stale)
                for line in lines:
                    message = json.loads(line.split(b"\xff")[-1])
                    if message["execute"] == "guest-sync-delimited":
                        channel.sendall(
                            b"\xff"
                            + json.dumps({"return": message["arguments"]["id"]}).encode()
                            + b"\n"
                        )
                        continue
                    self.commands.append(message["execute"])
                    if (said := self.answer(message)) is not None:
                        channel.sendall(said)

    def close(self) -> None:
        self._server.close()


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[ScriptedAgent]:
    scripted = ScriptedAgent(tmp_path / "a.sock")
    yield scripted
    scripted.close()


@pytest.fixture
def channel(tmp_path: Path, agent: ScriptedAgent) -> Iterator[AgentChannel]:
    opened = AgentChannel(tmp_path / "a.sock")
    yield opened
    opened.close()


def test_a_command_gets_its_answer_over_one_connection(
    channel: AgentChannel, agent: ScriptedAgent
) -> None:
    assert [channel.call("guest-ping"), channel.call("guest-info")] == ["guest-ping", "guest-info"]
    assert agent.connections == 1


def test_an_error_of_the_agent_carries_its_own_text(
    channel: AgentChannel, agent: ScriptedAgent
) -> None:
    agent.answer = lambda message: (
        b'{"error": {"class": "GenericError", "desc": "PID 123 does not exist"}}\n'
    )
    with pytest.raises(AgentFailure) as caught:
        channel.call("guest-exec-status", {"pid": 123})
    assert caught.value.desc == "PID 123 does not exist"


def test_silence_is_reported_in_time(channel: AgentChannel, agent: ScriptedAgent) -> None:
    agent.answer = lambda message: None
    with pytest.raises(AgentSilent, match=r"did not answer guest-ping within 0\.2 s"):
        channel.call("guest-ping", timeout=0.2)


def test_after_a_silence_the_next_command_does_not_get_the_late_answer(
    channel: AgentChannel, agent: ScriptedAgent
) -> None:
    talking = agent.answer
    agent.answer = lambda message: None
    with pytest.raises(AgentSilent):
        channel.call("guest-get-osinfo", timeout=0.2)
    agent.answer, agent.stale = talking, b'{"return": "late"}\n\xff{"return": 1}\n'
    assert channel.call("guest-ping") == "guest-ping"
    assert agent.connections == 2


def test_half_an_answer_is_a_silence(channel: AgentChannel, agent: ScriptedAgent) -> None:
    agent.answer = lambda message: b'{"return": '
    with pytest.raises(AgentSilent):
        channel.call("guest-ping", timeout=0.2)


def test_garbage_instead_of_an_answer_is_a_silence(
    channel: AgentChannel, agent: ScriptedAgent
) -> None:
    agent.answer = lambda message: b"\x00garbage\n"
    with pytest.raises(AgentSilent):
        channel.call("guest-ping", timeout=1.0)


def test_no_port_at_all_is_a_silence(tmp_path: Path) -> None:
    with pytest.raises(AgentSilent):
        AgentChannel(tmp_path / "none.sock").call("guest-ping", timeout=0.2)


def test_commands_of_several_threads_do_not_mix(
    channel: AgentChannel, agent: ScriptedAgent
) -> None:
    answers: dict[int, object] = {}

    def ask(number: int) -> None:
        answers[number] = channel.call(f"guest-{number}")

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {number: f"guest-{number}" for number in range(8)}
