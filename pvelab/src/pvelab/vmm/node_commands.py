"""What a node's SSH endpoint carries out: SFTP, a few commands that read archives, and the one that
lists a bridge's ports.

sshd runs this file for every session (``ForceCommand``), whatever the client asked for, and without
any package of the service. ``/var/lib/vz/dump`` means the node's own directory; its real path,
which the API returns, is taken as well. Options are taken from a short list, and no shell sees what
the client sent, but for the one line that has a file summed.

It starts anew for each question, so what only some commands need is imported by them: all of it
takes longer to load than a bridge's ports take to be told.
"""

from __future__ import annotations

import os
import re
import socket
import sys

SFTP_SERVER = "/usr/lib/openssh/sftp-server"
DUMP = "/var/lib/vz/dump"
REFUSED = 126
# which options a command may have, and how few of them are needed; a value of an option stands in
# it (--format=%s)
_COMMANDS: dict[str, tuple[re.Pattern[str], str]] = {
    "sha256sum": (re.compile(r"-b|--binary"), ""),
    "stat": (re.compile(r"-L|(?:-c|--format=|--printf=)[%\w .:\\\\-]+"), ""),
    "ls": (re.compile(r"-[1aAlnst]+"), ""),
    "zstd": (re.compile(r"-t|-q|-tq|-qt|--test"), "-t"),
}
# the one line of shell that is carried out: a file of the dump directory, read from its disk
_SUMMED = re.compile(
    r'f=(?P<path>[^;]+)(?P<rest>; sync "\$f" 2>&-; dd if="\$f" iflag=nocache count=0 2>&-; '
    r'nice sha256sum < "\$f" && stat -c %s "\$f")'
)
_LINKS = re.compile(r"ip -j link show master (?P<bridge>[\w.-]+)")


class Refused(Exception):
    """A command that is not carried out."""


def translate(text: str, root: str | os.PathLike[str]) -> list[str]:
    """Given what the client asked for and the node's root directory, return the command to run.
    Raise Refused for any other.
    """
    import shlex

    summed = _SUMMED.fullmatch(text)
    try:
        words = shlex.split(summed["path"] if summed else text)
    except ValueError as error:
        raise Refused(str(error)) from error
    if summed and len(words) == 1:
        return ["sh", "-c", f"f={shlex.quote(_real(words[0], root))}{summed['rest']}"]
    if not words or words[0] not in _COMMANDS:
        raise Refused(
            f"{words[0] if words else 'a shell'}: this node offers {', '.join(_COMMANDS)} and SFTP"
        )
    options, needed = _COMMANDS[words[0]]
    if words[0] == "stat" and "-c" in words[:-1]:  # stat -c FORMAT is one option here
        at = words.index("-c")
        words[at : at + 2] = [f"-c{words[at + 1]}"]
    given = [word for word in words[1:] if word.startswith("-") and word != "--"]
    for word in given:
        if not options.fullmatch(word):
            raise Refused(f"{words[0]} {word}: this option is not offered")
    if needed and not any(needed in word for word in given):
        raise Refused(f"{words[0]}: only with {needed}")
    paths = [_real(word, root) for word in words[1:] if not word.startswith("-")]
    if not paths:
        raise Refused(f"{words[0]}: which file?")
    return [words[0], *given, "--", *paths]


def _real(name: str, root: str | os.PathLike[str]) -> str:
    """Return where a file of the dump directory lies. Raise Refused for any other path."""
    folder = os.path.realpath(f"{root}{DUMP}")
    for prefix in (DUMP, f"{root}{DUMP}"):
        if name == prefix or name.startswith(f"{prefix}/"):
            found = os.path.realpath(folder + name[len(prefix) :])
            if found == folder or found.startswith(f"{folder}/"):
                return found
    raise Refused(f"{name}: only files below {DUMP} are offered")


def ask_links(links: str, bridge: str) -> int:
    """Say what the lab's kernel says of a bridge, as iproute2 does; return the exit code. ``links``
    is NODE=SOCKET.
    """
    node, _, path = links.partition("=")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.connect(path)
        asking.sendall(f"{node} {bridge}\n".encode())
        with asking.makefile("r", encoding="utf-8") as answer:
            said = answer.read()
    if said:
        print(said)
        return 0
    print(f'Device "{bridge}" does not exist.', file=sys.stderr)
    return 1


def main(root: str | os.PathLike[str], asked: str, links: str = "", *past: str) -> int:
    """Carry out what a client asked for; return the exit code.

    ``links`` is the node's name and the socket that tells of its links (NODE=SOCKET, "" for none).
    ``past`` is the socket that tells of computed archives and the node's name there, for a node
    that has some.
    """
    if asked == SFTP_SERVER and past:
        from pathlib import Path

        proxy = str(Path(__file__).with_name("sftp_past.py"))
        os.execv(
            sys.executable, [sys.executable, "-I", "-S", proxy, SFTP_SERVER, f"{root}{DUMP}", *past]
        )
    if asked == SFTP_SERVER:
        os.execv(SFTP_SERVER, [SFTP_SERVER])
    if links and (found := _LINKS.fullmatch(" ".join(asked.split()))):
        return ask_links(links, found["bridge"])
    try:
        command = translate(asked, root)
    except Refused as error:
        print(error, file=sys.stderr)
        return REFUSED
    import subprocess

    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    folder = os.path.realpath(f"{root}{DUMP}").encode()
    for stream, said in ((sys.stdout, done.stdout), (sys.stderr, done.stderr)):
        # the client sees the paths as a node has them
        stream.buffer.write(said.replace(folder, DUMP.encode()))
        stream.flush()
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], os.environ.get("SSH_ORIGINAL_COMMAND", ""), *sys.argv[2:]))
