"""Law 1: what may be stopped or destroyed."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import ownership
from policies.model import Scratch
from policies.pve import guest_config

SCRATCH = Scratch(9000, 9099, bridge="vmbr9")
OURS = "01JZ0000000000000000000001"
OTHER = "01JZ0000000000000000000002"


def config(operation: str = OURS) -> dict[str, str]:
    return {"description": f"{ownership.marker(operation)}\n", "memory": "512"}


def refusal(
    vmid: int = 9001, found: dict[str, str] | None = None, holder: str | None = OURS
) -> str | None:
    return ownership.refusal(
        vmid,
        config() if found is None else found,
        scratch=SCRATCH,
        operation=OURS,
        lease_holder=holder,
    )


def test_law_1_a_guest_with_our_marker_and_our_lease_in_the_range_is_ours() -> None:
    assert refusal() is None


@pytest.mark.parametrize("vmid", [8999, 9100, 108, 0, -1])
def test_law_1_a_vmid_outside_the_scratch_range_is_refused_whatever_else_says_it_is_ours(
    vmid: int,
) -> None:
    assert f"VMID {vmid} is outside the scratch range 9000-9099" in str(refusal(vmid))


def test_law_1_another_operations_marker_is_refused() -> None:
    assert "does not carry the marker" in str(refusal(found=config(OTHER)))


def test_law_1_a_guest_without_description_is_refused() -> None:
    assert "does not carry the marker" in str(refusal(found={"memory": "128"}))


def test_law_1_a_lease_of_nobody_and_a_lease_of_another_are_refused_by_name() -> None:
    assert "nobody holds" in str(refusal(holder=None))
    assert OTHER in str(refusal(holder=OTHER))


@given(st.integers(), st.text(max_size=60), st.none() | st.sampled_from([OURS, OTHER]))
def test_law_1_whatever_the_facts_only_range_marker_and_lease_together_are_accepted(
    vmid: int, description: str, holder: str | None
) -> None:
    accepted = refusal(vmid, {"description": description}, holder) is None
    marked = ownership.marker(OURS) in [line.strip() for line in description.splitlines()]
    assert accepted == (9000 <= vmid <= 9099 and marked and holder == OURS)


@pytest.mark.parametrize(
    "description",
    [
        ownership.marker(OURS) + "X",
        "see " + ownership.marker(OURS),
        ownership.marker(OURS[:-1]),
        ownership.marker(""),
    ],
)
def test_a_marker_counts_only_as_a_whole_line(description: str) -> None:
    assert not ownership.marked({"description": description}, OURS)


def test_no_operation_marks_nothing() -> None:
    assert not ownership.marked({"description": ownership.marker("")}, "")


def test_the_marker_survives_the_description_of_a_config_file_and_of_the_api() -> None:
    text = f"{ownership.marker(OURS)}\nwith a % and a : in it"
    in_file = "".join(f"#{quote(line, safe=' ')}\n" for line in text.split("\n"))
    assert ownership.marked(guest_config.parse_config(in_file + "memory: 512\n"), OURS)
    assert ownership.marked({"description": text + "\n"}, OURS)
    assert quote(ownership.marker(OURS)) == ownership.marker(OURS)


@pytest.mark.parametrize(
    "left",
    [
        {},
        {"digest": "da39"},
        {"digest": "d80c", "memory": "128"},
        {"memory": "128", "lock": "create", "digest": "d80c"},
    ],
)
def test_what_a_failed_restore_leaves_is_a_stub(left: dict[str, str]) -> None:
    assert ownership.is_stub(left)


@pytest.mark.parametrize("key", ["scsi0", "net0", "name", "description", "unused0"])
def test_a_config_with_anything_of_its_own_is_no_stub(key: str) -> None:
    assert not ownership.is_stub({"memory": "128", "digest": "d80c", key: "x"})
