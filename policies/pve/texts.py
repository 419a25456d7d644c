"""Every text of Proxmox VE, and of the tools it calls, that a decision of this service hangs on:
one table, with its sources.

PVE tells much of what happened in words alone. They change between versions, so each stands here
once, with the package and the file that print it and the versions in which it was read there;
``tests/golden/pve_texts.json`` holds how it looks in both generations. "recorded" texts were
answered by a Proxmox VE 9.0.11, all others were read in the source: pve-manager 9.0.11 and
9.2.11, qemu-server 9.0.23 and 9.2.6, pve-storage 9.0.13 and 9.1.7, pve-container 6.0.13 and 6.1.10,
pve-common 9.0.11 and 9.2.1, pve-cluster 9.0.6 and 9.1.6, pve-guest-common 6.0.2, pve-ha-manager
5.0.5 and 5.2.0, pve-access-control 9.0.3 and 9.1.1.

A text is searched for anywhere in a line or an answer, because PVE wraps what a command said into
sentences of its own; only lines of a vzdump log begin with what they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from types import MappingProxyType

BOTH = "9.0, 9.2"


@dataclass(frozen=True, slots=True)
class Text:
    """One text: how it is recognised, what it means, who prints it (package and file), and in which
    versions.
    """

    name: str
    pattern: re.Pattern[str]
    meaning: str
    source: str
    versions: str = BOTH
    recorded: bool = False

    def search(self, said: str) -> re.Match[str] | None:
        """Given a line or an answer, return where the text stands in it, or None."""
        return self.pattern.search(said)

    def among(self, lines: list[str] | tuple[str, ...]) -> Iterator[re.Match[str]]:
        """Given lines, yield where the text stands in them."""
        return (found for line in lines if (found := self.pattern.search(line)))


_found: dict[str, Text] = {}


def _text(
    name: str,
    pattern: str,
    meaning: str,
    source: str,
    versions: str = BOTH,
    *,
    recorded: bool = False,
) -> Text:
    text = Text(name, re.compile(pattern), meaning, source, versions, recorded)
    if name in _found:
        raise ValueError(f"the text {name} stands in the table twice")
    _found[name] = text
    return text


_VZDUMP, _DUMP = "pve-manager PVE/VZDump.pm", "qemu-server PVE/VZDump/QemuServer.pm"
_QEMU, _VMA, _STORAGE = (
    "qemu-server PVE/QemuServer.pm",
    "pve-qemu vma.c, vma-reader.c",
    "pve-storage PVE/Storage.pm, Storage/*.pm",
)
_AGENT_API, _TOOLS = (
    "qemu-server PVE/API2/Qemu/Agent.pm, QemuServer/Agent.pm",
    "pve-common PVE/Tools.pm",
)
_WORKER = "pve-common PVE/RESTEnvironment.pm, PVE/Tools.pm"

# --- the log of a backup --------------------------------------------------------------------------

GUEST_BEGINS = _text(
    "guest-begins",
    r"^INFO: Starting Backup of VM (\d+) ",
    "the lines of this guest begin (also of a container)",
    _VZDUMP,
    recorded=True,
)
GUEST_ENDS = _text(
    "guest-ends",
    r"^INFO: (?:Backup finished|Failed) at ",
    "what follows is the job's, no guest's",
    _VZDUMP,
    recorded=True,
)
GUEST_DONE = _text(
    "guest-done",
    r"^INFO: Finished Backup of VM (\d+) ",
    "this guest's backup has not failed",
    _VZDUMP,
    recorded=True,
)
GUEST_FAILED = _text(
    "guest-failed",
    r"^ERROR: Backup of VM (\d+) failed - (.*)$",
    "this guest's backup failed, for this reason",
    _VZDUMP,
    recorded=True,
)
ARCHIVE_BEGUN = _text(
    "archive-begun",
    r"^INFO: creating (?:vzdump|Proxmox Backup Server) archive '(?:.*/)?([^/']+)'$",
    "the name of the archive that this task makes of this guest",
    _VZDUMP,
    recorded=True,
)
MODE = _text(
    "mode",
    r"^INFO: (?:backup mode: (\w+)|status = (\w+))",
    "the mode that is really used, and whether the guest runs",
    _VZDUMP,
    recorded=True,
)
DISK_EXCLUDED = _text(
    "disk-excluded",
    r"^INFO: exclude disk '([^']+)'(?!.*\(efidisk but no OMVF BIOS\))",
    "the archive lacks this disk; one that the guest does not use, an EFI disk without UEFI, is "
    "not missed",
    _DUMP,
)
MOUNT_EXCLUDED = _text(
    "mount-excluded",
    r"^INFO: excluding \w+ mount point (\S+)",
    "the archive lacks this mount point of a container",
    "pve-container PVE/VZDump/LXC.pm",
)
WARNED = _text(
    "warned",
    r"^WARN: (.*)$",
    "a warning; it raises the count behind TASK WARNINGS",
    "pve-guest-common VZDump/Plugin.pm",
    recorded=True,
)
COMPLAINED = _text(
    "complained",
    r"^ERROR: (.*)$",
    "an error that need not fail anything: a task with such lines can end TASK OK",
    "pve-guest-common VZDump/Plugin.pm",
    recorded=True,
)
TASK_ENDS = _text(
    "task-ends",
    r"^TASK (?:(?P<good>OK|WARNINGS: \d+)|ERROR: (?P<bad>.*))$",
    "how the task ended",
    _WORKER,
    recorded=True,
)

# --- freezing and thawing, in that log ------------------------------------------------------------

FREEZE_TRIED = _text(
    "freeze-tried",
    r"^INFO: issuing guest-agent 'fs-freeze' command",
    "a freeze is tried",
    _DUMP,
    recorded=True,
)
THAW_TRIED = _text(
    "thaw-tried",
    r"^INFO: issuing guest-agent 'fs-thaw' command",
    "a thaw is tried: printed after every try to freeze, also after one that failed, so it proves "
    "nothing",
    _DUMP,
    recorded=True,
)
FREEZE_FAILED = _text(
    "freeze-failed",
    r"unable to freeze guest fs - |querying status after freezing guest fs failed - "
    r"|'guest-fsfreeze-freeze' failed - ",
    "the file systems were not frozen; the backup goes on",
    f"{_DUMP}, QemuServer/Agent.pm",
    "9.0: all three, the third before qemu-server 9.0.23; 9.2: the first two",
)
THAW_FAILED = _text(
    "thaw-failed",
    r"^ERROR: (VM \d+ (?:qmp|qga) command 'guest-fsfreeze-thaw' failed - .*|Agent error: "
    r".*|unable to thaw guest filesystem.*)$",
    "the thaw failed, so the guest may stand frozen; the task can end TASK OK",
    f"{_DUMP}, QemuServer/Agent.pm",
    "9.0: qmp, until qemu-server 9.0.25; 9.2: qga, and `Agent error` since 9.1.10",
)
FREEZE_NO_AGENT = _text(
    "freeze-no-agent",
    r"skipping guest-agent 'fs-freeze', agent conf|skipping guest filesystem freeze - agent conf",
    "not frozen: the agent does not answer",
    _DUMP,
    "9.0; 9.2: the second, since qemu-server 9.1.10",
    recorded=True,
)
FREEZE_OFF = _text(
    "freeze-off",
    r"skipping guest-agent 'fs-freeze', disabled in VM|skipping guest filesystem freeze - "
    r"disabled in VM",
    "not frozen: switched off in the guest's options (freeze-fs=0), or since 9.1.10 no agent is "
    "configured at all",
    _DUMP,
    "9.0; 9.2: the second, since qemu-server 9.1.10",
)
FREEZE_BY_OTHERS = _text(
    "freeze-by-others",
    r"skipping guest filesystem freeze - already frozen",
    "somebody else holds the file systems frozen; vzdump neither freezes nor thaws them",
    _DUMP,
    "9.2: since qemu-server 9.1.10",
)

# --- how a task ends ------------------------------------------------------------------------------

WARNINGS = _text(
    "warnings",
    r"^WARNINGS: (\d+)$",
    "it did what it was for, with so many warnings",
    _WORKER,
    recorded=True,
)
NO_LAST_LINE = _text(
    "no-last-line",
    r"^(?:unexpected status$|unable to get last line)",
    "the worker or its node died before it wrote how it ended",
    _TOOLS,
    recorded=True,
)
NO_LOG = _text(
    "no-log", r"^no content$", "the log is empty", "pve-common PVE/Tools.pm, dump_logfile"
)

# --- what an answer of the API means --------------------------------------------------------------

GUEST_GONE = _text(
    "guest-gone",
    r"Configuration file '[^']*/\d+\.conf' does not exist",
    "that node has no such guest; of all that `does not exist` this alone says so",
    "pve-guest-common PVE/AbstractConfig.pm",
    recorded=True,
)
MISSING = _text(
    "missing",
    r"does not exist|no such |No such |volume_size_info on .* failed - no format",
    "what was asked for is not there",
    "pve-guest-common, pve-storage, pve-common, pve-cluster",
    recorded=True,
)
HA_GROUPS_MIGRATED = _text(
    "ha-groups-migrated",
    r"ha groups have been migrated to rules",
    "the cluster has no HA groups any more: they have become rules",
    "pve-ha-manager PVE/API2/HA/Groups.pm",
    recorded=True,
)
_NODE, _SID = "[A-Za-z0-9-]+", "(?:vm|ct):[0-9]+"
HA_NODE_GONE = _text(
    "ha-node-gone",
    rf"node '(?P<node>{_NODE})': state changed from '(?:online|maintenance)' => 'unknown'",
    "HA's manager finds a node gone from those that have quorum",
    "pve-ha-manager PVE/HA/NodeStatus.pm",
)
HA_FENCED = _text(
    "ha-fenced",
    rf"fencing: acknowledged - got agent lock for node '(?P<node>{_NODE})'",
    "HA's manager is sure that nothing runs on that node any more",
    "pve-ha-manager PVE/HA/NodeStatus.pm",
)
HA_RECOVERING = _text(
    "ha-recovering",
    rf"service '(?P<sid>{_SID})': state changed from 'fence' to 'recovery'",
    "a guest's node is fenced, and HA looks for another one",
    "pve-ha-manager PVE/HA/Manager.pm",
)
HA_TAKEN = _text(
    "ha-taken",
    rf"recover service '(?P<sid>{_SID})' (?:from fenced node '(?P<source>{_NODE})' to node "
    rf"'(?P<target>{_NODE})'|to previous failed and fenced node '(?P<again>{_NODE})' again)",
    "HA takes a guest over without being asked: its configuration is moved now",
    "pve-ha-manager PVE/HA/Manager.pm",
)
NO_AGENT_ANSWER = _text(
    "no-agent-answer",
    r"is not running",
    "neither the guest nor its agent answers: it is off, boots yet, or hangs",
    _AGENT_API,
    recorded=True,
)
PRIVILEGE = _text(
    "privilege",
    r"\((/[^,()]*), ([\w.|]+)\)",
    "the path and the privilege that a refusal names",
    "pve-access-control PVE/RPCEnvironment.pm",
    recorded=True,
)
DENIED = _text(
    "denied",
    r"Permission check failed",
    "the token lacks a privilege",
    "pve-access-control PVE/RPCEnvironment.pm",
    recorded=True,
)
DENIED_BARE = _text(
    "denied-bare",
    r"^Permission check failed$",
    "the one refusal without a path: creating or restoring a guest",
    "qemu-server PVE/API2/Qemu.pm",
    recorded=True,
)
NO_TOKEN_CALL = _text(
    "no-token-call",
    r"need proper ticket",
    "PVE gives this call to no API token at all",
    "pve-http-server PVE/APIServer/AnyEvent.pm",
    recorded=True,
)
PARAMETERS_NESTED = _text(
    "parameters-nested",
    r"^400 Parameter verification failed\.",
    "the lines that follow name parameters, though the status is 500",
    "pve-common PVE/RESTHandler.pm",
    recorded=True,
)
VMID_TAKEN = _text(
    "vmid-taken",
    r"already exists",
    "nextid: a guest of the cluster has this VMID",
    "pve-cluster PVE/Cluster.pm",
    recorded=True,
)
CLOCK_DRIFT = _text(
    "clock-drift",
    r"time drift",
    "the HA manager sees a node whose time stamp lies in the future",
    "pve-ha-manager PVE/HA/Env/PVE2.pm, API2/HA/Status.pm",
)
CLOCK_OLD = _text(
    "clock-old",
    r"old timestamp",
    "a part of HA has written nothing for more than 30 s, by the clock of the node that answers",
    "pve-ha-manager PVE/API2/HA/Status.pm",
)

# --- trouble, in a log, an exit status or an answer -----------------------------------------------

CHECKSUM_WRONG = _text(
    "checksum-wrong",
    r"Restored data doesn't match checksum",
    "the archive's bytes are damaged",
    "zstd",
    recorded=True,
)
INTERRUPTED = _text(
    "interrupted",
    r"interrupted by signal",
    "somebody stopped the task, or the node went down",
    _TOOLS,
    recorded=True,
)
VMA_TARGET_FULL = _text(
    "vma-target-full",
    r"vma: restore failed - blk_pwrite to .* failed \(-(28|122)\)",
    "the target is full, or a quota is",
    _VMA,
    recorded=True,
)
VMA_TARGET_BROKEN = _text(
    "vma-target-broken",
    r"vma: restore failed - (blk_pwrite to|bdrv_open|unexpected size)",
    "the target cannot be written",
    _VMA,
    recorded=True,
)
VMA_FLUSH_FAILED = _text(
    "vma-flush-failed", r"vma blk_flush .* failed", "the target cannot be written", _VMA
)
NO_SPACE = _text(
    "no-space",
    r"No space left on device|Disk quota exceeded|insufficient free space|out of space",
    "the target is full",
    f"{_STORAGE}; lvm2, zfs",
    recorded=True,
)
NOT_ENOUGH_SPACE = _text(
    "not-enough-space", r"not enough free space \(", "the target has not enough room", _STORAGE
)
DECODING_ERROR = _text(
    "decoding-error",
    r"zstd: .*: (Decoding error|Read error \(39\))",
    "the archive's bytes are damaged",
    "zstd",
)
PREMATURE_END = _text(
    "premature-end",
    r"Read error \(39\) : premature end",
    "the archive is cut off",
    "zstd",
    recorded=True,
)
UNEXPECTED_END = _text(
    "unexpected-end",
    r"(zstd|gzip|lzop): .*unexpected end of file",
    "the archive is cut off",
    "zstd, gzip, lzop",
    recorded=True,
)
BAD_STREAM = _text(
    "bad-stream",
    r"(zstd|gzip|lzop): .*(unsupported format|crc error|[Cc]hecksum error)",
    "the archive's bytes are damaged",
    "zstd, gzip, lzop",
    recorded=True,
)
NOT_COMPRESSED = _text(
    "not-compressed",
    r"gzip: .*not in gzip format|lzop: .*not a lzop file",
    "the archive's bytes are damaged",
    "gzip, lzop",
)
VMA_FAILED = _text(
    "vma-failed",
    r"vma: restore failed - ",
    "the archive's bytes are damaged, unless a line above says other",
    _VMA,
    recorded=True,
)
VMA_HEADER = _text(
    "vma-header",
    r"got timeout reading VMA header - corrupted\?",
    "the archive has no readable header",
    _QEMU,
    recorded=True,
)
NO_DRIVE_DATA = _text(
    "no-drive-data",
    r"archive does not contain data for drive",
    "the archive lacks a disk that its config names",
    _QEMU,
)
NO_DEVICE_MAP = _text(
    "no-device-map",
    r"found no device mapping information for device",
    "the archive holds a disk that its config does not name",
    _QEMU,
)
NO_QEMU_CONF = _text(
    "no-qemu-conf", r"unable to read qemu-server\.conf", "the archive holds no config", _QEMU
)
CONFIG_FROM_VMA = _text(
    "config-from-vma",
    r"Failed to extract config from VMA archive: ",
    "the archive's head is damaged",
    _STORAGE,
    recorded=True,
)
CONFIG_EXTRACTION = _text(
    "config-extraction",
    r"config extraction failed with exit code",
    "the archive's head cannot be read",
    _STORAGE,
)
NO_CONFIG = _text(
    "no-config",
    r"archive contains no configuration file",
    "the archive holds no config",
    f"{_STORAGE}; pve-container",
)
NO_ARCHIVE_INFO = _text(
    "no-archive-info",
    r"couldn't determine archive info from",
    "the file's name is none of an archive",
    _STORAGE,
)
NO_QUORUM = _text(
    "no-quorum",
    r"cluster not ready - no quorum\?",
    "the cluster has lost quorum and refuses every change",
    "pve-cluster PVE/Cluster.pm",
)
LOCKED = _text(
    "locked",
    r"can't lock file .* - got timeout|(VM|CT) is locked \(",
    "another task holds the guest",
    f"{_TOOLS}; pve-guest-common PVE/AbstractConfig.pm",
    recorded=True,
)
GUEST_EXISTS = _text(
    "guest-exists",
    r"(VM|CT) \d+ already exists|already exists on node",
    "somebody else took the VMID",
    "pve-cluster PVE/Cluster.pm",
    recorded=True,
)
VOLUME_EXISTS = _text(
    "volume-exists",
    r"(disk image|volume) .* already exists|Logical Volume .* already exists",
    "a disk of an earlier copy is left",
    f"{_STORAGE}; lvm2",
)
VMA_TIMEOUT = _text(
    "vma-timeout", r"got timeout (preparing|during) VMA restore", "the node was too busy", _QEMU
)
FORBIDDEN = _text(
    "forbidden",
    r"Permission check failed|only root can set|missing privileges to access",
    "the token may not do it",
    "pve-access-control, qemu-server, pve-storage",
    recorded=True,
)
STORAGE_UNUSABLE = _text(
    "storage-unusable",
    r"storage '.*' (does not exist|is disabled|is not available|is not online)",
    "the storage cannot be used",
    _STORAGE,
    recorded=True,
)
STORAGE_UNREACHED = _text(
    "storage-unreached",
    r"connection check for storage '.*' failed|unable to activate storage",
    "the storage does not answer",
    _STORAGE,
    recorded=True,
)
STORAGE_REFUSES = _text(
    "storage-refuses",
    r"Content type '.*' is not available on storage|mount error: ",
    "the storage takes no such content, or is not mounted",
    f"{_QEMU}; {_STORAGE}",
    recorded=True,
)
QUOTED = _text(
    "quoted",
    r"^(?:CFG: |DEV: |vm \d+ - (?:unable to parse|skipping unknown) |skipping unknown section)",
    "what follows stands in the archive, and whoever made that may have written anything: no word "
    "of PVE's",
    f"{_VMA}; {_QEMU}",
    recorded=True,
)
DATA_WRITTEN = _text(
    "data-written",
    r"error after data was restored, VM disks should be OK",
    "every byte was read and written before it failed",
    _QEMU,
)

# --- what a reader is told to do about an answer --------------------------------------------------

ABOUT_QUORUM = _text(
    "about-quorum",
    r"no quorum|cluster not ready",
    "the cluster has lost quorum",
    "pve-cluster PVE/Cluster.pm",
)
ABOUT_NODE = _text(
    "about-node",
    r"hostname lookup '.*' failed",
    "there is no node of that name",
    "pve-cluster PVE/Cluster.pm",
    recorded=True,
)
ABOUT_LOCK = _text(
    "about-lock",
    r"is locked \(",
    "another task holds the guest",
    "pve-guest-common PVE/AbstractConfig.pm",
    recorded=True,
)
ABOUT_VMID = _text(
    "about-vmid",
    r"already exists",
    "the VMID is taken",
    "pve-cluster PVE/Cluster.pm",
    recorded=True,
)
ABOUT_SPACE = _text(
    "about-space",
    r"No space left|not enough (free )?space|out of space",
    "the storage is full",
    f"{_STORAGE}; zfs",
    recorded=True,
)
FULL = (ABOUT_SPACE, VMA_TARGET_FULL, NO_SPACE, NOT_ENOUGH_SPACE)  # whatever prints it
ABOUT_DIGEST = _text(
    "about-digest", r"checksum mismatch", "the config was changed meanwhile", _TOOLS, recorded=True
)
ABOUT_TIMEOUT = _text(
    "about-timeout",
    r"got timeout",
    "the node was too busy, or another task held the lock",
    _TOOLS,
    recorded=True,
)
ABOUT_AGENT = _text(
    "about-agent", r"guest agent", "the agent is missing or silent", _AGENT_API, recorded=True
)
ABOUT_CONFIG = _text(
    "about-config",
    r"Configuration file '.*' does not exist",
    "that node has no such guest",
    "pve-guest-common PVE/AbstractConfig.pm",
    recorded=True,
)
ABOUT_VOLUME = _text(
    "about-volume",
    r"volume '.*' does not exist|failed - no format",
    "the archive is gone",
    _STORAGE,
    recorded=True,
)
ABOUT_STORAGE = _text(
    "about-storage",
    r"storage '.*' does not exist|No such storage",
    "there is no such storage",
    _STORAGE,
    recorded=True,
)
ABOUT_STORAGE_OFF = _text(
    "about-storage-off",
    r"storage '.*' is (disabled|not available)",
    "the storage is off on that node",
    _STORAGE,
    recorded=True,
)
# how pveproxy ends a status line of 595 or 596: in the words of the C library, as AnyEvent::HTTP
# passes them on
_PROXYING = (
    "pve-http-server PVE/APIServer/AnyEvent.pm, proxy_request; AnyEvent::HTTP; glibc strerror"
)
CONNECTION_REFUSED = _text(
    "connection-refused",
    r"^Connection refused$",
    "the node is up, and nobody listens there just now",
    _PROXYING,
)
CONNECTION_TIMED_OUT = _text(
    "connection-timed-out",
    r"^Connection timed out$",
    "the node took a call and did not answer",
    _PROXYING,
)

TABLE = MappingProxyType(_found)
