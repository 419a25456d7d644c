"""Which archive a dump made: PVE's task log decides, notes only where that is lost, and never what
was there before.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from policies.made import made
from policies.model import Archive, GuestType

BEGAN = 1000
ID = "01JD3VMZ7WXG0R5T9K2QH8N4BC"


def archive(second: int, notes: str = "", size: int = 100) -> Archive:
    volid = f"local:backup/vzdump-qemu-108-{second}.vma.zst"
    return Archive(volid, "clovis", "local", 108, GuestType.QEMU, BEGAN + second, size, notes=notes)


def name(second: int) -> str:
    return f"vzdump-qemu-108-{second}.vma.zst"


def found(
    *listed: Archive, before: tuple[Archive, ...] = (), begun: tuple[str, ...] = ()
) -> Archive | None:
    volids = {one.volid for one in before}
    return made(listed, before=volids, begun=begun, since=BEGAN, operation=ID)


OURS = f"web on clovis, backupsvc {ID}"


def test_law_4_the_archive_that_the_log_names_is_it_whatever_notes_say() -> None:
    mine, copied = archive(1, "backupsvc 01OTHER"), archive(2, OURS)
    assert found(copied, mine, begun=(name(1),)) == mine
    assert found(copied, begun=(name(1),)) is None


def test_law_4_neither_an_empty_file_nor_one_that_was_there_before_was_made() -> None:
    assert found(archive(1, OURS, size=0), begun=(name(1),)) is None
    assert found(archive(1, OURS), before=(archive(1),), begun=(name(1),)) is None
    assert found(archive(1, OURS, size=0)) is None
    assert found(archive(1, OURS, size=1)) is not None


def test_an_archive_of_a_backup_server_is_known_by_the_last_part_of_its_name() -> None:
    volid = "pbs:backup/vm/108/2026-03-09T20:00:02Z"
    one = replace(archive(1), volid=volid)
    assert found(one, begun=("2026-03-09T20:00:02Z",)) == one


def test_without_a_log_the_notes_decide_among_what_was_made_since() -> None:
    assert found(archive(5), archive(2, OURS), archive(9, OURS)) == archive(2, OURS)
    assert found(archive(-1, OURS), archive(3, OURS)) == archive(3, OURS)
    assert found(archive(0, OURS)) == archive(0, OURS)
    assert found(archive(-1, OURS)) is None


def test_without_a_log_only_the_operations_whole_id_at_the_end_names_it() -> None:
    assert found(archive(1, f"{OURS} copied")) is None
    assert found(archive(1, f"{ID} is a strange name on clovis, backupsvc 01OTHER")) is None


def test_without_a_log_and_notes_it_is_the_first_that_names_no_other_operation() -> None:
    assert found(archive(4), archive(3, "backupsvc 01OTHER"), archive(6, "by hand")) == archive(4)
    assert found(archive(3, "web, backupsvc 01OTHER")) is None


@given(
    st.lists(
        st.builds(
            archive,
            st.integers(-5, 5),
            st.sampled_from(["", OURS, "backupsvc 01OTHER"]),
            st.integers(0, 2),
        )
    ),
    st.sets(st.integers(-5, 5)),
    st.sets(st.integers(-5, 5)),
)
def test_law_4_what_was_made_has_a_size_was_not_there_before_and_is_the_one_named(
    listed: list[Archive], before: set[int], begun: set[int]
) -> None:
    one = found(
        *listed,
        before=tuple(archive(second) for second in before),
        begun=tuple(name(second) for second in begun),
    )
    if one is not None:
        assert one.size > 0 and one.ctime - BEGAN not in before
        assert one.ctime - BEGAN in begun if begun else one.ctime >= BEGAN
