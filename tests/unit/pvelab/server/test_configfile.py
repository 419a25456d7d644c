"""Guest configurations as text: PVE's form, kept across restarts, one VMID in one place."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvelab.configfile import GuestTable, dump, parse
from pvelab.errors import LabError
from tests.waiting import HANGS

_KEYS = st.from_regex(r"[a-z]{2,8}[0-9]{0,2}", fullmatch=True).filter(
    lambda key: key not in ("description", "digest")
)
_VALUES = st.text(
    st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp", "Zs")), min_size=1
).filter(lambda v: v.strip() == v)
_DESCRIPTIONS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@pytest.mark.slow
@given(st.dictionaries(_KEYS, _VALUES, min_size=1), _DESCRIPTIONS)
def test_what_is_written_is_read_back(config: dict[str, str], description: str) -> None:
    whole = {"description": description, **config}
    assert parse(dump(whole)) == (whole, "")


def test_sections_are_kept_and_never_mixed_with_current_values() -> None:
    text = "#note%3A 1\nmemory: 512\n[snap1]\nmemory: 1024\n"
    assert parse(text) == ({"description": "note: 1", "memory": "512"}, "[snap1]\nmemory: 1024\n")


def test_a_table_is_opened_again_as_it_was_left(tmp_path: Path) -> None:
    table = GuestTable(tmp_path)
    vm = table.create("clovis", 9000, {"name": "copy"})
    vm.config["memory"] = "256"
    table.save(vm)
    again = GuestTable(tmp_path).need("clovis", 9000)
    assert again.config == {"name": "copy", "memory": "256"}
    assert again.digest == vm.digest


def test_a_vmid_is_taken_once_in_the_whole_cluster(tmp_path: Path) -> None:
    table = GuestTable(tmp_path)
    table.create("clovis", 9000, {})
    with pytest.raises(LabError, match="already exists on node 'clovis'"):
        table.create("lge-pve02", 9000, {})


def test_a_guest_is_found_on_its_own_node_only(tmp_path: Path) -> None:
    table = GuestTable(tmp_path)
    table.create("clovis", 9000, {})
    with pytest.raises(
        LabError, match=r"Configuration file 'nodes/lge-pve02/qemu-server/9000.conf' does not exist"
    ):
        table.need("lge-pve02", 9000)
    table.move(9000, "lge-pve02")
    assert table.need("lge-pve02", 9000).vmid == 9000
    assert not (tmp_path / "nodes" / "clovis" / "qemu-server" / "9000.conf").exists()


def test_a_held_lock_times_out_with_pves_text(tmp_path: Path) -> None:
    table, held, release = GuestTable(tmp_path), threading.Event(), threading.Event()

    def hold() -> None:
        with table.lock(9010):
            held.set()
            release.wait(HANGS)

    threading.Thread(target=hold, daemon=True).start()
    assert held.wait(HANGS)
    with (
        pytest.raises(
            LabError, match=r"can't lock file '/var/lock/qemu-server/lock-9010.conf' - got timeout"
        ),
        table.lock(9010, 0.1),
    ):
        raise AssertionError("two holders")
    release.set()


def test_a_nodes_guests_are_listed_as_they_are_after_each_creation_move_and_removal(
    tmp_path: Path,
) -> None:
    table = GuestTable(tmp_path)

    def vmids() -> list[list[int]]:
        return [[vm.vmid for vm in table.all(node, None)] for node in (None, "a", "b")]

    assert vmids() == [[], [], []]
    table.create("a", 102, {})
    table.create("a", 101, {}, "lxc")
    assert vmids() == [[101, 102], [101, 102], []]
    table.move(102, "b")
    assert vmids() == [[101, 102], [101], [102]]
    table.remove(101)
    assert vmids() == [[102], [], [102]]
