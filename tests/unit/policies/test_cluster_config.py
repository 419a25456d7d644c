"""How the files of a kept configuration are named, and who is shown all of a list."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.cluster_config import (
    ConfigSet,
    SeesAll,
    file_name,
    in_part,
    reads_all,
    written,
)


@given(st.text(st.characters(codec=None), max_size=200))
def test_any_name_becomes_a_files_name_of_its_own(name: str) -> None:
    found = file_name(name)
    assert found == name or found.startswith("%")
    assert found not in (".", "..") and not found.startswith(".") and len(found) <= 80
    assert all(one.isascii() and (one.isalnum() or one in "_.~%-") for one in found)


def test_names_that_differ_have_files_that_differ() -> None:
    names = ["a", "A", "a/b", "a%2Fb", "..", ".", "", "é", "x" * 81, "x" * 82, "\ud800", "%D800"]
    assert len({file_name(name) for name in names}) == len(names)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("a.b-c_d~", "a.b-c_d~"),
        ("a b.c", "%a%20b%2Ec"),
        ("..", "%%2E%2E"),
        ("a/X", "%a%2FX"),
        (" " + "x" * 56, "%%20" + "x" * 56),
        (" " + "x" * 57, "%%20" + "x" * 56 + "~" + "0" * 12),
    ],
)
def test_a_name_that_is_no_files_name_is_quoted(name: str, file: str) -> None:
    assert file_name(name)[:60] == file[:60] and len(file_name(name)) == len(file)


def test_what_would_end_a_line_is_written_as_its_bytes() -> None:
    assert written("a\nb\u2028\x85") == "a%0Ab%E2%80%A8%C2%85"


@given(st.text(st.characters(codec=None)))
def test_what_is_written_is_one_line_of_utf_8(text: str) -> None:
    found = written(text)
    found.encode()
    assert len(found.splitlines()) <= 1 and "\t" not in found


@pytest.mark.parametrize(
    ("held", "all_of_it"),
    [
        ({}, False),
        ({"/": {"Sys.Audit"}}, False),
        ({"/": {"Datastore.Audit"}}, True),
        ({"/storage": {"Datastore.Audit"}}, True),
        ({"/storage/local": {"Datastore.Audit"}}, False),
        ({"/": {"Datastore.Audit"}, "/storage": set()}, False),
        ({"/": set(), "/storage": {"Datastore.AllocateSpace"}}, True),
        ({"/storage": {"Datastore.Audit"}, "/storage/nas": {"VM.Audit"}}, False),
        ({"/": {"Datastore.Audit"}, "/storages": set(), "/vms": set()}, True),
    ],
)
def test_a_list_is_whole_for_whom_has_the_right_above_it_and_nothing_less_below(
    held: dict[str, set[str]], all_of_it: bool
) -> None:
    rule = SeesAll("/storage", ("Datastore.Audit", "Datastore.AllocateSpace"))
    assert reads_all(rule, {path: frozenset(privs) for path, privs in held.items()}) is all_of_it
    assert "Datastore.Audit on /storage" in in_part(rule)


def test_of_the_root_nothing_below_matters() -> None:
    rule = SeesAll("/", ("Sys.Audit",))
    assert reads_all(rule, {"/": frozenset({"Sys.Audit"}), "/vms": frozenset({"VM.Audit"})})
    assert not reads_all(rule, {"/vms": frozenset({"Sys.Audit"})})


def test_what_is_said_of_a_folder_is_said_of_all_below_it() -> None:
    found = ConfigSet({}, {"guests/": "no", "storage.cfg": "403"}, {"pools/": "in part"})
    assert found.why_not_read("guests/qemu-108.conf") == found.why_not_read("guests/") == "no"
    assert found.why_not_read("storage.cfg") == "403"
    assert found.why_not_read("storage.cfg.old") is None is found.why_in_part("pools.cfg")
    assert found.why_in_part("pools/web.cfg") == "in part"
