"""The section ``copies``: where archives are copied to, so that they outlive the node on which they
were made.
"""

from __future__ import annotations

import base64
import binascii

from policies import age_keys
from policies.check_kinds import HOST_NAME
from policies.copy_folders import folder_of
from policies.model import CopyTarget, Directory, PveStorage, SftpFolder
from policies.site import values
from policies.yaml_reader import Section, Value

_SHARED = ("kind", "path", "bandwidth", "immutable", "allow-root", "keep", "encrypt", "recipients")
MOST_RECIPIENTS = 16  # each file of a copy names every one of them
# the kinds of targets, each with the keys that it alone has
_KINDS = {
    "pve-storage": ("node", "storage"),
    "sftp": ("host", "port", "user", "host-keys"),
    "directory": ("mounted",),
}
_KEY_KINDS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
)
_HOST_KEY = (
    "a host key as known_hosts has it, such as ssh-ed25519 AAAAC3...; `ssh-keyscan -p PORT HOST` "
    "prints them"
)


def read_copies(value: Value) -> tuple[CopyTarget, ...]:
    """Given the section, return its targets. Raise PolicyError where a value is wrong, or two
    targets are one place.
    """
    found: dict[str, CopyTarget] = {}
    for name, (key, one) in value.entries("a mapping of names to targets").items():
        key.matching(
            r"[A-Za-z][A-Za-z0-9_-]{0,49}",
            "a target's name: a letter, then letters, digits, - and _",
        )
        target = _target(name, one)
        where = folder_of(target)
        # one folder would pass for two places
        if where in found:
            raise one.wrong(
                f"this is the same folder as that of {found[where].name}",
                "a folder of its own for each target",
            )
        found[where] = target
    return tuple(found.values())


def _target(name: str, value: Value) -> CopyTarget:
    # its kind says which other keys it may have, so that is read first
    entries = {
        key: one
        for key, (_, one) in value.entries(f"a mapping with `kind: {' | '.join(_KINDS)}`").items()
    }
    kind = Section(value, entries).need("kind", " | ".join(_KINDS)).choice(tuple(_KINDS))
    section = value.section(*_SHARED, *_KINDS[kind])
    place = _place(section, kind)
    immutable = section.take("immutable", Value.boolean, False)
    if immutable and isinstance(place, PveStorage):
        why = "PVE itself removes archives from its storages, so no copy there is immutable"
        raise section.entries["immutable"].wrong(why, "false, or another kind of target")
    keep = section.take("keep", values.keep, "")
    if keep and (immutable or isinstance(place, PveStorage)):
        why = (
            "what lies on an immutable target can be removed by nobody here"
            if immutable
            else "PVE lists the copies there, so the `keep` of each guest's job rules over them, too"
        )
        raise section.entries["keep"].wrong(why, "no `keep`, or another kind of target")
    return CopyTarget(
        name,
        place,
        bandwidth=section.take("bandwidth", values.bandwidth, None),
        immutable=immutable,
        allow_root=section.take("allow-root", Value.boolean, False),
        keep=keep,
        recipients=_recipients(section, place),
    )


def _recipients(section: Section, place: PveStorage | SftpFolder | Directory) -> tuple[str, ...]:
    """To whom copies there are encrypted, () for nobody: `encrypt` and `recipients`, both or
    neither.
    """
    both = [section.get("encrypt"), section.get("recipients")]
    if both == [None, None]:
        return ()
    if isinstance(place, PveStorage):
        why = (
            "PVE could neither list nor restore an encrypted copy, so none is written into its "
            "storages"
        )
        raise next(one for one in both if one).wrong(why, "another kind of target")
    section.need("encrypt", "age, beside `recipients`").choice(("age",))
    value = section.need("recipients", f"a list, each {age_keys.ALLOWED}")
    recipients: list[str] = []
    for item in value.items(f"a list, each {age_keys.ALLOWED}"):
        text = item.text(age_keys.ALLOWED).strip()
        if fault := age_keys.fault(text):
            raise item.wrong(fault, age_keys.ALLOWED)
        if text in recipients:
            raise item.wrong(f"{text} is there twice", "each recipient once")
        recipients.append(text)
    if not 1 <= len(recipients) <= MOST_RECIPIENTS:
        raise value.wrong(
            f"there are {len(recipients)} recipients",
            f"1 to {MOST_RECIPIENTS}, each {age_keys.ALLOWED}",
        )
    return tuple(recipients)


def _place(section: Section, kind: str) -> PveStorage | SftpFolder | Directory:
    if kind == "pve-storage":
        return PveStorage(
            node=values.node(section.need("node", "the node that has the storage")),
            storage=values.storage(section.need("storage", "the storage's name, such as local")),
            path=_path(section, "the storage's dump folder on that node, such as /var/lib/vz/dump"),
        )
    if kind == "directory":
        return Directory(
            _path(section, "a folder of this machine, such as /mnt/usb"),
            section.take("mounted", Value.boolean, False),
        )
    return SftpFolder(
        host=section.need("host", "the server's name or address").matching(
            rf"{HOST_NAME}|[0-9a-fA-F:.]+",
            "a host's name or address, such as backup.example.com; the port stands in `port`",
        ),
        port=section.take("port", lambda one: one.integer(1, 65535), 22),
        user=section.need("user", "who logs in there").matching(
            r"[A-Za-z_][A-Za-z0-9_.-]*\$?", "a user's name, such as copies"
        ),
        path=_path(section, "the folder there, such as /srv/copies"),
        host_keys=_host_keys(
            section.need("host-keys", f"a list of the server's host keys, each {_HOST_KEY}")
        ),
    )


def _path(section: Section, what: str) -> str:
    path = section.need("path", what)
    text = path.matching(r"/[^\x00-\x1f]*", f"{what}: a path that begins with /")
    # two spellings of one folder would pass for two targets
    if ".." in text.split("/"):
        raise path.wrong(f"{text!r} leads back", "a path without ..")
    return "/" + "/".join(part for part in text.split("/") if part not in ("", "."))


def _host_keys(value: Value) -> tuple[str, ...]:
    """Given a list of host keys, return each as ``kind base64``. One a kind: of two, SSH would
    believe only the last.
    """
    found: dict[str, str] = {}
    for item in value.items(f"a list, each {_HOST_KEY}"):
        kind, _, rest = item.text(_HOST_KEY).strip().partition(" ")
        if kind not in _KEY_KINDS:
            raise item.wrong(
                f"{kind!r} is no kind of host key", f"{', '.join(_KEY_KINDS)}, followed by the key"
            )
        data = rest.strip().partition(" ")[0]
        try:
            raw = base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError):
            raw = b""
        # a key's base64 names its own kind within (RFC 4253, 6.6), and the key follows
        name = len(kind).to_bytes(4, "big") + kind.encode()
        if not raw.startswith(name) or len(raw) == len(name):
            raise item.wrong(f"what follows {kind} is no key of that kind", _HOST_KEY)
        if kind in found:
            raise item.wrong(f"there are two keys of the kind {kind}", "one key of each kind")
        found[kind] = f"{kind} {data}"
    if not found:
        raise value.wrong(
            "the list is empty, so no server would be believed", f"at least one, {_HOST_KEY}"
        )
    return tuple(found.values())
