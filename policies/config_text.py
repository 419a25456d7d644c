"""What Proxmox VE's API answers of its configuration, as text: sorted, without what changes by
itself, without secrets, in PVE's own forms, so that two nights without a change give the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

from policies.cluster_config import Source, words, written
from policies.config_secrets import LEFT_OUT, free, secret_name, within

Row = Mapping[str, Any]

# what changes while nobody changes anything, or is told of something else
_VOLATILE = words(
    "active allowed-tags altnames checks digest exists families lock next-run pending pid priority "
    "realm-type runningcpu runningmachine running-nets-host-mtu snaptime special state-pending "
    "tfa-locked-until totp-locked uptime"
)
# sets that PVE keeps in hashes and tells in any order
_SETS = frozenset({"content", "groups", "nodes", "privs", "resources", "users"})
# what people write, and programs read whatever way they like
_FREE = words(
    "alias args comment comments comments6 consent-text description entrypoint hookscript lxc "
    "mailto notes-template options options6 ovs_options script"
)
# what stands on several lines: those, and /etc/hosts
_LINES = _FREE | {"data"}
_NUMBERED = re.compile(r"(.*?[a-z_-])\d+")
# PVE writes all of a description but these as %XX (pve-facts 8.1)
_AS_PVE = " !\"#$&'()*+,-./;<=>?@[\\]^_`{|}~"


class NoText(ValueError):
    """An answer is not of the form that its call has."""


def text_of(source: Source, answer: object, scratch: Container[int] = ()) -> str:
    """Given a call and its answer's data, return the text that is kept of it, "" if there is
    nothing. ``scratch`` are the VMIDs of copies, which come and go. Raise NoText if the answer is
    none of that call.
    """
    if not source.id:
        if not isinstance(answer, dict):
            raise NoText("it should be an object")
        held, text = dict(answer), ""
        # where a guest's notes stand in PVE's files
        notes = held.get("description") if source.path.endswith("/config") else None
        if notes and isinstance(notes, str):
            del held["description"]
            for line in free(notes).rstrip("\n").split("\n"):
                # what UTF-8 cannot hold, no file can
                plain = line.encode(errors="replace").decode()
                text += f"#{quote(plain, safe=_AS_PVE)}\n"
        for key, value in _pairs(source, held, ()):
            text += f"{key}: {value}".rstrip(" ") + "\n"
        return text
    own = {*source.id, *(("type",) if source.typed else ())}
    sections: list[tuple[tuple[Any, ...], str]] = []
    for row in _shaped(source, _rows(answer)):
        named = _id(source, row)
        word = str(row["type"]) if source.typed and row.get("type") else source.word
        rest = {key: value for key, value in row.items() if key not in own}
        header = f"{written(word)}: {written(named)}\n"
        lines = [
            f"\t{key} {value}".rstrip(" ") + "\n" for key, value in _pairs(source, rest, scratch)
        ]
        # text and numbers by turns, so that rule 10 stands behind rule 9
        parts = re.split(r"([0-9]{1,18})", named)
        natural = tuple(int(part) if place % 2 else part for place, part in enumerate(parts))
        sections.append(((natural, header, lines), header + "".join(lines)))
    return "\n".join(text for _, text in sorted(sections))


def names_in(source: Source, answer: object) -> tuple[str, ...]:
    """Given a list's call and its answer's data, return what its rows are called, sorted. Raise
    NoText if the answer is none of that call.
    """
    return tuple(sorted({_id(source, row) for row in _shaped(source, _rows(answer))}))


def _rows(answer: object) -> list[Row]:
    if not isinstance(answer, list) or not all(isinstance(row, dict) for row in answer):
        raise NoText("it should be a list of objects")
    return answer


def _id(source: Source, row: Row) -> str:
    parts = [row.get(name) for name in source.id]
    if not all(isinstance(part, str | int) for part in parts):
        raise NoText(f"a row has no {' '.join(source.id)}")
    return " ".join(map(str, parts))


def _shaped(source: Source, rows: Iterable[Row]) -> Iterator[Row]:
    """The rows that are kept: roles that somebody made, and each of a user's tokens as one of its
    own; of anything else all, as they are.
    """
    for row in rows:
        # the other roles come with PVE
        if source.path == "access/roles" and row.get("special") in (1, "1", True):
            continue
        if source.path != "access/users":
            yield row
            continue
        yield {key: value for key, value in row.items() if key != "tokens"} | {"type": "user"}
        for token in _rows(row.get("tokens") or []):
            name = f"{row.get('userid')}!{token.get('tokenid')}"
            own = {key: value for key, value in token.items() if key != "tokenid"}
            yield own | {"type": "token", "userid": name}


def _pairs(source: Source, found: Row, scratch: Container[int]) -> Iterator[tuple[str, str]]:
    for key, value in sorted(found.items()):
        if key in _VOLATILE or value is None:
            continue
        if key == "lxc" and isinstance(value, list):
            # a container's own lines for LXC stand in their order; of its environment the names alone
            for pair in value:
                if not (isinstance(pair, list) and [type(one) for one in pair] == [str, str]):
                    raise NoText("lxc should be a list of pairs")
                name, said = pair
                hidden = name.startswith("lxc.environment") or secret_name(name)
                yield _key(name), LEFT_OUT if hidden else written(free(said))
        elif key == "members" and key in source.fields:
            # what is in a pool: storages by name, guests by kind and VMID, but for our copies
            inside = {
                f"storage/{row.get('storage')}"
                if row.get("type") == "storage"
                else f"{row.get('type')}/{row.get('vmid')}"
                for row in _rows(value)
                if row.get("type") == "storage" or row.get("vmid") not in scratch
            }
            yield from (("member", one) for one in sorted(map(written, inside)))
        else:
            # net0, net1: in what is no list, a digit at the end tells one of several
            several = None if source.id else _NUMBERED.fullmatch(key)
            known = key in source.fields or (several is not None and several[1] in source.fields)
            plain = _plain(value) if known and not secret_name(key) else None
            kept = LEFT_OUT if plain is None else free(plain) if key in _FREE else within(plain)
            if key in _SETS and kept == plain:
                kept = ",".join(sorted(word for word in re.split(r"[,;\s]+", kept) if word))
            lines = kept.rstrip("\n").split("\n") if key in _LINES else [kept]
            yield from ((_key(key), written(line)) for line in lines)


def _plain(value: object) -> str | None:
    """A value as PVE writes it, None where it has no such form."""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, str | int | float):
        return str(value)
    if isinstance(value, list) and all(isinstance(one, str | int) for one in value):
        # the lines of an interface stand in the order in which they are carried out
        return "; ".join(map(str, value))
    if isinstance(value, dict):
        inner = {key: None if secret_name(key) else _plain(one) for key, one in value.items()}
        return ",".join(
            f"{key}={LEFT_OUT if one is None else one}" for key, one in sorted(inner.items())
        )
    return None


def _key(name: str) -> str:
    """A field's name, as it stands in a line: nothing ends it but what we put behind it."""
    return quote(written(name), safe="")
