"""Files with holes and hard links, as GNU tar writes them; and what of them GNU tar could not
extract is not called whole.
"""

from __future__ import annotations

import os
import re
import subprocess
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backupsvc.archives.linked import path
from backupsvc.archives.streams import ByteStream
from backupsvc.archives.tar import TarPass

from . import hostile

DIALECTS = {
    "gnu": ("--format=gnu",),
    "pax 0.0": ("--format=pax", "--sparse-version=0.0"),
    "pax 0.1": ("--format=pax", "--sparse-version=0.1"),
    "pax 1.0": ("--format=pax", "--sparse-version=1.0"),
}
PIECES = 40  # more than fit into a header and one block behind it
CONF = b"arch: amd64\n"


def holes() -> dict[str, bytes]:
    """The files that are packed: with pieces far apart, ending in data within a block, ending in a
    hole, and of nothing else.
    """
    apart = bytearray(PIECES * 65536 + 7)
    for number in range(PIECES):
        apart[number * 65536 : number * 65536 + 9] = b"piece %03d" % number
    return {
        "apart": bytes(apart),
        "data-last": bytes(70_001) + b"xyz",
        "hole-last": b"x" * 600 + bytes(90_000),
        "empty": bytes(50_001),
    }


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A container's files, with holes, and with a file that has three names."""
    found = tmp_path_factory.mktemp("root")
    (found / "etc/vzdump").mkdir(parents=True)
    (found / "etc/vzdump/pct.conf").write_bytes(CONF)
    for name, data in holes().items():
        with (found / name).open("wb") as file:
            for at in range(0, len(data), 512):
                if any(data[at : at + 512]):
                    file.seek(at)
                    file.write(data[at : at + 512])
            file.truncate(len(data))
    (found / "linked").write_bytes(b"once\n" * 300)
    (found / "etc/again").hardlink_to(found / "linked")
    (found / "zz").hardlink_to(found / "linked")
    return found


def pack(root: Path, *options: str, names: tuple[str, ...] = (".",)) -> bytes:
    """Pack with GNU tar."""
    done = subprocess.run(
        ["tar", "-C", root, "--sort=name", *options, "-cf", "-", *names],
        stdout=subprocess.PIPE,
        check=True,
    )
    return done.stdout


def read(data: bytes) -> TarPass:
    reader = TarPass()
    reader.read(ByteStream(data[at : at + 3000] for at in range(0, len(data), 3000)))
    return reader


def told(data: bytes) -> list[str]:
    return [problem.text for problem in read(data).problems]


# --- as tar writes them ---------------------------------------------------------------------------


@pytest.mark.parametrize("found", ["raw", "seek"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_gnu_tar_packs_with_holes_and_hard_links_is_whole(
    root: Path, dialect: str, found: str
) -> None:
    packed = pack(root, *DIALECTS[dialect], "--sparse", f"--hole-detection={found}")
    reader = read(packed)
    assert reader.problems == [] and reader.configs == {"pct.conf": CONF}
    assert len(packed) < sum(map(len, holes().values())), "the holes were packed as holes"


@pytest.mark.parametrize("format", ["gnu", "pax", "ustar"])
@pytest.mark.parametrize("names", [(".",), ("./linked", "./zz", "./etc"), ("linked", "zz", "etc")])
def test_hard_links_are_whole_however_their_names_are_written(
    root: Path, format: str, names: tuple[str, ...]
) -> None:
    rest = (
        []
        if names == (".",)
        else ["no etc/vzdump/pct.conf inside: PVE cannot restore a container from it alone"]
    )
    rest = rest if "etc" not in "".join(names) else []
    assert told(pack(root, f"--format={format}", names=names)) == rest


def test_a_hard_link_with_a_long_target_is_followed(root: Path, tmp_path: Path) -> None:
    long = tmp_path / ("d" * 120) / ("e" * 120)
    long.mkdir(parents=True)
    (long / "file").write_bytes(b"x")
    (tmp_path / "zz").hardlink_to(long / "file")
    for format in ("gnu", "pax"):
        packed = hostile.tar([])[:-1024] + pack(tmp_path, f"--format={format}")
        assert told(packed) == []


@pytest.mark.parametrize(
    ("name", "same"),
    [
        (b"./a//b/", b"a/b"),
        (b"/a/./b", b"a/b"),
        (b"a/b", b"a/b"),
        (b"a/.b", b"a/.b"),
        (b"a/..b/c.d", b"a/..b/c.d"),
        (b"./", b""),
    ],
)
def test_a_name_is_where_it_is_extracted_to(name: bytes, same: bytes) -> None:
    assert path(name) == same


# --- what could not be extracted ------------------------------------------------------------------


def link(name: bytes, target: bytes) -> bytes:
    return hostile.member(name, b"1", 0, target)


def container(*headers: bytes) -> bytes:
    return hostile.tar([])[:-1024] + b"".join(headers) + bytes(1024)


NOT_BEFORE = "a hard link to a file that is not in the archive before it"


@pytest.mark.parametrize(
    ("headers", "problem"),
    [
        ((link(b"./b", b"./a"),), NOT_BEFORE),
        ((link(b"./b", b"./a"), hostile.member(b"./a", b"0", 0)), NOT_BEFORE),
        ((link(b"./b", b"./b"),), NOT_BEFORE),
        ((hostile.member(b"./a", b"5", 0), link(b"./b", b"./a")), NOT_BEFORE),
        ((hostile.member(b"../a", b"0", 0), link(b"./b", b"./a")), NOT_BEFORE),
        (
            (hostile.member(b"./a", b"0", 0), link(b"./b", b"./x/../a")),
            "a hard link that leads out of the folder",
        ),
        (
            (hostile.member(b"./a", b"0", 0), link(b"./b", b"../a")),
            "a hard link that leads out of the folder",
        ),
    ],
)
def test_law_5_a_hard_link_that_tar_could_not_make_is_told(
    headers: tuple[bytes, ...], problem: str
) -> None:
    assert any(problem in text for text in told(container(*headers)))


@pytest.mark.parametrize(
    "headers",
    [
        (hostile.member(b"./a", b"0", 0), link(b"./b", b"/a"), link(b"./c", b"./b")),
        (hostile.member(b"./a", b"2", 0, b"nowhere"), link(b"./b", b"a")),
        (hostile.member(b"./pipe", b"6", 0), link(b"./b", b".//pipe")),
    ],
)
def test_a_hard_link_to_whatever_came_before_it_is_whole(headers: tuple[bytes, ...]) -> None:
    assert told(container(*headers)) == []


def test_law_5_an_archive_from_which_the_target_of_a_hard_link_was_cut_is_not_whole(
    root: Path,
) -> None:
    packed = pack(root, "--format=gnu")
    at = next(
        at for at in range(0, len(packed), 512) if packed[at : at + 16] == b"./etc/again\0\0\0\0\0"
    )
    size = 512 + 1536  # 1,500 bytes of data
    cut = packed[:at] + packed[at + size :]
    assert told(packed) == [] and told(cut) == [f"{NOT_BEFORE} (and 1 more)"]


Change = Callable[[bytes], bytes]


def in_header(change: Callable[[bytearray], None], name: bytes = b"./apart\0") -> Change:
    """Change the header of a packed file, and seal it anew."""

    def changed(packed: bytes) -> bytes:
        at = packed.index(name)
        header = bytearray(packed[at : at + 512])
        change(header)
        return packed[:at] + hostile.sum_up(header) + packed[at + 512 :]

    return changed


def swap(header: bytearray) -> None:
    header[386:410], header[410:434] = header[410:434], header[386:410]


def longer(header: bytearray) -> None:
    header[483:495] = b"%011o\0" % (int(header[483:494], 8) + 512)


def over(header: bytearray) -> None:
    header[386:398] = b"%011o\0" % 0
    header[410:422] = b"%011o\0" % 511


def ended(header: bytearray) -> None:
    header[458:482] = bytes(24)


def text(old: bytes, new: bytes) -> Change:
    def changed(packed: bytes) -> bytes:
        assert old in packed
        return packed.replace(old, new, 1)

    return changed


DAMAGED: list[tuple[str, Change, str]] = [
    ("gnu", in_header(swap), "overlap"),
    ("gnu", in_header(over), "overlap"),
    ("gnu", in_header(longer), "do not end where the file does"),
    ("gnu", in_header(ended), "goes on behind its end"),
    ("pax 0.0", text(b"GNU.sparse.offset=131072", b"GNU.sparse.offset=031072"), "overlap"),
    ("pax 0.0", text(b"GNU.sparse.offset=131072", b"GNU.sparse.offsex=131072"), "in no order"),
    ("pax 0.0", text(b"GNU.sparse.numblocks=", b"GNU.sparse.numblokks="), "in no order"),
    ("pax 0.0", text(b"GNU.sparse.size=", b"GNU.sparse.sise="), "size is not told"),
    ("pax 0.1", text(b",131072,512", b",131072,511"), "within a block"),
    ("pax 0.1", text(b",131072,512", b",131072,5x2"), "is no number"),
    ("pax 0.1", text(b",131072,512", b",13107200,2"), "overlap"),
    ("pax 0.1", text(b"GNU.sparse.numblocks=", b"GNU.sparse.numblokks="), "before their number"),
    ("pax 0.1", text(b",131072,512", b",131072000,"), "is no number"),
    ("pax 1.0", text(b"\n131072\n512", b"\n031072\n512"), "overlap"),
    ("pax 1.0", text(b"\n131072\n512", b"\n131072\n513"), "within a block"),
    ("pax 1.0", text(b"\n131072\n512", b"\n131072x512"), "is no number"),
    ("pax 1.0", text(b"GNU.sparse.major=1", b"GNU.sparse.major=2"), "version"),
    ("pax 1.0", text(b"GNU.sparse.realsize=", b"GNU.sparse.realsise="), "size is not told"),
]


@pytest.mark.parametrize(("dialect", "change", "why"), DAMAGED)
def test_law_5_a_map_that_does_not_fit_its_file_is_told(
    root: Path, dialect: str, change: Change, why: str
) -> None:
    packed = pack(
        root, *DIALECTS[dialect], "--sparse", "--hole-detection=raw", names=("./etc", "./apart")
    )
    assert told(packed) == []
    (problem,) = told(change(packed))
    assert problem.startswith("a file with holes whose map is wrong: ") and why in problem


def test_law_5_data_that_the_map_does_not_name_are_told(root: Path) -> None:
    packed = pack(
        root, "--format=gnu", "--sparse", "--hole-detection=raw", names=("./etc", "./data-last")
    )

    def less(header: bytearray) -> None:
        header[398:410] = b"%011o\0" % (int(header[398:409], 8) - 1)
        header[483:495] = b"%011o\0" % (int(header[483:494], 8) - 1)

    assert "not as long together as the data" in told(in_header(less, b"./data-last\0")(packed))[0]


# --- held against GNU tar itself ------------------------------------------------------------------


@dataclass(frozen=True)
class Packed:
    """An archive of one file with holes, and where its map stands in it."""

    data: bytes
    places: tuple[int, ...]
    sealed: bool


def _places(dialect: str, data: bytes) -> Iterator[int]:
    """Where digits of the map stand."""
    if dialect == "gnu":
        at = data.index(b"./apart\0")
        for first, size in ((at + 386, 96), (at + 483, 12), (at + 512, 504), (at + 1024, 504)):
            yield from (
                first + number
                for number in range(size)
                if data[first + number : first + number + 1].isdigit()
            )
        return
    begin = data.index(b"GNU.sparse.")
    patterns = (
        rb"GNU\.sparse\.(?:size|realsize|numblocks|offset|numbytes|map)=([\d,]+)|(?<=\n)(\d+)(?=\n)"
    )
    for found in re.finditer(patterns, data[begin : begin + 4096]):
        group = 1 if found[1] else 2
        span = range(begin + found.start(group), begin + found.end(group))
        yield from (at for at in span if data[at : at + 1].isdigit())


@pytest.fixture(scope="module")
def packed(root: Path) -> dict[str, Packed]:
    found = {}
    for dialect, options in DIALECTS.items():
        data = pack(
            root, *options, "--sparse", "--hole-detection=raw", names=("./etc/vzdump", "./apart")
        )
        found[dialect] = Packed(data, tuple(_places(dialect, data)), dialect == "gnu")
    assert all(len(one.places) > 100 for one in found.values())
    return found


@pytest.mark.slow
@settings(
    deadline=None, max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    dialect=st.sampled_from(sorted(DIALECTS)),
    changes=st.lists(
        st.tuples(st.integers(0, 10**6), st.sampled_from(b"01234567")), min_size=1, max_size=3
    ),
)
def test_law_5_no_damaged_map_is_called_whole_from_which_tar_makes_another_file(
    packed: dict[str, Packed], tmp_path: Path, dialect: str, changes: list[tuple[int, int]]
) -> None:
    one = packed[dialect]
    data = bytearray(one.data)
    for which, digit in changes:
        data[one.places[which % len(one.places)]] = digit
    if one.sealed:
        at = data.index(b"./apart\0")
        data[at : at + 512] = hostile.sum_up(data[at : at + 512])
    if told(bytes(data)):
        return
    target = tmp_path / "out"
    target.mkdir(exist_ok=True)
    (target / "apart").unlink(missing_ok=True)
    done = subprocess.run(
        ["tar", "-C", target, "-xf", "-"],
        input=bytes(data),
        capture_output=True,
        env={**os.environ, "LC_ALL": "C"},
    )
    assert done.returncode == 0, done.stderr
    made = (target / "apart").read_bytes()
    pieces = sorted(set(re.findall(rb"piece \d{3}", made)))
    assert len(made) >= made.rindex(b"piece") and len(pieces) == PIECES, "data are lost"


LONG = (hostile.long_map_in_a_record, hostile.long_map_before_data, hostile.long_map_in_blocks)


@pytest.mark.slow
@pytest.mark.parametrize("make", LONG)
def test_a_map_of_any_length_is_read_and_a_longer_one_takes_no_more_memory(
    make: Callable[[int], bytes],
) -> None:
    peaks = []
    for count in (2_000, 20_000):
        data = make(count)
        tracemalloc.start()
        assert told(data) == []
        peaks.append(tracemalloc.get_traced_memory()[1] - 16 * 1024**2)
        tracemalloc.stop()
    assert max(peaks) < 3 * 1024**2, peaks


@pytest.mark.slow
def test_the_names_of_many_files_take_a_fixed_memory_and_none_is_forgotten() -> None:
    def members() -> Iterator[bytes]:
        yield hostile.tar([])[:-1024]
        for number in range(30_000):
            yield hostile.member(b"./f%d" % number, b"0", 0)
        for number in range(30_000):
            yield link(b"./l%d" % number, b"./f%d" % number)
        yield link(b"./x", b"./f30000") + bytes(1024)

    reader = TarPass()
    reader.read(ByteStream(members()))
    assert [problem.text for problem in reader.problems] == [NOT_BEFORE] and len(
        reader._names._bits
    ) == 16 * 1024**2
