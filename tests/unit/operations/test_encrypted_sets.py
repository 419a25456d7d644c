"""Snapshots of the catalog and sets of the cluster's configuration at a target that encrypts: nothing
of them ever lies there in plain, they open to the same bytes, and the oldest go.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from backports import zstd

from backupsvc.catalog import Catalog
from backupsvc.copies import age, config_sets
from backupsvc.copies.config_sets import kept_in, pack
from backupsvc.copies.opening import open_target
from backupsvc.copies.snapshots import CATALOG, CONFIG, KEPT, PART, Put, name_at, taken_at
from backupsvc.copies.target import Target
from backupsvc.operations.copy import catalogs, configs
from policies.cluster_config import ConfigSet
from policies.copy_folders import folder_of
from policies.model import CopyTarget, Directory
from tests.catalogs import new_catalog
from tests.unit.copies.encrypted import KEY, RECIPIENTS, SAFE, opened
from tests.unit.copies.scene import Watched

AT, DAY = 1_773_086_400, 86_400
CONFIGURATION = ConfigSet({"storage.cfg": "dir: local\n\tpath /srv/secret-name\n"}, {}, {})
HEADER = b"age-encryption.org/v1\n"
STEPS_OF_ONE = 8  # that are looked at, at least, until one file has its name


class Site:
    """A catalog, a configuration, and a folder that is looked at whenever something is done there."""

    def __init__(self, folder: Path) -> None:
        self.usb, self.state = folder / "usb", folder / "state"
        self.usb.mkdir()
        self.state.mkdir()
        self.at, self.looks = AT, 0
        url = new_catalog(folder)
        settings = SimpleNamespace(state_dir=self.state, catalog_url=url, ssh=None)
        self.service: Any = SimpleNamespace(
            clock=SimpleNamespace(now=lambda: float(self.at)),
            settings=settings,
            nodes=None,
            catalog=Catalog.open(url),
        )
        self.sealed = CopyTarget("usb", Directory(str(self.usb)), recipients=RECIPIENTS)
        self.service.policy = SimpleNamespace(copies=(self.sealed,))

    def look(self, said: str) -> None:
        """Hold that nothing in the folder is anything but a file of age, or the beginning of one."""
        self.looks += 1
        for file in self.usb.iterdir():
            data = file.read_bytes()
            assert file.name.removesuffix(PART).endswith(".age"), f"{file.name} at {said}"
            assert data[: len(HEADER)] == HEADER[: len(data)], f"{file.name} is plain at {said}"

    def names(self) -> list[str]:
        return sorted(file.name for file in self.usb.iterdir())


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    made = Site(tmp_path)

    @contextmanager
    def watched(target: CopyTarget, *rest: Any) -> Iterator[Target]:
        with open_target(target, *rest) as folder:
            yield Watched(folder, made.look) if target.recipients else folder

    monkeypatch.setattr(catalogs, "open_target", watched)
    monkeypatch.setattr(configs, "read", lambda *_: CONFIGURATION)
    yield made
    made.service.catalog.close()


def test_law_7_of_a_configuration_nothing_plain_ever_lies_at_a_target_that_encrypts(
    site: Site,
) -> None:
    kept = configs.save(site.service, [site.sealed])
    (_, here), (_, there) = kept.places
    assert isinstance(here, Put) and isinstance(there, Put), kept.places
    name = name_at(AT, "tar", CONFIG)
    assert site.names() == [there.file] == [f"{name}.age"] and site.looks >= STEPS_OF_ONE
    plain = (site.state / config_sets.FOLDER / name).read_bytes()
    assert here.file == name and plain == pack(CONFIGURATION), "beside the catalog it stays plain"
    for key in (KEY, SAFE):
        assert opened(site.usb, there.file, key) == plain
    assert b"secret-name" not in (site.usb / there.file).read_bytes()
    assert [one.name for one in site.state.iterdir()] == [config_sets.FOLDER]


def test_law_7_of_a_catalog_nothing_plain_ever_lies_at_a_target_that_encrypts(site: Site) -> None:
    other = replace(site.sealed, recipients=RECIPIENTS[1:])
    ((_, there),) = catalogs.save(site.service, [site.sealed])
    assert isinstance(there, Put), there
    assert site.names() == [there.file] == [f"{name_at(AT, 'sqlite')}.age"]
    assert site.looks >= STEPS_OF_ONE
    assert zstd.decompress(opened(site.usb, there.file)).startswith(b"SQLite format 3\x00")
    site.at += DAY
    ((_, again),) = catalogs.save(site.service, [other])
    assert isinstance(again, Put), again
    assert zstd.decompress(opened(site.usb, again.file, SAFE)).startswith(b"SQLite format 3\x00")
    assert list(site.state.iterdir()) == []


def test_of_two_targets_each_gets_what_is_encrypted_to_its_own_keys(
    site: Site, tmp_path: Path
) -> None:
    folders = [tmp_path / name for name in ("first", "second", "plain")]
    keys = (RECIPIENTS[:1], RECIPIENTS[1:], ())
    targets = []
    for folder, recipients in zip(folders, keys, strict=True):
        folder.mkdir()
        targets.append(CopyTarget(folder.name, Directory(str(folder)), recipients=recipients))
    found = configs.save(site.service, targets, beside_catalog=False).places
    name = name_at(AT, "tar", CONFIG)
    assert [put.file for _, put in found if isinstance(put, Put)] == [
        f"{name}.age",
        f"{name}.age",
        name,
    ]
    data = pack(CONFIGURATION)
    assert opened(folders[0], f"{name}.age", KEY) == data
    assert opened(folders[1], f"{name}.age", SAFE) == data
    assert (folders[2] / name).read_bytes() == data
    with pytest.raises(age.WrongKey):
        opened(folders[1], f"{name}.age", KEY)


def test_of_more_encrypted_sets_than_are_kept_the_oldest_goes_and_others_do_not(site: Site) -> None:
    (site.usb / f"{CATALOG}-mine.age").write_bytes(HEADER)
    first = [f"{name_at(AT + day * DAY, 'tar', CONFIG)}.age" for day in range(KEPT + 1)]
    removed: list[str] = []
    for _ in range(KEPT + 1):
        ((_, put),) = configs.save(site.service, [site.sealed], beside_catalog=False).places
        assert isinstance(put, Put), put
        removed += put.removed
        site.at += DAY
    assert removed == first[:1]
    assert site.names() == sorted([f"{CATALOG}-mine.age", *first[1:]])


def test_what_an_attempt_left_half_encrypted_goes_the_next_day(site: Site) -> None:
    left = f"{name_at(AT - DAY, 'tar', CONFIG)}.age{PART}"
    (site.usb / left).write_bytes(HEADER)
    ((_, put),) = configs.save(site.service, [site.sealed], beside_catalog=False).places
    assert isinstance(put, Put) and put.removed == (left,)


def test_plain_sets_from_before_encrypt_was_set_are_counted_with_the_encrypted_ones(
    tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogs, "open_target", open_target)
    old = [name_at(AT - day * DAY, "tar", CONFIG) for day in range(KEPT, 0, -1)]
    for name in old:
        (site.usb / name).write_bytes(b"old")
    ((_, put),) = configs.save(site.service, [site.sealed], beside_catalog=False).places
    assert isinstance(put, Put) and put.removed == (old[0],)


def test_an_encrypted_set_is_none_that_this_machine_lists_or_reads(site: Site) -> None:
    configs.save(site.service, [site.sealed])
    name = name_at(AT, "tar", CONFIG)
    assert taken_at(name, CONFIG) == AT and taken_at(f"{name}.age", CONFIG) is None
    folder = site.state / config_sets.FOLDER
    (site.usb / f"{name}.age").rename(folder / f"{name_at(AT + DAY, 'tar', CONFIG)}.age")
    assert list(kept_in(site.state)) == [AT]


def test_of_a_folder_that_is_no_target_of_the_policy_nothing_is_written_down(
    site: Site, tmp_path: Path
) -> None:
    """Its name may be anything that a file system takes, and no catalog."""
    folder = tmp_path / "\udcff"
    folder.mkdir()
    once = CopyTarget("once", Directory(str(folder)))
    ((_, put), (_, kept)) = catalogs.save(site.service, [once, site.sealed])
    assert isinstance(put, Put) and isinstance(kept, Put)
    known = site.service.catalog.snapshot_trials
    assert known.sha256_of(folder_of(site.sealed), kept.file) == kept.sha256
