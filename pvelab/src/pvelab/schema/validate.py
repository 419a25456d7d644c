"""Parameters against the schema, with PVE's texts, and converted to what handlers expect
(libpve-common PVE/JSONSchema.pm).
"""

from __future__ import annotations

import re
from typing import Any

from pvelab.errors import LabError
from pvelab.schema.endpoints import Schema, api
from pvelab.schema.formats import FormatError, check_format, parse_property_string

_MISSING = "property is missing and it is not optional"
UNKNOWN = "property is not defined in schema and the schema does not allow additional properties"
_NUMBERED = re.compile(r"([a-z]+)(\d+)")
# how many numbered options there are (qemu-server PVE/QemuServer/{Drive,Network}.pm); the others
# end at 255
_HIGHEST = {
    "net": 31,
    "scsi": 30,
    "virtio": 15,
    "sata": 5,
    "ide": 3,
    "serial": 3,
    "parallel": 2,
    "hostpci": 15,
    "usb": 13,
}


def validate(schema: Schema, given: dict[str, Any]) -> dict[str, Any]:
    """Given an endpoint's parameters and what was sent, return the values converted. Raise LabError
    400 if any is wrong.
    """
    errors: dict[str, str] = {}
    check_object(schema, given, "", errors)
    if errors:
        raise LabError(400, "Parameter verification failed.", errors)
    found: dict[str, Any] = {}
    for name, value in given.items():
        kind = (property_schema(schema, name) or {}).get("type")
        if value is None:
            # null is taken as empty, of whatever kind (pve-facts 1.2)
            empty = 0 if kind in ("integer", "boolean", "number") else [] if kind == "array" else ""
            found[name] = empty
        elif kind in ("integer", "boolean"):
            found[name] = int(value)
        elif kind == "number":
            found[name] = float(value)
        else:
            found[name] = value if kind == "array" else str(value)
    return found


def check_object(schema: Schema, given: dict[str, Any], path: str, errors: dict[str, str]) -> None:
    """Check an object's properties and note what is wrong in ``errors``, keyed by the path to the
    property.
    """
    for name, entry in schema.items():
        # the template of numbered options, none of which is ever required
        if name.endswith("[n]"):
            continue
        if given.get(name) is None and not entry.get("optional") and "alias" not in entry:
            errors[_join(path, name)] = _MISSING
    for name, value in given.items():
        found = property_schema(schema, name)
        if found is None:
            errors[_join(path, name)] = UNKNOWN
        elif value is not None:  # null is taken as empty (pve-facts 1.2)
            at = _join(path, name)
            wrong = _wrong_type(found.get("type", "string"), value) or _wrong_value(
                found, value, at
            )
            if wrong:
                errors[at] = wrong
            needed = found.get("requires")
            if needed and given.get(needed) is None:
                errors[_join(path, needed)] = f"missing property required by '{name}'"


def property_schema(schema: Schema, name: str) -> Schema | None:
    """Return a property's schema, numbered ones (``net0``) included, None if it is not defined."""
    if name in schema:
        found: Schema = schema[name]
        return found
    numbered = _NUMBERED.fullmatch(name)
    template: Schema | None = schema.get(f"{numbered[1]}[n]") if numbered else None
    if template is None or numbered is None:
        return None
    return template if int(numbered[2]) <= _HIGHEST.get(numbered[1], 255) else None


def _wrong_type(kind: str, value: Any) -> str | None:
    """Booleans are only 0 and 1, or real JSON ones (pve-facts 1.2)."""
    if kind == "array":
        return None if isinstance(value, list) else "type check ('array') failed"
    if isinstance(value, list | dict):
        return (
            f"type check ('{kind}') failed - got "
            f"{'ARRAY' if isinstance(value, list) else 'HASH'}(0x55d0c0de)"
        )
    patterns = {
        "integer": r"[+-]?\d+",
        "number": r"[+-]?\d*\.?\d+(?:[eE][+-]?\d+)?",
        "boolean": r"[01]",
    }
    text = str(int(value)) if isinstance(value, bool) else str(value)
    if kind in patterns and not re.fullmatch(patterns[kind], text):
        return f"type check ('{kind}') failed - got '{text}'"
    return None


def _wrong_value(schema: Schema, value: Any, path: str) -> str | None:
    if isinstance(value, list):
        return None
    text = str(int(value)) if isinstance(value, bool) else str(value)
    if text and (known := schema.get("format")):
        try:
            # a name or, for property strings written out in place, a schema of the parts
            if isinstance(known, dict):
                parse_property_string(known, text, path, check_object)
            else:
                check_format(text, known, path, api().formats, check_object)
        except FormatError as error:
            return f"invalid format - {error}"
    # Perl prints a compiled pattern as (?^:...): Python's word for that is (?:...)
    pattern = schema.get("pattern", "").replace("(?^:", "(?:").replace("(?^i:", "(?i:")
    if pattern and not re.fullmatch(pattern, text):
        return "value does not match the regex pattern"
    if (longest := schema.get("maxLength")) is not None and len(text) > int(longest):
        return f"value may only be {longest} characters long"
    if (shortest := schema.get("minLength")) is not None and len(text) < int(shortest):
        return f"value must be at least {shortest} characters long"
    if (least := schema.get("minimum")) is not None and float(text) < float(least):
        return f"value must have a minimum value of {least}"
    if (most := schema.get("maximum")) is not None and float(text) > float(most):
        return f"value must have a maximum value of {most}"
    allowed = schema.get("enum")
    if allowed and text not in (str(choice) for choice in allowed):
        return (
            f"value '{text}' does not have a value in the enumeration "
            f"'{', '.join(str(choice) for choice in allowed)}'"
        )
    return None


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
