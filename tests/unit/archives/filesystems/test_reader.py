"""The process that reads is not trusted: it may crash, hang, lie or talk without end; and it can do
nothing but read what it was given.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from backupsvc.archives.filesystems.blocks import Disk
from backupsvc.archives.filesystems.limits import Limits
from backupsvc.archives.filesystems.reader import ROOT, NotRead, Reader, ReaderLost
from backupsvc.archives.filesystems.told import Entry, Volume
from backupsvc.errors import UsageError

VOLUME = Volume("scsi0", 1, "disk", "", 4096, "ext4", True, None, "")
FILE = Entry("x", "file", 12, 5, None, 0, None, "")
START = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
from backupsvc.archives.filesystems.wire import *
def say(*frames):
    for one in frames:
        os.write(1, one)
def asked():
    return read_frame(lambda size: os.read(0, size))
"""


def reader(code: str, disks: Sequence[Disk] = (), limits: Limits | None = None) -> Reader:
    return Reader(
        disks or [Disk("scsi0", 0, 4096)], limits, [sys.executable, "-I", "-c", START + code]
    )


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("asked(); os.kill(os.getpid(), 11)", "SIGSEGV"),
        ("asked(); sys.exit(3)", "ended with 3"),
        ("sys.exit(0)", "ended with 0"),
        ("asked(); os.write(1, b'x')", "nonsense"),
        ("asked(); say(HEAD.pack(ITEM, 2**31))", "nonsense"),
        ("asked(); say(frame(ITEM, b'{'))", "nonsense"),
        ("asked(); say(frame(ITEM, b'[' * 100000))", "nonsense"),
        ("asked(); say(json_frame(ITEM, [1, 2]), frame(END))", "nonsense"),
        ("asked(); say(frame(DATA, b'x'))", "nonsense"),
        ("asked(); say(json_frame(FAIL, 'x'))", "nonsense"),
        (
            "asked()\nwhile 1: say(json_frame(ITEM, ['scsi0',1,'','',1,None,False,None,'']))",
            "nonsense",
        ),
        (
            "asked(); say(json_frame(ITEM, ['other',1,'','',1,None,False,None,'']), frame(END))",
            "nonsense",
        ),
    ],
)
def test_a_reader_that_crashes_or_talks_nonsense_is_one_clear_error(code: str, said: str) -> None:
    with reader(code) as opened, pytest.raises(ReaderLost, match=said) as caught:
        opened.volumes()
    assert caught.value.hint and caught.value.exit_code == 1


def test_a_reader_that_hangs_is_ended() -> None:
    with (
        reader("asked()\nwhile 1: pass", limits=Limits(patience=0.5)) as opened,
        pytest.raises(ReaderLost, match="did not come to an end"),
    ):
        opened.volumes()
    assert opened._process.poll() is not None


def test_a_reader_that_sends_a_byte_now_and_then_is_ended_too() -> None:
    code = "import time; asked(); say(HEAD.pack(ITEM, 2**20))\nwhile 1: say(b' '); time.sleep(0.01)"
    with (
        reader(code, limits=Limits(patience=0.5)) as opened,
        pytest.raises(ReaderLost, match="did not come to an end"),
    ):
        opened.volumes()


@pytest.mark.parametrize(
    "answer",
    [
        "json_frame(START, 6)",
        "frame(DATA, b'12345')",
        "json_frame(START, 5), frame(DATA, b'123456')",
        "json_frame(START, 5), frame(HOLE, LENGTH.pack(2**63))",
        "json_frame(START, 5), frame(HOLE, b'x')",
        "json_frame(START, 5), frame(DATA, b'')",
        "json_frame(START, 5), json_frame(START, 5)",
        "json_frame(START, 5), json_frame(ITEM, 5)",
    ],
)
def test_a_file_that_is_not_what_was_told_of_it_is_nonsense(answer: str) -> None:
    with reader(f"asked(); say({answer}, frame(END))") as opened, pytest.raises(ReaderLost):
        list(opened.content(VOLUME, FILE))


def test_a_file_that_is_cut_is_not_read_and_the_next_one_is() -> None:
    code = (
        "asked(); say(json_frame(START, 5), frame(DATA, b'123'), frame(END))\n"
        "asked(); say(json_frame(START, 5), frame(DATA, b'123'), json_frame(FAIL, ['failed', 'gone']))\n"
        "asked(); say(json_frame(START, 5), frame(DATA, b'123'), frame(HOLE, LENGTH.pack(2)), frame(END))"
    )
    with reader(code) as opened:
        with pytest.raises(NotRead, match="2 of 5 bytes are missing"):
            list(opened.content(VOLUME, FILE))
        with pytest.raises(NotRead, match="ext4 of volume 1 of scsi0: gone"):
            list(opened.content(VOLUME, FILE))
        assert list(opened.content(VOLUME, FILE)) == [b"123", 2]


def test_a_folder_without_end_is_not_listed() -> None:
    code = "asked()\nwhile 1: say(json_frame(ITEM, [['x','file',1,1,1,0,None,'']] * 100))"
    with (
        reader(code, limits=Limits(entries=1000)) as opened,
        pytest.raises(ReaderLost, match="nonsense"),
    ):
        opened.entries(VOLUME)


def test_what_is_not_installed_is_told_with_what_to_do() -> None:
    with (
        reader("asked(); say(json_frame(FAIL, ['missing', 'pytsk3']))") as opened,
        pytest.raises(UsageError) as caught,
    ):
        opened.volumes()
    assert caught.value.hint == "pip install 'backupsvc[files]'"


CONFINED = """
import json, socket, resource
from backupsvc.archives.filesystems import child
told = json.loads(sys.argv[1])
child.confine(told); child.lock_up(told)
def tried(what):
    try:
        what()
    except (OSError, MemoryError) as error:
        return type(error).__name__
    return "done"
image = told["disks"][0][1]
asked()
say(json_frame(ITEM, [
    tried(lambda: os.pread(image, 10, 0)),
    tried(lambda: os.pwrite(image, b"x", 0)),
    tried(lambda: os.open(BESIDE, os.O_WRONLY | os.O_CREAT)),
    tried(lambda: os.unlink(BESIDE)),
    tried(lambda: os.truncate(BESIDE, 0)),
    tried(lambda: os.open("/etc/passwd", os.O_RDONLY)),
    tried(lambda: socket.create_connection(("127.0.0.1", PORT))),
    tried(lambda: bytearray(3 * 2**30)),
    set(os.environ) <= {"LC_CTYPE"},  # which Python sets itself
    os.getcwd(),
    resource.getrlimit(resource.RLIMIT_CORE)[1],
    resource.getrlimit(resource.RLIMIT_CPU)[1],
]), frame(END))
"""


def test_the_process_reads_its_disk_and_can_do_nothing_else(tmp_path: Path) -> None:
    import socket

    from backupsvc.archives.filesystems.landlock import CREATE

    image, beside = tmp_path / "disk", tmp_path / "beside"
    image.write_bytes(bytes(4096))
    beside.write_text("kept")
    with socket.create_server(("127.0.0.1", 0)) as server, image.open("r+b") as opened:
        port = server.getsockname()[1]
        code = f"BESIDE, PORT = {str(beside)!r}, {port}\n{CONFINED}"
        with reader(code, [Disk("scsi0", opened.fileno(), 4096)]) as process:
            [found] = process._items(["x"], 1)
    read, written, made, removed, cut, others, network, memory, env, where, core, cpu = found
    assert (read, written, memory, env, where, core) == (
        "done",
        "OSError",
        "MemoryError",
        True,
        "/",
        0,
    )
    assert cpu == Limits().cpu_for(4096) + 1
    assert beside.read_text() == "kept" or not _landlock(CREATE)
    if _landlock(CREATE):
        assert {made, removed, cut, others, network} == {"PermissionError"}


def _landlock(create: int) -> bool:
    import ctypes

    return bool(ctypes.CDLL(None).syscall(create, None, ctypes.c_size_t(0), 1) >= 4)


def test_the_limits_grow_with_what_is_delivered() -> None:
    limits = Limits()
    assert limits.wait_for(0, 0) == 300
    assert limits.wait_for(10, 100 * 2**20) == 300 + 1 + 100
    assert limits.cpu_for(2**40) == 120 + 2**18


def test_the_disks_are_told_to_the_process_and_no_more(tmp_path: Path) -> None:
    code = "asked(); say(json_frame(ITEM, sys.argv[1:]), frame(END))"
    with reader(code) as opened:
        [[told]] = opened._items(["x"], 1)
    assert set(json.loads(told)) == {"disks", "memory", "cpu"}
