"""PVE's property strings, such as ``enabled=1,type=virtio``, read as PVE does (pve-common,
JSONSchema.pm, parse_property_string).

Split at commas, without quotes, escapes or trimming: `` key=v`` is another key than ``key=v``.
Empty parts are skipped. A part without ``=`` is the value of the default key, wherever it stands.
Booleans are 1 on yes true, 0 off no false, in any case; some options are stored as they were typed,
so a config may hold ``agent: enabled=Yes``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from policies.model import PolicyError

_BOOLEANS = {
    "1": True,
    "on": True,
    "yes": True,
    "true": True,
    "0": False,
    "off": False,
    "no": False,
    "false": False,
}
_NO_ALIAS: Mapping[str, str] = {}


def boolean(text: str) -> bool | None:
    """Given a value, return the boolean that PVE takes it for, or None where PVE refuses it as
    one.
    """
    return _BOOLEANS.get(text.lower())


def parts(text: str) -> Iterator[tuple[str | None, str]]:
    """Given a property string, yield its keys and values in order; the key is None where none
    stands (the default key's value).

    Raise PolicyError, in PVE's words, on a key without a value or a value without a key.
    """
    for part in text.split(","):
        if not part.strip():
            continue
        key, equals, value = part.partition("=")
        if equals and not (key and value):
            raise PolicyError("missing key in comma-separated list property")
        yield (key, value) if equals else (None, part)


def parse(
    text: str, *, default: str | None = None, aliases: Mapping[str, str] = _NO_ALIAS
) -> dict[str, str]:
    """Given a property string, its default key and other names of keys, return the values by key.

    Which keys there are is PVE's affair: they differ between its versions, and it drops a whole
    option with one that it does not know before anybody reads it. Raise PolicyError, in PVE's
    words, if the string is malformed or says something twice.
    """
    found: dict[str, str] = {}
    for key, value in parts(text):
        name = default if key is None else aliases.get(key, key)
        if name is None:
            raise PolicyError("value without key, but schema does not define a default key")
        # PVE refuses it, so nobody can say which of the two it would follow
        if name in found:
            raise PolicyError(f"duplicate key in comma-separated list property: {name}")
        found[name] = value
    return found


def every(text: str, key: str) -> list[str]:
    """Given a string and a key, return each value that may be meant, also where PVE refuses the
    string: the careful reading.
    """
    # blanks are trimmed here, which PVE does not: rather one value too many than one too few
    found = (part.partition("=") for part in text.split(","))
    return [value.strip() for name, _, value in found if name.strip() == key]


def maybe_on(text: str) -> bool:
    """Given a value, return whether it may be on: anything that is not plainly off. The careful
    reading.
    """
    return bool(text.strip()) and boolean(text.strip()) is not False
