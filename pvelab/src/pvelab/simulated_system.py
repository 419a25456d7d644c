"""What is inside a modelled guest: a few files in memory and a handful of programs, so that its
agent has something to answer.

Files last as long as the guest is on: none of them is ever on its disks, in an archive of it, or in
a restored copy. Programs are ``true``, ``false``, ``echo``, ``printf``, ``cat``, ``hostname``,
``sleep``, ``sync``, ``poweroff`` and a shell that knows these, ``exit``, ``kill -N $$``, ``;`` and
``>&2`` and says so when it is asked for more. Any other program of the usual directories only says
that it is simulated.
"""

from __future__ import annotations

import base64
import codecs
import itertools
import posixpath
import shlex
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pvelab.vmm.agent import AgentFailure

_DIRECTORIES = ("/", "/etc", "/proc", "/root", "/tmp", "/var", "/var/tmp")
_BINARIES = ("/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin")
_MISSING, _DIRECTORY = "No such file or directory", "Is a directory"
_OUT_OF_THE_SHELL = frozenset("$`|&<>(*?{")
_KEYWORDS = frozenset(
    ("if", "for", "while", "until", "case", "function", "cd", "export", "set", "exec", "eval", ".")
)
_pids = itertools.count(900_000)


@dataclass
class Outcome:
    """What a program did: what it wrote, how it ended (by ``signal`` or with ``code``) and how many
    seconds it took.
    """

    out: bytes = b""
    err: bytes = b""
    code: int = 0
    signal: int | None = None
    seconds: float = 0

    def then(self, other: Outcome) -> Outcome:
        """Return both, one after the other."""
        return Outcome(
            self.out + other.out,
            self.err + other.err,
            other.code,
            other.signal,
            self.seconds + other.seconds,
        )


@dataclass
class SimulatedSystem:
    """The system of one modelled guest from power-on to power-off.

    ``clock`` counts seconds, ``up`` says for how many the guest is on, ``off`` switches it off.
    """

    hostname: str
    clock: Callable[[], float]
    up: Callable[[], float]
    off: Callable[[], None]
    boot: uuid.UUID = field(default_factory=uuid.uuid4)
    _files: dict[str, bytes] = field(default_factory=dict)
    _handles: dict[int, list[Any]] = field(default_factory=dict)
    _started: dict[int, tuple[float, Outcome]] = field(default_factory=dict)

    # -- files
    # ---------------------------------------------------------------------------------------------------------------

    def open(self, arguments: Mapping[str, Any]) -> int:
        """Open a file and return its handle. Raise AgentFailure in the agent's words."""
        path, mode = posixpath.normpath(str(arguments["path"])), str(arguments.get("mode", "r"))
        writes = mode[0] in "wa"
        if path in _DIRECTORIES:
            why = _DIRECTORY if writes else ""  # a directory can be opened, but not read
        elif self.content(path) is None and not (
            writes and posixpath.dirname(path) in _DIRECTORIES
        ):
            why = _MISSING
        else:
            why = "Permission denied" if writes and path.startswith("/proc/") else ""
        if why:
            raise AgentFailure(f"failed to open file '{arguments['path']}' (mode: '{mode}'): {why}")
        if mode[0] == "w":
            self._files[path] = b""
        handle = max(self._handles, default=999) + 1
        self._handles[handle] = [path, 0]
        return handle

    def content(self, path: str) -> bytes | None:
        """Return what a file holds, None if there is none."""
        made: dict[str, Callable[[], str]] = {
            "/etc/hostname": lambda: f"{self.hostname}\n",
            "/proc/version": lambda: "Linux version 0-simulated (nobody@nowhere) #0 none runs\n",
            "/proc/sys/kernel/random/boot_id": lambda: f"{self.boot}\n",
            "/proc/uptime": lambda: f"{self.up():.2f} {self.up():.2f}\n",
        }
        return self._files.get(path, made[path]().encode() if path in made else None)

    def read(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Read on from an open file."""
        path, offset = opened = self._opened(arguments)
        if path in _DIRECTORIES:
            raise AgentFailure(f"failed to read file: {_DIRECTORY}")
        content = self.content(path) or b""
        part = content[offset : offset + int(arguments.get("count", 4096))]
        opened[1] += len(part)
        return {
            "count": len(part),
            "buf-b64": base64.b64encode(part).decode(),
            "eof": opened[1] >= len(content),
        }

    def write(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Append to an open file."""
        path, _ = self._opened(arguments)
        data = base64.b64decode(arguments["buf-b64"])
        self._files[path] = self._files.get(path, b"") + data
        return {"count": len(data), "eof": False}

    def close(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Close a file."""
        self._opened(arguments)
        del self._handles[int(arguments["handle"])]
        return {}

    def _opened(self, arguments: Mapping[str, Any]) -> list[Any]:
        if (found := self._handles.get(int(arguments["handle"]))) is None:
            raise AgentFailure(f"handle '{arguments['handle']}' has not been found")
        return found

    # -- programs
    # ------------------------------------------------------------------------------------------------------------

    def execute(self, arguments: Mapping[str, Any]) -> dict[str, int]:
        """Start a program and return its process id. Raise AgentFailure as glib tells of a program
        that does not exist.
        """
        given = base64.b64decode(arguments.get("input-data", ""))
        path = str(arguments.get("path", ""))
        if (outcome := self._run([path, *arguments.get("arg", ())], given)) is None:
            raise AgentFailure(
                f"Guest agent: Failed to execute child process “{path}” ({_MISSING})"
            )
        pid = next(_pids)
        self._started[pid] = (self.clock(), outcome)
        return {"pid": pid}

    def status(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return a program's state; that of one that has ended is told once."""
        pid = int(arguments.get("pid", 0))
        if pid not in self._started:
            raise AgentFailure("PID ld does not exist")
        since, outcome = self._started[pid]
        if self.clock() - since < outcome.seconds:
            return {"exited": False}
        del self._started[pid]
        row: dict[str, Any] = {"exited": True}
        row |= {"exitcode": outcome.code} if outcome.signal is None else {"signal": outcome.signal}
        written = {"out-data": outcome.out, "err-data": outcome.err}
        return row | {
            name: base64.b64encode(data).decode() for name, data in written.items() if data
        }

    def _run(self, words: list[str], given: bytes = b"") -> Outcome | None:
        """Run a program, None if there is none of that name."""
        path, name = words[0], posixpath.basename(words[0])
        if path != name and posixpath.dirname(path) not in _BINARIES:
            return None
        if not name or any(blank in name for blank in " \t\n"):
            return None
        programs: dict[str, Callable[[list[str], bytes], Outcome]] = {
            "true": lambda *_: Outcome(),
            "false": lambda *_: Outcome(code=1),
            "echo": lambda rest, _: Outcome(out=f"{' '.join(rest)}\n".encode()),
            # a format's escapes are carried out (\n, \303); it has no directives here
            "printf": lambda rest, _: Outcome(
                out=codecs.escape_decode(rest[0].encode())[0] if rest else b""
            ),
            "hostname": lambda *_: Outcome(out=f"{self.hostname}\n".encode()),
            "sleep": lambda rest, _: (
                Outcome(seconds=float(rest[0]))
                if _is_number(rest)
                else _wrong("sleep", "invalid time")
            ),
            "sync": lambda *_: Outcome(),
            "poweroff": self._power_off,
            "cat": self._cat,
            "sh": self._shell,
        }
        known = programs.get(name)
        return known(words[1:], given) if known else Outcome(out=f"simulated: {path}\n".encode())

    def _power_off(self, *_: object) -> Outcome:
        self.off()
        return Outcome()

    def _cat(self, names: list[str], given: bytes) -> Outcome:
        done = Outcome()
        for name in names or ["-"]:
            content = given if name == "-" else self.content(posixpath.normpath(name))
            done = done.then(
                Outcome(out=content)
                if content is not None
                else _wrong("cat", f"{name}: {_MISSING}")
            )
        return done

    def _shell(self, words: list[str], given: bytes) -> Outcome:
        """Run a script of simple commands. It says what it does not know, and ends there."""
        script = (
            words[1] if len(words) > 1 and words[0] == "-c" else given.decode("utf-8", "replace")
        )
        done = Outcome()
        for command in _commands(script):
            if command[0] == "exit":
                return done.then(
                    Outcome(code=int(command[1]) if _is_number(command[1:]) else done.code)
                )
            if command[0] == "kill" and command[2:] == ["$$"] and command[1].lstrip("-").isdigit():
                return done.then(Outcome(signal=int(command[1].lstrip("-"))))
            to_error = command[-2:] == [">&", "2"]
            words = command[:-2] if to_error else command
            # to guess at what a construct does would prove something that nobody ran
            if (
                not words
                or words[0] in _KEYWORDS
                or any(_OUT_OF_THE_SHELL & set(word) for word in words)
            ):
                unknown = f"simulated: this shell does not know: {' '.join(command)}"
                return done.then(_wrong("sh", unknown, 2))
            step = self._run(words, given)
            if step is None:
                step = _wrong("sh", f"{words[0]}: not found", 127)
            elif to_error:
                step = Outcome(err=step.out + step.err, code=step.code, seconds=step.seconds)
            done = done.then(step)
        return done


def _commands(script: str) -> list[list[str]]:
    """Given a script, return the words of its commands. One that cannot be read is one command of
    one word.
    """
    lexer = shlex.shlex(script.replace("\n", ";"), posix=True, punctuation_chars=";<>|&")
    lexer.whitespace_split, lexer.commenters = True, ""
    try:
        words = list(lexer)
    except ValueError:
        return [["`"]]
    groups = itertools.groupby(words, lambda word: set(word) == {";"})
    return [list(group) for between, group in groups if not between]


def _is_number(words: list[str]) -> bool:
    return bool(words) and words[0].replace(".", "", 1).isdigit()


def _wrong(program: str, text: str, code: int = 1) -> Outcome:
    return Outcome(err=f"{program}: {text}\n".encode(), code=code)
