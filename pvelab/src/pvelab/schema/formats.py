"""PVE's named formats and property strings (libpve-common PVE/JSONSchema.pm), with the texts that a
real server answered.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from pvelab.privileges import PRIVILEGES

_BOOLEANS = {
    **dict.fromkeys(("1", "on", "yes", "true"), "1"),
    **dict.fromkeys(("0", "off", "no", "false"), "0"),
}
_CONTENT = ("images", "rootdir", "vztmpl", "iso", "backup", "snippets", "import", "none")
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_STATUS = ("ok", "warning", "error", "unknown")


class FormatError(Exception):
    """A value does not have its format; the text is PVE's, with its line feed."""


def _pattern(regex: str, text: str) -> Callable[[str], None]:
    compiled = re.compile(regex)

    def check(value: str) -> None:
        if not compiled.fullmatch(value):
            raise FormatError(text.format(value) + "\n")

    return check


def _one_of(allowed: tuple[str, ...], text: str) -> Callable[[str], None]:
    def check(value: str) -> None:
        if value not in allowed:
            raise FormatError(text.format(value) + "\n")

    return check


_DNS_LABEL = r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)"
_NODE_NAME = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"

# the recorded texts of a 400; formats without an entry are not checked (the value still is a
# string)
FORMATS: dict[str, Callable[[str], None]] = {
    "pve-vmid": _pattern(r"[1-9][0-9]{2,8}", "value does not look like a valid VM ID"),
    "pve-node": _pattern(_NODE_NAME, "value does not look like a valid node name"),
    "pve-storage-id": _pattern(
        r"(?i)[a-z][a-z0-9\-_.]*[a-z0-9]", "storage ID '{}' contains illegal characters"
    ),
    "pve-configid": _pattern(r"(?i)[a-z][a-z0-9_-]+", "invalid configuration ID '{}'"),
    "pve-userid": _pattern(
        r"[^\s:/]+@[A-Za-z][A-Za-z0-9.\-_]+", "value '{}' does not look like a valid user name"
    ),
    "pve-tokenid": _pattern(
        r"[^\s:/]+@[A-Za-z][A-Za-z0-9.\-_]+![A-Za-z][A-Za-z0-9.\-_]+",
        "value '{}' does not look like a valid token ID",
    ),
    "pve-roleid": _pattern(r"[A-Za-z0-9.\-_]+", "role name '{}' contains invalid characters"),
    "pve-groupid": _pattern(r"[A-Za-z0-9.\-_]+", "group name '{}' contains invalid characters"),
    "pve-realm": _pattern(r"[A-Za-z][A-Za-z0-9.\-_]+", "value does not look like a valid realm"),
    "pve-poolid": _pattern(r"[A-Za-z0-9.\-_/]+", "pool name '{}' contains invalid characters"),
    "pve-priv": _one_of(PRIVILEGES, "invalid privilege '{}'"),
    "pve-ha-resource-or-vm-id": _pattern(
        r"(?:(?:vm|ct):)?[1-9][0-9]{2,8}", "value does not look like a valid ha resource id"
    ),
    "pve-ha-resource-id": _pattern(
        r"(?:vm|ct):[1-9][0-9]{2,8}", "value does not look like a valid ha resource id"
    ),
    "pve-task-status-type": _one_of(_STATUS, "invalid status '{}'"),
    "pve-storage-content": _one_of(_CONTENT, "invalid content type '{}'"),
    "pve-day-of-week": _one_of(_DAYS, "invalid day '{}'"),
    "dns-name": _pattern(
        rf"{_DNS_LABEL}(?:\.{_DNS_LABEL})*", "value does not look like a valid DNS name"
    ),
    "pve-tag": _pattern(r"[a-zA-Z0-9_][a-zA-Z0-9_\-+.]*", "invalid characters in tag"),
    "mac-addr": _pattern(
        r"[0-9A-Fa-f][02468ACEace](?::[0-9A-Fa-f]{2}){5}",
        "value does not look like a valid unicast MAC address",
    ),
    "pve-bridge-id": _pattern(r"[-_.\w\d]+", "invalid bridge ID '{}'"),
    "pve-volume-id": _pattern(
        r"[a-zA-Z][a-zA-Z0-9\-_.]*[a-zA-Z0-9]:.+", "unable to parse volume ID '{}'"
    ),
}


def check_format(
    value: str, name: str, path: str, named: dict[str, Any], check: Callable[..., None]
) -> None:
    """Given a value and a named format, raise FormatError with PVE's text if it does not fit.

    ``named`` holds the formats that are property strings, ``check`` validates an object against a
    schema (see ``validate``).
    """
    if name.endswith("-list") and name.removesuffix("-list") in FORMATS:
        for part in split_list(value):
            FORMATS[name.removesuffix("-list")](part)
    elif name in FORMATS:
        FORMATS[name](value)
    elif named.get(name, {}).get("type") == "property-string":
        parsed = parse_property_string(named[name]["properties"], value, path, check)
        # what must hold between the parts stands in no schema
        if name == "prune-backups" and parsed.get("keep-all") == "1" and len(parsed) > 1:
            raise FormatError("keep-all cannot be set together with other options.\n")
        if name == "backup-fleecing" and parsed.get("enabled") == "1" and not parsed.get("storage"):
            raise FormatError("'storage' parameter is required when 'enabled' is set\n")


def split_list(value: str) -> list[str]:
    """Given PVE's list in one string (separated by comma, semicolon, blank or NUL), return its
    parts.
    """
    return [part for part in re.split(r"[,;\s\0]+", value) if part]


def parse_property_string(
    schema: dict[str, Any],
    value: str,
    path: str,
    check: Callable[[dict[str, Any], dict[str, Any], str, dict[str, str]], None],
) -> dict[str, Any]:
    """Given ``key=value,key=value`` and its schema, return its parts. Raise FormatError with PVE's
    text if it is malformed.
    """
    parsed: dict[str, Any] = {}
    for part in filter(str.strip, value.split(",")):
        # ``key=value``, an alias of a key (``virtio=MAC``), or the default key's value
        key, equals, text = part.partition("=")
        if not equals:
            key, text = next((name for name, s in schema.items() if s.get("default_key")), ""), part
            if not key:
                raise FormatError("value without key, but schema does not define a default key\n")
        elif not key or not text:
            raise FormatError("missing key in comma-separated list property\n")
        entry = schema.get(key, {})
        if "alias" in entry:
            if key_alias := entry.get("keyAlias"):
                if key_alias in parsed:
                    raise FormatError(f"key alias '{key_alias}' is already defined\n")
                parsed[key_alias] = key
            key = entry["alias"]
        if key in parsed:
            raise FormatError(f"duplicate key in comma-separated list property: {key}\n")
        if schema.get(key, {}).get("type") == "boolean":
            text = _BOOLEANS.get(text.lower(), text)
        parsed[key] = text
    errors: dict[str, str] = {}
    check(schema, parsed, path, errors)
    if errors:
        raise FormatError(
            "format error\n"
            + "".join(f"{name}: {text.rstrip()}\n" for name, text in sorted(errors.items()))
        )
    return parsed
