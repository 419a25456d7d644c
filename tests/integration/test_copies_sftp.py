"""Copies to real OpenSSH servers: a shell, SFTP alone, one that lets nothing be removed, one that
lies, one that is cut off.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from backupsvc.copies import canary
from backupsvc.copies import sftp as sftp_target
from backupsvc.copies.opening import open_target
from backupsvc.copies.send import Watch, send
from backupsvc.copies.sources import LocalSource, NodeSource
from backupsvc.copies.target import Target
from backupsvc.errors import (
    ArchiveError,
    CopyError,
    RemoteUnreachable,
    SshRefused,
    TargetMissing,
    TargetRefused,
    UsageError,
)
from backupsvc.remote.connections import NodeConnections
from backupsvc.settings import SshSettings
from policies.copy_decision import Progress
from policies.model import CopyTarget, PveStorage, SftpFolder
from tests.links import link
from tests.unit.copies.scene import (
    BESIDE,
    MANIFEST,
    NAME,
    PART,
    WHOLE,
    Watched,
    killed_everywhere,
    listed,
    order,
    whole_by_manifest,
    write_archive,
)
from tests.unit.remote.sshd import Sshd, running_sshd

ONLY_SFTP = "ForceCommand internal-sftp"
IMMUTABLE = "ForceCommand internal-sftp -P remove,rename,posix-rename,setstat,fsetstat"
GUARDED = f"{IMMUTABLE} -u 0333"
READ_ONLY = "ForceCommand internal-sftp -R"
MIB = 1 << 20


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with running_sshd(tmp_path_factory.mktemp("shell")) as server:
        yield server


@pytest.fixture(scope="module")
def sftp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with running_sshd(tmp_path_factory.mktemp("sftp"), extra=ONLY_SFTP) as server:
        yield server


@pytest.fixture(scope="module")
def immutable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with running_sshd(tmp_path_factory.mktemp("immutable"), extra=IMMUTABLE) as server:
        yield server


@pytest.fixture
def source(tmp_path: Path) -> LocalSource:
    return write_archive(tmp_path / "here")


@pytest.fixture
def there(tmp_path: Path) -> Path:
    (tmp_path / "there").mkdir()
    return tmp_path / "there"


def place(sshd: Sshd, folder: Path, **changes: object) -> CopyTarget:
    where = SftpFolder("127.0.0.1", sshd.port, sshd.user, str(folder), (sshd.host_key,))
    return CopyTarget("offsite", dataclasses.replace(where, **changes), allow_root=True)  # type: ignore[arg-type]


def node_settings(sshd: Sshd) -> SshSettings:
    return SshSettings(
        nodes={"pve02": sshd.address},
        user=sshd.user,
        key_file=sshd.key_file,
        known_hosts=sshd.known_hosts,
    )


@contextmanager
def opened(sshd: Sshd, target: CopyTarget) -> Iterator[Target]:
    ssh = node_settings(sshd)
    with closing(NodeConnections(ssh)) as nodes, open_target(target, nodes, ssh) as folder:
        yield folder


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def bytes_of(source: LocalSource) -> bytes:
    return source.path.read_bytes()


# --- it arrives -----------------------------------------------------------------------------------


def test_a_copy_to_a_nodes_storage_is_summed_on_that_node(
    shell: Sshd, source: LocalSource, there: Path
) -> None:
    target = CopyTarget("pve02", PveStorage("pve02", "local", str(there)), allow_root=True)
    with opened(shell, target) as folder:
        made = send(source, folder, order())
    assert (made.how, made.moved) == ("sha256sum there", 3_000_000)
    assert names(there) == WHOLE and (there / NAME).read_bytes() == bytes_of(source)
    assert {name: (there / name).read_bytes() for name in BESIDE} == BESIDE


def test_a_copy_to_a_server_of_sftp_alone_is_read_back_over_the_line(
    sftp: Sshd, source: LocalSource, there: Path
) -> None:
    with opened(sftp, place(sftp, there)) as folder:
        made = send(source, folder, order())
        again = send(source, folder, order())
    assert (made.how, made.moved) == ("read back by SFTP", 3_000_000)
    assert {file.stat().st_mode & 0o777 for file in there.iterdir()} == {0o640}, (
        "an archive is not for everybody to read"
    )
    assert names(there) == WHOLE and (there / NAME).read_bytes() == bytes_of(source)
    assert (again.how, again.moved) == ("its manifest matches", 0)


def test_a_copy_goes_from_one_node_to_another_without_being_kept_in_between(
    shell: Sshd, source: LocalSource, there: Path
) -> None:
    with (
        closing(NodeConnections(node_settings(shell))) as nodes,
        opened(shell, place(shell, there)) as folder,
    ):
        made = send(NodeSource(nodes, "pve02", str(source.path)), folder, order())
        with pytest.raises(
            ArchiveError, match=r"none is not on node pve02|none on node pve02 is not there"
        ):
            send(NodeSource(nodes, "pve02", str(source.path.parent / "none")), folder, order())
    assert (
        made.moved == 3_000_000
        and names(there) == WHOLE
        and (there / NAME).read_bytes() == bytes_of(source)
    )


def test_an_archive_that_goes_from_its_node_in_mid_copy_ends_in_an_error(
    shell: Sshd, source: LocalSource, there: Path
) -> None:
    def gone(said: str) -> None:
        if said == "write on":
            source.path.unlink(missing_ok=True)

    refused = pytest.raises(ArchiveError, match="is not there")
    with (
        closing(NodeConnections(node_settings(shell))) as nodes,
        opened(shell, place(shell, there)) as folder,
        refused,
    ):
        send(NodeSource(nodes, "pve02", str(source.path)), Watched(folder, gone), order())
    assert names(there) == set()


def test_the_folders_room_files_and_offsets_are_read(sftp: Sshd, there: Path) -> None:
    (there / "a").write_bytes(b"0123456789")
    (there / "sub").mkdir()
    with opened(sftp, place(sftp, there)) as folder:
        space = folder.space()
        assert (
            space is not None
            and space.total == (found := os.statvfs(there)).f_blocks * found.f_frsize
            and space.free > 0
        )
        assert folder.files() == {"a": 10}
        with folder.read("a", 4) as file:
            assert file.read(100) == b"456789"
        with folder.write("a", 8) as writing:
            writing.write(b"abcd")
            writing.sync()
        assert (there / "a").read_bytes() == b"01234567abcd"
        with pytest.raises(CopyError, match="has a file a already"):
            folder.rename("a", "a")
        folder.remove("a")
        folder.remove("a")
        with pytest.raises(TargetMissing, match="has gone while we read none"), folder.read("none"):
            pass


def test_a_name_with_every_kind_of_character_is_summed(shell: Sshd, there: Path) -> None:
    name = "vzdump $(touch owned) 'x' \"y\" ;-.vma"
    (there / name).write_bytes(b"x")
    with opened(shell, place(shell, there)) as folder:
        found = folder.digest(name, lambda count: None)
    assert (found.sha256, found.how) == (
        hashlib.sha256(b"x").hexdigest(),
        "sha256sum there",
    ) and names(there) == {name}


# --- killed and cut off ---------------------------------------------------------------------------


@pytest.mark.slow
def test_law_9_a_copy_over_sftp_killed_at_any_step_is_whole_or_not_there(
    sftp: Sshd, source: LocalSource, tmp_path: Path
) -> None:
    assert (
        killed_everywhere(source, tmp_path, lambda there: left_open(sftp, place(sftp, there))) > 40
    )


@pytest.mark.slow
def test_law_9_a_copy_to_an_immutable_target_killed_at_any_step_counts_by_its_manifest_alone(
    immutable: Sshd, source: LocalSource, tmp_path: Path
) -> None:
    def open_folder(there: Path) -> Target:
        return left_open(immutable, place(immutable, there))

    assert killed_everywhere(source, tmp_path, open_folder, immutable=True) > 30


def left_open(sshd: Sshd, target: CopyTarget) -> Target:
    """A target that is closed by the end of the process, or of the test: it is the process that is
    killed here.
    """
    ssh = node_settings(sshd)
    return open_target(target, NodeConnections(ssh), ssh).__enter__()


def test_a_line_that_breaks_is_told_and_the_copy_goes_on_over_a_new_one(
    sftp: Sshd, source: LocalSource, there: Path
) -> None:
    recorded: list[Progress] = []
    with link(("127.0.0.1", sftp.port)) as wire:
        target = place(sftp, there, port=wire.port)

        def cut(known: Progress) -> None:
            recorded.append(known)
            if len(recorded) == 2:
                wire.cut()

        with (
            pytest.raises(
                RemoteUnreachable, match=r"copy target offsite .* (broke off|cannot be reached)"
            ) as told,
            opened(sftp, target) as folder,
        ):
            send(source, folder, order(), Watch(record=cut))
        assert told.value.hint and listed(there) == set() and names(there) == {PART}
        wire.mend()
        with opened(sftp, target) as folder:
            made = send(source, folder, order(progress=recorded[-1]))
    assert (
        made.moved == 3_000_000 - 2 * MIB
        and names(there) == WHOLE
        and (there / NAME).read_bytes() == bytes_of(source)
    )


def test_a_source_whose_line_breaks_is_told_and_what_was_sent_is_kept(
    shell: Sshd, sftp: Sshd, source: LocalSource, there: Path
) -> None:
    recorded: list[Progress] = []
    with link(("127.0.0.1", shell.port)) as wire:
        known_hosts = there.parent / "known_hosts"
        known_hosts.write_text(f"[127.0.0.1]:{wire.port} {shell.host_key}\n")
        ssh = node_settings(shell).model_copy(
            update={"nodes": {"pve02": f"127.0.0.1:{wire.port}"}, "known_hosts": known_hosts}
        )

        def cut(known: Progress) -> None:
            recorded.append(known)
            wire.cut()

        with closing(NodeConnections(ssh)) as nodes, opened(sftp, place(sftp, there)) as folder:
            large = write_archive(source.path.parent, 24 * MIB)  # more than is read ahead
            with pytest.raises(RemoteUnreachable, match=r"node pve02 .* broke off"):
                send(
                    NodeSource(nodes, "pve02", str(large.path)), folder, order(), Watch(record=cut)
                )
            assert names(there) == {PART}
            made = send(large, folder, order(progress=recorded[-1]))
    assert made.moved == 24 * MIB - recorded[-1].sent and (there / NAME).read_bytes() == bytes_of(
        large
    )


def test_a_server_that_falls_silent_is_given_up(
    tmp_path: Path, source: LocalSource, there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sftp_target, "SILENT", 1.0)
    with (
        running_sshd(tmp_path / "sshd", extra=ONLY_SFTP) as server,
        opened(server, place(server, there)) as folder,
    ):

        def freeze(said: str) -> None:
            if said == "sync":
                for pid in server.sessions():
                    os.kill(pid, signal.SIGSTOP)
                    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
                        os.kill(int(child), signal.SIGSTOP)

        with pytest.raises(RemoteUnreachable, match="broke off while we write"):
            send(source, Watched(folder, freeze), order())
        server.signal_sessions(signal.SIGCONT)
    assert listed(there) == set()


# --- refused --------------------------------------------------------------------------------------


def test_a_server_with_another_host_key_is_sent_nothing(
    sftp: Sshd, shell: Sshd, source: LocalSource, there: Path
) -> None:
    wrong = place(sftp, there, host_keys=(shell.host_key,))
    with pytest.raises(SshRefused, match="nothing was sent") as told, opened(sftp, wrong) as folder:
        send(source, folder, order())
    assert (
        told.value.exit_code == 4
        and "copies.offsite.host-keys in the policy" in told.value.hint
        and names(there) == set()
    )


def test_a_login_as_root_is_refused_unless_the_policy_puts_up_with_it(
    sftp: Sshd, there: Path
) -> None:
    targets = [
        place(sftp, there, user="root"),
        CopyTarget("pve02", PveStorage("pve02", "local", str(there))),
    ]
    ssh = SshSettings(nodes={"pve02": "127.0.0.1:1"}, key_file=sftp.key_file)
    for target in targets:
        strict = dataclasses.replace(target, allow_root=False)
        with (
            pytest.raises(TargetRefused, match="would be written as root on 127") as told,
            closing(NodeConnections(ssh)) as nodes,
            open_target(strict, nodes, ssh),
        ):
            pass
        assert "allow-root: true" in told.value.hint and told.value.exit_code == 4


def test_a_node_without_ssh_is_named(there: Path) -> None:
    target = CopyTarget("pve02", PveStorage("pve02", "local", str(there)), allow_root=True)
    refused = pytest.raises(UsageError, match="no SSH is configured for node pve02")
    with (
        refused,
        closing(NodeConnections(SshSettings())) as nodes,
        open_target(target, nodes, SshSettings()),
    ):
        pass


def test_a_target_has_a_key_of_its_own(sftp: Sshd, shell: Sshd, there: Path) -> None:
    ssh = SshSettings(key_file=shell.key_file, target_keys={"offsite": sftp.key_file})
    with (
        closing(NodeConnections(ssh)) as nodes,
        open_target(place(sftp, there), nodes, ssh) as folder,
    ):
        assert folder.files() == {}
    plain = SshSettings(key_file=shell.key_file)
    refused = pytest.raises(SshRefused, match=r"copy target offsite .* does not accept the key")
    with (
        closing(NodeConnections(plain)) as nodes,
        open_target(place(sftp, there), nodes, plain) as folder,
        refused,
    ):
        folder.files()


def test_a_target_that_may_only_be_read_is_told(
    tmp_path: Path, source: LocalSource, there: Path
) -> None:
    settings = tmp_path / "sshd"
    refused = pytest.raises(
        TargetRefused, match=r"does not let us write \.vzdump.*part: Permission denied"
    )
    with (
        running_sshd(settings, extra=READ_ONLY) as server,
        opened(server, place(server, there)) as folder,
        refused as told,
    ):
        send(source, folder, order())
    assert told.value.exit_code == 4 and names(there) == set()


def test_a_folder_that_is_not_there_is_told(sftp: Sshd, source: LocalSource, there: Path) -> None:
    with (
        opened(sftp, place(sftp, there / "none")) as folder,
        pytest.raises(TargetMissing, match="has gone"),
    ):
        send(source, folder, order())


def test_a_server_without_sftp_is_told(tmp_path: Path, there: Path) -> None:
    refused = pytest.raises(RemoteUnreachable, match="offers no SFTP")
    with (
        running_sshd(tmp_path / "sshd", sftp=False) as server,
        opened(server, place(server, there)) as folder,
        refused,
    ):
        folder.files()


@pytest.mark.parametrize("kind", ["shell", "sftp"])
@pytest.mark.parametrize("hurt", ["flip", "cut"])
def test_a_server_that_lies_ends_in_an_error_and_no_archive(
    kind: str, hurt: str, source: LocalSource, there: Path, request: pytest.FixtureRequest
) -> None:
    server: Sshd = request.getfixturevalue(kind)

    def lie(said: str) -> None:
        if said == f"digest {PART}":
            if hurt == "cut":
                os.truncate(there / PART, 2_000_000)
                return
            data = bytearray((there / PART).read_bytes())
            data[2_345_678] ^= 8
            (there / PART).write_bytes(data)

    with (
        opened(server, place(server, there)) as folder,
        pytest.raises(CopyError, match="does not hold what was sent to it"),
    ):
        send(source, Watched(folder, lie), order())
    assert names(there) == set()


# --- immutable ------------------------------------------------------------------------------------


def test_an_immutable_target_lets_nothing_be_removed_or_renamed_and_holds_the_copy(
    immutable: Sshd, source: LocalSource, there: Path
) -> None:
    with opened(immutable, place(immutable, there)) as folder:
        made = send(source, folder, order(immutable=True))
        assert names(there) == WHOLE and made.litter == () and made.manifest.file == NAME
        with pytest.raises(TargetRefused, match="does not let us remove"):
            folder.remove(NAME)
        with pytest.raises(TargetRefused, match="does not let us rename"):
            folder.rename(NAME, "other")
        assert send(source, folder, order(immutable=True)).how == "its manifest matches"
    assert whole_by_manifest(there, bytes_of(source))


def test_a_target_of_which_the_policy_does_not_say_that_it_is_immutable_is_told_by_its_refusal(
    immutable: Sshd, source: LocalSource, there: Path
) -> None:
    with (
        opened(immutable, place(immutable, there)) as folder,
        pytest.raises(TargetRefused, match="does not let us rename"),
    ):
        send(source, folder, order())
    assert listed(there) == set()


@pytest.mark.parametrize("forget", [False, True])
def test_an_interrupted_copy_to_an_immutable_target_goes_on_or_is_litter(
    immutable: Sshd, source: LocalSource, there: Path, forget: bool
) -> None:
    recorded: list[Progress] = []

    def stop(known: Progress) -> None:
        recorded.append(known)
        raise InterruptedError

    with opened(immutable, place(immutable, there)) as folder, pytest.raises(CopyError):
        send(source, folder, order(immutable=True), Watch(record=stop))
    assert names(there) == {NAME}
    with opened(immutable, place(immutable, there)) as folder:
        made = send(
            source, folder, order(immutable=True, progress=None if forget else recorded[-1])
        )
    assert whole_by_manifest(there, bytes_of(source)) and (there / MANIFEST).exists()
    if forget:
        assert (made.manifest.file, made.litter, made.moved) == (f"{NAME}~2", (NAME,), 3_000_000)
    else:
        assert (made.manifest.file, made.litter, made.moved) == (NAME, (), 3_000_000 - MIB)


def test_where_an_immutable_target_lets_nothing_be_added_either_the_next_name_is_taken(
    immutable: Sshd, source: LocalSource, there: Path
) -> None:
    first = bytes_of(source)[:MIB]
    (there / NAME).write_bytes(first)
    stat = source.stat()
    known = Progress(
        order().volid, stat.size, stat.modified, NAME, MIB, hashlib.sha256(first).hexdigest()
    )
    refuse = refusing_to_go_on(NAME)
    with opened(immutable, place(immutable, there)) as folder:
        made = send(source, Watched(folder, refuse), order(immutable=True, progress=known))
    assert (made.manifest.file, made.litter) == (f"{NAME}~2", (NAME,)) and whole_by_manifest(
        there, bytes_of(source)
    )


def refusing_to_go_on(name: str) -> Callable[[str], None]:
    def step(said: str) -> None:
        if said == f"open {name}":
            raise TargetRefused(f"the far side lets nobody write on in {name}")

    return step


def test_internal_sftp_lets_a_file_be_written_over_whatever_it_is_told_to_refuse(
    immutable: Sshd, there: Path
) -> None:
    """OpenSSH's -P names requests, and writing over is the same ones as writing: `open` and `write`
    (docs/policy.md, copies).
    """
    (there / "canary").write_bytes(b"precious")
    with opened(immutable, place(immutable, there)) as folder, folder.write("canary", 1) as writing:
        writing.write(b"O")
    assert (there / "canary").read_bytes() == b"pOecious", (
        "if this fails, OpenSSH can do it now: say so in docs/policy.md"
    )


@pytest.fixture
def guarded() -> Iterator[tuple[Sshd, Path]]:
    """A server as docs/policy.md advises: what was written there cannot be written over either, as
    its mode forbids it.
    """
    if os.geteuid() != 0:
        pytest.skip("only root lets another user log in")
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        folder = Path(made) / "copies"
        folder.mkdir()
        shutil.chown(folder, "nobody")
        with running_sshd(Path(made) / "sshd", extra=GUARDED) as server:
            yield server, folder


def test_law_9_a_guarded_target_lets_nothing_be_written_over_and_an_interrupted_copy_takes_the_next_name(
    guarded: tuple[Sshd, Path], source: LocalSource
) -> None:
    server, there = guarded
    recorded: list[Progress] = []

    def stop(known: Progress) -> None:
        recorded.append(known)
        raise InterruptedError

    target = place(server, there, user="nobody")
    with opened(server, target) as folder:
        with pytest.raises(CopyError):
            send(source, folder, order(immutable=True), Watch(record=stop))
        made = send(source, folder, order(immutable=True, progress=recorded[-1]))
        assert (made.manifest.file, made.litter, made.moved) == (f"{NAME}~2", (NAME,), 3_000_000)
        assert whole_by_manifest(there, bytes_of(source))
        assert {file.stat().st_mode & 0o777 for file in there.iterdir()} == {0o440}
        for name in names(there):
            with pytest.raises(TargetRefused, match="does not let us write"), folder.write(name, 1):
                pass
            with pytest.raises(TargetRefused, match="does not let us remove"):
                folder.remove(name)
        assert send(source, folder, order(immutable=True)).manifest == made.manifest


@pytest.mark.slow
def test_law_9_a_copy_to_a_guarded_target_killed_at_any_step_counts_by_its_manifest_alone(
    guarded: tuple[Sshd, Path], source: LocalSource
) -> None:
    server, folder = guarded

    def open_folder(there: Path) -> Target:
        shutil.chown(there, "nobody")
        return left_open(server, place(server, there, user="nobody"))

    assert killed_everywhere(source, folder, open_folder, immutable=True, every=3) > 10


# --- what can be harmed there is tried ------------------------------------------------------------


def test_where_everything_is_allowed_the_canary_is_overwritten_and_deleted(
    sftp: Sshd, there: Path
) -> None:
    with opened(sftp, place(sftp, there)) as folder:
        tried = canary.try_harm(folder)
    assert (tried.overwritten, tried.deleted) == (True, True)
    assert tried.said == "overwriting it: no objection; deleting it: no objection"
    assert names(there) == set()


def test_a_server_that_only_refuses_to_remove_lets_the_canary_be_overwritten(
    immutable: Sshd, there: Path
) -> None:
    with opened(immutable, place(immutable, there)) as folder:
        tried = canary.try_harm(folder)
        again = canary.try_harm(folder)
    assert (tried.overwritten, tried.deleted) == (True, False) == (again.overwritten, again.deleted)
    assert "does not let us remove" in tried.said
    assert (there / canary.NAME).read_bytes() == canary.TEXT  # what was changed is changed back


def test_a_guarded_server_holds_and_its_refusals_are_kept_in_its_own_words(
    guarded: tuple[Sshd, Path],
) -> None:
    server, there = guarded
    with opened(server, place(server, there, user="nobody")) as folder:
        for _ in range(2):
            tried = canary.try_harm(folder)
            assert (tried.overwritten, tried.deleted) == (False, False)
            assert "does not let us write" in tried.said and "does not let us remove" in tried.said
    assert (there / canary.NAME).read_bytes() == canary.TEXT


def test_a_file_of_somebody_else_under_the_canarys_name_is_left_alone(
    sftp: Sshd, there: Path
) -> None:
    (there / canary.NAME).write_bytes(b"mine")
    with (
        opened(sftp, place(sftp, there)) as folder,
        pytest.raises(CopyError, match="did not write"),
    ):
        canary.try_harm(folder)
    assert (there / canary.NAME).read_bytes() == b"mine"


@pytest.mark.slow
def test_a_server_that_goes_away_meanwhile_is_not_said_to_have_refused(
    sftp: Sshd, there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(sftp, place(sftp, there)) as folder:
        real = folder.remove

        def cut(name: str) -> None:
            sftp.signal_sessions(signal.SIGKILL)
            real(name)

        monkeypatch.setattr(folder, "remove", cut)
        tried = canary.try_harm(folder)
    assert (tried.overwritten, tried.deleted) == (True, False)
    assert "deleting it: not known: " in tried.said
