"""The command line in a process of its own that need not import it: forked from one that has.

``python -m backupsvc`` takes half a second of the processor until it begins, and the tests give a
few thousand commands. Here one process a test session imports the packages once, and does nothing
else; each command is a child of it, with its own environment, directory and files, that runs
``python -m backupsvc``'s main and ends as that does. What is about starting (lazy imports, the time
to begin, signals, services) starts a real one; tests/unit/cli/test_warm.py holds the two together,
and that each module can be the first to be imported, which no forked command would tell.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import runpy
import selectors
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from tempfile import TemporaryDirectory, TemporaryFile
from types import ModuleType
from typing import IO, Any, NoReturn

ROOT = Path(__file__).parents[1]
PACKAGES = ("backupsvc", "policies", "pvelab")
# variables that are read when a process or a module is loaded; a command that has others than its
# parent is started afresh
OWN = ("BACKUPSVC_", "PVELAB_", "COLUMNS", "HOME", "XDG_", "SUDO_USER", "PATH")
_REQUEST = 1 << 20  # bytes; an environment and a command line


# --- the tests' side ------------------------------------------------------------------------------


def fits(env: dict[str, str]) -> bool:
    """Say whether a command of this environment may be forked: nothing is in it that was to be read
    before the fork.
    """
    names = {
        name for name in env.keys() | os.environ.keys() if env.get(name) != os.environ.get(name)
    }
    return all(name.startswith(OWN) for name in names)


def python(
    words: list[str], env: dict[str, str], stdin: bytes = b"", timeout: float = 240
) -> subprocess.CompletedProcess[bytes]:
    """Run Python with ``-m backupsvc ...`` or ``-c code ...``: forked where that makes no
    difference, else a new interpreter.
    """
    assert words[0] == "-c" or words[:2] == ["-m", "backupsvc"], words
    if not fits(env):
        command = [sys.executable, *words]
        return subprocess.run(
            command, env=env, input=stdin, capture_output=True, timeout=timeout, check=False
        )
    with TemporaryFile() as given, TemporaryFile() as out, TemporaryFile() as err:
        given.write(stdin)
        given.seek(0)
        code = _parent().command(words, env, (given, out, err), timeout)
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(words, code, out.read(), err.read())


@dataclass
class Parent:
    """The warm process, and the place at which it takes requests. It ends with this one."""

    address: str
    _process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        command = [sys.executable, "-m", "tests.warm", self.address]
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": _path()},
        )
        assert self._process.stdout
        assert self._process.stdout.readline() == b"warm\n"

    def command(
        self, words: list[str], env: dict[str, str], files: tuple[IO[bytes], ...], timeout: float
    ) -> int:
        """Run a command to its end and return its exit code, minus the signal that ended it."""
        asked = json.dumps({"words": words, "env": env, "cwd": str(Path.cwd())}).encode()
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as line:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _REQUEST)
            line.connect(self.address)
            socket.send_fds(line, [asked], [file.fileno() for file in files])
            pid = int(line.recv(64))
            line.settimeout(timeout)
            try:
                return int(line.recv(64))
            except TimeoutError:
                os.kill(pid, 9)
                raise subprocess.TimeoutExpired(words, timeout) from None

    def end(self) -> None:
        """Let it go."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


@cache
def _parent() -> Parent:
    """This process's own: whoever forks a test's process inherits the line to it, and no one
    else.
    """
    directory = TemporaryDirectory(prefix="warm-")
    parent = Parent(f"{directory.name}/line")
    atexit.register(directory.cleanup)
    atexit.register(parent.end)
    return parent


def _path() -> str:
    return os.pathsep.join(dict.fromkeys(os.path.abspath(path or ".") for path in sys.path))  # noqa: PTH100 - not resolved


# --- the warm process -----------------------------------------------------------------------------


def import_all() -> None:
    """Import every module of the packages. None of it is ever collected, so that no child copies it
    to count references.
    """
    gc.disable()
    for name in PACKAGES:
        package = import_module(name)
        for module in walk_packages(package.__path__, f"{name}."):
            if not module.name.endswith("__main__") and ".migrations." not in module.name:
                import_module(module.name)
    assert threading.active_count() == 1, "a fork keeps the thread alone that forks"
    gc.collect()
    gc.freeze()
    gc.enable()


@dataclass
class Server:
    """Forks a child for each connection, and tells there how it ended."""

    listener: socket.socket
    selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)

    def serve(self) -> None:
        """Serve until standard input is closed."""
        self.selector.register(0, selectors.EVENT_READ, None)
        self.selector.register(self.listener, selectors.EVENT_READ, self._accept)
        while True:
            for key, _ in self.selector.select():
                if key.data is None:
                    return
                key.data(key)

    def _accept(self, key: selectors.SelectorKey) -> None:
        line, _ = self.listener.accept()
        asked, files, _, _ = socket.recv_fds(line, _REQUEST, 3)
        if not asked:
            line.close()
            return
        pid = os.fork()
        if pid == 0:
            become(json.loads(asked), files)
        for file in files:
            os.close(file)
        line.send(str(pid).encode())
        ended = os.pidfd_open(pid)
        self.selector.register(ended, selectors.EVENT_READ, lambda key: self._tell(key, pid, line))

    def _tell(self, key: selectors.SelectorKey, pid: int, line: socket.socket) -> None:
        self.selector.unregister(key.fileobj)
        os.close(key.fd)
        _, status = os.waitpid(pid, 0)
        with line, suppress(OSError):  # who asked may not wait any more
            line.send(str(os.waitstatus_to_exitcode(status)).encode())


def become(asked: dict[str, Any], files: list[int]) -> NoReturn:
    """Be the command, in this child of the warm process, and end with its exit code."""
    for number, file in enumerate(files):
        os.dup2(file, number)
    os.closerange(3, 1024)
    os.environ.clear()
    os.environ.update(asked["env"])
    time.tzset()
    os.chdir(asked["cwd"])
    sys.path[0] = asked["cwd"] if asked["words"][0] == "-m" else ""
    code: Any = 0
    try:
        execute(*asked["words"])
    except SystemExit as left:
        code = left.code
        if isinstance(code, str):
            print(code, file=sys.stderr)
            code = 1
    except BaseException:  # noqa: BLE001 - as the interpreter does with what nobody caught
        sys.excepthook(*sys.exc_info())
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]  # what the interpreter does at its end, but for clearing every module
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code or 0)


def execute(kind: str, what: str, *words: str) -> None:
    """Do what ``python -m what`` or ``python -c what`` does."""
    if kind == "-m":
        sys.argv = [what, *words]
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        sys.argv = [kind, *words]
        sys.modules["__main__"] = module = ModuleType("__main__")
        exec(compile(what, "<string>", "exec"), module.__dict__)


def main() -> None:
    """Import everything, say so, and serve."""
    import_all()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _REQUEST)
        listener.bind(sys.argv[1])
        listener.listen(64)
        os.write(1, b"warm\n")
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        Server(listener).serve()


if __name__ == "__main__":
    main()
