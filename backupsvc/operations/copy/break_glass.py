"""The bundle for the worst day: all that is needed where neither this service nor its machine is left,
brought to the copy targets.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from backupsvc import setting_values
from backupsvc.catalog.snapshot import snapshot, suffix
from backupsvc.copies import age, config_sets
from backupsvc.copies.bundles import (
    CATALOG,
    CLUSTER,
    FILES,
    KEPT,
    POLICY,
    SECRETS,
    SETTINGS,
    pack,
    shell_quoted,
)
from backupsvc.copies.snapshots import BUNDLE, CONFIG, Put, name_at
from backupsvc.copies.target import Alive
from backupsvc.errors import BackupsvcError, CopyError, UsageError
from backupsvc.inventory.runbook import site
from backupsvc.operations.copy.break_glass_rehearsing import remember
from backupsvc.operations.copy.catalogs import bring
from backupsvc.operations.copy.work_folder import SNAPSHOT, work_folder
from backupsvc.services import Nodes
from policies import runbook
from policies.cluster_config import ConfigSet
from policies.copy_folders import folder_of
from policies.model import CopyTarget, Policy


def save(
    service: Nodes,
    targets: Sequence[CopyTarget],
    config: ConfigSet,
    alive: Alive = lambda: None,
    *,
    secrets: bool = False,
) -> list[tuple[CopyTarget, Put | BackupsvcError]]:
    """Given copy targets and the cluster's configuration as it was just read, make a bundle and
    bring it to each; return what lies there now, or why it does not, for each of them. With
    ``secrets`` tokens and keys are in it, encrypted to the policy's recipients.

    Raise Unreachable or Refused if the cluster tells nothing, CatalogUnreachable if the catalog gives
    no snapshot, CopyError if there is no room, UsageError if there is nobody to encrypt to.
    """
    if not targets:
        return []
    state, at = service.settings.state_dir, int(service.clock.now())
    pages = runbook.pages(site(service, config), service.policy, at)
    # first: whoever can encrypt to nobody hears it before anything is made
    sealed = _sealed(service) if secrets else b""
    try:
        with work_folder(state, SNAPSHOT) as folder:
            snapshot(service.settings.catalog_url, folder / "plain", alive)
            entries: list[tuple[str, bytes | Path]] = [
                *_texts(service, pages, config, at),
                *([(SECRETS, sealed)] if sealed else []),
                (f"{CATALOG}.{suffix(service.settings.catalog_url)}", folder / "plain"),
            ]
            pack(entries, folder / "packed", alive)
            packed = folder / "packed"
            found = bring(service, packed, name_at(at, "tar", BUNDLE), targets, alive)
        remember(service, found)
        return found
    except OSError as error:
        raise CopyError(
            f"no bundle could be written under {state}: {error.strerror}",
            "it takes as much room there as the catalog itself (BACKUPSVC_STATE_DIR)",
        ) from None


def _texts(
    service: Nodes, pages: Sequence[runbook.Page], config: ConfigSet, at: int
) -> Iterator[tuple[str, bytes]]:
    policy = service.policy
    places = "\n".join(f"  {one.name}: {folder_of(one)}" for one in policy.copies)
    readme = _README.format(site=policy.site, places=places or "  no other place")
    yield "README.txt", readme.encode("utf-8", "replace")
    yield from ((page.name, page.text.encode("utf-8", "replace")) for page in pages)
    yield POLICY, Path(policy.source).read_bytes() if Path(policy.source).is_file() else b""
    yield "recipients.txt", "".join(f"{key}\n" for key in recipients(policy)).encode()
    values = setting_values.of(service.settings)
    # what the service reached its surroundings by; a secret has no value here (law 7)
    lines = [f"{name}={shell_quoted(value)}" for name, value in sorted(values.plain.items())]
    lines += [f"{name}={shell_quoted(FILES + name)}" for name in sorted(values.files)]
    lines += [f"{name}=" for name in sorted({*values.secret, *values.keys})]
    yield SETTINGS, "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")
    # a file that is gone is no reason to have no bundle
    for name, path in values.files.items():
        if path.is_file():
            yield f"{FILES}{name}", path.read_bytes()
    yield from ((f"{CLUSTER}{name}", text.encode()) for name, text in config.files.items())
    said = "".join(f"{path}: {why}\n" for path, why in sorted(config.not_read.items()))
    yield f"{CLUSTER}{config_sets.SAID}", said.encode()
    yield f"{KEPT}{name_at(at, 'tar', CONFIG)}", config_sets.pack(config)


def recipients(policy: Policy) -> tuple[str, ...]:
    """Given the policy, return the public keys that it encrypts copies to."""
    return tuple(dict.fromkeys(key for one in policy.copies for key in one.recipients))


def _sealed(service: Nodes) -> bytes:
    """The secrets, readable by the identities of the policy's recipients alone."""
    keys = recipients(service.policy)
    if not keys:
        raise UsageError(
            "the policy names no recipients, so there is nobody to encrypt the secrets to",
            "name them at a copy target (`encrypt: age`, `recipients:`), or leave --with-secrets out",
        )
    values = setting_values.of(service.settings)
    held = {
        "values": values.secret,
        "keys": {
            name: path.read_text(encoding="ascii")
            for name, path in values.keys.items()
            if path.is_file()
        },
    }
    # in memory alone: in clear they are written down nowhere (law 7)
    plain, sealed = io.BytesIO(json.dumps(held).encode()), io.BytesIO()
    age.encrypt(plain.read, sealed.write, keys)
    return sealed.getvalue()


_README = """\
Break glass: what is needed to bring the guests of {site} back where nothing else is left.

  ORDER.txt         in which order, and how long it takes
  guests/           a page for each guest with the commands, for Proxmox VE alone, without this service
  cluster/          the cluster's configuration as text (storages, jobs, networks, rights, guests)
  policy.yaml       what was wanted of the service
  catalog.sqlite    what it knew (or catalog.pgdump: pg_restore reads it)
  settings.env      how it reached its surroundings; what is secret is empty there
  files/            files that the settings name, such as the cluster's certificate
  recipients.txt    the public keys that encrypted copies can be opened with
  secrets.age       tokens and keys, if they were exported: `age -d -i KIT secrets.age`
  SHA256SUMS        `sha256sum -c SHA256SUMS` says whether all of it is as it was written

Copies of archives were kept at:
{places}

With this service on a new machine: `backupsvc break-glass open BUNDLE FOLDER`, then as it says.
"""
