"""Which call becomes which file, and which of its fields are kept."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from policies.cluster_config import Source, words
from policies.config_secrets import secret_name
from policies.config_sources import (
    CLUSTER,
    GUESTS,
    LXC,
    NODE,
    QEMU,
    guest_sources,
    node_sources,
)

GOLDEN = Path(__file__).parents[2] / "golden"
TABLE = GOLDEN / "config_sources.txt"
SCHEMA: dict[str, set[str]] = {
    one["path"].strip("/"): set(
        (one["returns"].get("items") or one["returns"]).get("properties") or {}
    )
    for one in json.loads((GOLDEN / "api_schema_subset.json").read_text("utf-8"))["endpoints"]
    if one["method"] == "GET"
}
# of releases before the one whose schema that is, of guests with snapshots, of tokens
OLDER = words(
    "dow maxfiles notification-policy notification-target parent privsep startup starttime tty "
    "vmstatestorage"
)


def every() -> list[Source]:
    """All that is read, and what is read of each row."""
    found = [*CLUSTER, *NODE, GUESTS, QEMU, LXC, *guest_sources("qemu", "n1", 108)]
    return found + [one.each for one in found if one.each]


def test_each_file_has_one_source_and_no_field_that_is_kept_sounds_like_a_secret() -> None:
    files = [one.file for one in every()]
    assert len(files) == len(set(files))
    assert [name for one in every() for name in one.fields if secret_name(name)] == []


def told(source: Source) -> str:
    """A source in a line: the call, the file, how its sections are headed, who is shown all."""
    params = "".join(f"?{key}={value}" for key, value in source.params.items())
    head = f" [{source.word}{'|type' if source.typed else ''}: {' '.join(source.id)}]"
    rights = source.sees_all and f" {source.sees_all.path} {'|'.join(source.sees_all.privileges)}"
    few = f" {' '.join(sorted(source.fields))}" if len(source.fields) < 4 else ""
    return f"{source.path}{params} {source.file}{head if source.id else ''}{few}{rights or ''}"


def test_what_is_read_is_what_pve_serves_under_those_names() -> None:
    """Written down once more, to be held to PVE's API viewer by whoever changes it."""
    lines = [told(one) for one in every()]
    if os.environ.get("WRITE_GOLDEN"):
        TABLE.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    assert lines == TABLE.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("source", [one for one in every() if SCHEMA.get(one.path)])
def test_what_names_a_row_and_what_is_kept_of_it_stands_in_pves_own_schema(source: Source) -> None:
    """As far as the schema tells what a call returns: of some it names the key of a row alone."""
    returned = SCHEMA[source.path]
    known = {name.replace("[n]", "") for name in returned}
    assert set(source.id) <= known
    if len(known) > 2:
        assert source.fields - OLDER <= known | {name.rstrip("0123456789") for name in known}


def test_links_and_domains_that_are_numbered_are_known_as_far_as_pve_numbers_them() -> None:
    by_file = {one.file: one.fields for one in every()}
    rings = {name for name in by_file["corosync-nodes.cfg"] if name.startswith("ring")}
    domains = {name for name in by_file["nodes/{node}/config.cfg"] if name[:10] == "acmedomain"}
    assert rings == {f"ring{link}_addr" for link in range(8)}
    assert domains == {f"acmedomain{number}" for number in range(6)}


def test_a_guest_is_read_where_it_is_and_its_configuration_first() -> None:
    config, options, *rest = guest_sources("lxc", "n1", 200)
    assert (config.path, config.file) == ("nodes/n1/lxc/200/config", "guests/lxc-200.conf")
    assert options.path == "nodes/n1/lxc/200/firewall/options"
    assert options.folder == "guests/lxc-200.firewall/"
    (sets,) = (one.each for one in rest if one.each)
    assert sets.at(name="mail").file == "guests/lxc-200.firewall/ipset/mail.cfg"
    assert {one.folder for one in node_sources("n1")} == {"nodes/n1/", "nodes/n1/firewall/"}


def test_a_row_of_a_list_is_read_by_its_name_whatever_stands_in_it() -> None:
    (pool,) = (one.each for one in CLUSTER if one.file == "pools.cfg")
    assert pool
    nested = pool.at(name="town/web")
    assert (nested.path, dict(nested.params)) == ("pools", {"poolid": "town/web"})
    assert nested.file == "pools/%town%2Fweb.cfg"
    (realm,) = (one.each for one in CLUSTER if one.file == "access/realms.cfg")
    assert realm
    assert realm.at(name="../users").path == "access/domains/..%2Fusers"
