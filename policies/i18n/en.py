"""The sentences of findings, objectives and gaps in English. Placeholders are filled in by
policies.i18n.
"""

from __future__ import annotations

# key: a finding's id, with a dot and the variant where it has several -> (detail, action)
FINDINGS: dict[str, tuple[str, str]] = {
    "node-offline": (
        "{how}\n{quorum}\n{guests}\n{archives}\n{reach}",
        "{steps}",
    ),
    "status-unknown": (
        "PVE's status of {node} is unknown: its pvestatd has reported nothing for five minutes.\n"
        "{node} itself answers, and is read like any other node: guests, archives, storages. Only "
        "PVE's own lists do not tell "
        "which of its guests run, how they are called, and how full it is.",
        "On {node}: systemctl status pvestatd; then look for the storage that hangs it, mostly NFS "
        "or CIFS (pvesm status; findmnt -t nfs,nfs4,cifs; dmesg). Once that answers again: "
        "systemctl restart pvestatd.",
    ),
    "guest-not-covered.absent": (
        "The policy expects this guest, but the cluster does not list it ({count} archive(s) "
        "remain): it was deleted, or the token cannot see it.",
        "If it was deleted by mistake, run backupsvc restore {vmid}; if it is retired, take it out "
        "of the policy; else grant the token VM.Audit on /vms.",
    ),
    "guest-not-covered.job": (
        "No job of the policy backs this guest up.",
        "Add it to a job in the policy, or record an exemption with an owner, a reason and an end "
        "date.",
    ),
    "guest-not-covered.archive": (
        "No storage that could be read holds an archive of this guest: there is nothing to "
        "restore it from.",
        "Run backupsvc backup run --vmid {vmid}, and read what it says.",
    ),
    "guest-not-covered.stranger": (
        "No archive is of this guest: the {count} under its VMID are of another machine, by the "
        "SMBIOS UUID and the creation time in them.",
        "Run backupsvc backup run --vmid {vmid}; if they are of this machine all the same, say so "
        "after that backup with backupsvc catalog lineage join.",
    ),
    "guest-not-covered.unreachable": (
        "No archive of this guest is within reach; {count} are known on {places}, which could not "
        "be listed. They are not gone.",
        "Bring that storage or its node back (pvesm status there says what is wrong); nothing need "
        "be backed up anew because of it.",
    ),
    "guest-left-frozen": (
        "The dump of {when} left the guest's file systems frozen ({why}): whatever writes to them "
        "hangs, though PVE may call the backup good.",
        "Thaw them on its node now: qm guest cmd {vmid} fsfreeze-thaw. If that fails, the guest "
        "has to be reset.",
    ),
    "guest-left-frozen.unknown": (
        "After the dump of {when} PVE could not thaw the guest ({why}), and its agent could not be "
        "asked since: its file systems may stand frozen.",
        "Look at once whether the guest still works: qm guest cmd {vmid} fsfreeze-status; thaw it "
        "with fsfreeze-thaw.",
    ),
    "backup-missed": (
        "The backup due on {due} (job {job}) is not there: the newest archive began on {last}.",
        "Run backupsvc backup run {job} --vmid {vmid}, and look for the cause in backupsvc "
        "operations list.",
    ),
    "backup-missed.failed": (
        "The latest backup failed on {when}: {detail}",
        "Remove the cause, then run backupsvc backup run --vmid {vmid}.",
    ),
    "backup-missed.run": (
        "{count} run(s) of job {job} were missed, from {first} to {last}: no scheduler was at "
        "work.",
        "Run backupsvc backup run {job} now, and see why the scheduler was down (backupsvc "
        "operations list).",
    ),
    "backup-missed.run-since": (
        "{count} run(s) of job {job} were missed, from {first} to {last}: no scheduler was at "
        "work. A later one was run.",
        "See why the scheduler was down; the archives of those runs are missing for good.",
    ),
    "never-proven": (
        "No archive of this guest has ever been restored and checked: a backup that has never "
        "been restored is a hope.",
        "Run backupsvc restore-test {vmid}.",
    ),
    "never-proven.tried": (
        "{count} restore test(s) were run, none of them proved anything; the latest, on {when}, "
        "ended {verdict}: {reason}",
        "Remove the cause that its latest restore test names, then run backupsvc restore-test "
        "{vmid}.",
    ),
    "no-service-check": (
        "The checks of this guest ({checks}) are signs of life only: a restore test can show that "
        "a copy boots, not that its service works, and ends inconclusive.",
        "Add a check of its service to its policy ({suggested}); or, if it is enough that it "
        "boots, give it a tier with proof-rung: booted.",
    ),
    "no-service-check.none": (
        "No check of this guest is configured: a restore test can show at most that a copy boots, "
        "and ends inconclusive.",
        "Add a check of its service to its policy ({suggested}); or, if it is enough that it "
        "boots, give it a tier with proof-rung: booted.",
    ),
    "archives-on-guest-node": (
        "All archives of this guest ({count}) lie on {node}, the node that runs it: losing {node} "
        "loses the guest and every copy.",
        "Copy the archives to another node or site, or back up to a storage that does not live on "
        "{node}.",
    ),
    "archives-on-guest-node.planned": (
        "The job {job} writes to the storage {storage} of {node}, the node that runs this guest: "
        "losing {node} would lose both.",
        "Copy the archives to another node or site, or back up to a storage that does not live on "
        "{node}.",
    ),
    "archives-on-guest-node.down": (
        "All known archives of this guest ({count}) lie on {node}, the node that ran it and that "
        "does not answer: guest and archives are out of reach together.",
        "Bring {node} back, or save its disks: they hold the only archives. Later, copy archives "
        "to another node or site.",
    ),
    "quorum-two-votes": (
        "The cluster has {votes} votes: losing one node loses quorum, then HA cannot act and PVE "
        "refuses every restore.",
        "Add a third vote: a QDevice on a small machine outside the cluster (pvecm qdevice setup), "
        "or a third node. PVE's API does not show a QDevice: if there is one already, record an "
        "exemption for this finding.",
    ),
    "quorum-two-votes.lost": (
        "The cluster has {votes} votes and no quorum at this moment: HA does not act and PVE "
        "refuses every restore.",
        "Bring the missing node back; if it is lost for good, follow the PRA's procedure (pvecm "
        "expected 1, on the surviving node only).",
    ),
    "scratch-not-isolated.none": (
        "The policy names no isolated bridge: restored copies start with their links down, and "
        "nothing that answers over the network can be checked.",
        "Create a bridge without ports on the nodes, name it under scratch: bridge: in the policy, "
        "and grant the token SDN.Use on it alone.",
    ),
    "scratch-not-isolated.missing": (
        "The isolated bridge {bridge} does not exist on {nodes}, or the token cannot see it: "
        "nothing can be proven there over the network.",
        "Create {bridge} without ports there, and grant the token SDN.Use on "
        "/sdn/zones/localnetwork/{bridge}.",
    ),
    "scratch-not-isolated.ports": (
        "The bridge {bridge} is not isolated: on {node} it has the port(s) {ports}, so a restored "
        "copy would meet the network behind (duplicate addresses, a rogue gateway, a domain "
        "controller rolled back).",
        "Remove the ports from {bridge} on {node}, or name another bridge in the policy. Run no "
        "restore test before.",
    ),
    "scratch-not-isolated.address": (
        "The node {node} has an address of its own ({address}) on the bridge {bridge}: restored "
        "copies can reach the node, and beyond it if it routes.",
        "Remove the address from {bridge} on {node}; the probe is the only host that belongs "
        "there.",
    ),
    "scratch-not-isolated.token": (
        "The token may use production networks ({bridges}): PVE itself would not stop a restored "
        "copy from meeting production.",
        "Grant the token SDN.Use on the isolated bridge alone (/sdn/zones/localnetwork/<bridge>), "
        "and keep production bridges to the restore token.",
    ),
    "listing-blind": (
        "The storage lists {now} archive(s), and {lost} more that the catalog knows there are not "
        "listed: they were removed by someone else, or the token lost rights.",
        "Check the storage by hand (pvesm list {storage}); if they are really gone, run backupsvc "
        "catalog sync.",
    ),
    "listing-blind.all": (
        "The storage lists no archive any more, but the catalog knows {lost} there: the token lost "
        "its rights, the storage is not mounted, or everything was deleted.",
        "Check the storage by hand (pvesm list {storage}) before anything else; nothing is pruned "
        "meanwhile.",
    ),
    "listing-blind.storage": (
        "The token has neither Datastore.AllocateSpace nor Datastore.Allocate on this storage: PVE "
        "answers an empty list, not an error.",
        "Grant the token's user and the token Datastore.AllocateSpace on /storage/{storage}.",
    ),
    "listing-blind.guests": (
        "The token lacks VM.Backup on /vms: archives of deleted guests, and of guests it has no "
        "right on, are silently left out of every listing.",
        "Grant the token's user and the token VM.Backup on /vms, with propagation.",
    ),
    "listing-blind.empty": (
        "The cluster lists no guest at all to this token: without VM.Audit PVE answers an empty "
        "list, not an error.",
        "Grant the token's user and the token VM.Audit on /vms.",
    ),
    "job-pinned-to-node": (
        "The PVE job is pinned to {node}: a guest that moves to another node is silently skipped, "
        "and PVE still answers OK.",
        "Clear the node of the job (Datacenter > Backup), or disable the job: backupsvc backs "
        "each guest up where it is.",
    ),
    "job-pinned-to-node.skips": (
        "The PVE job is pinned to {node}, and these guests run elsewhere or may be moved by HA: "
        "{guests}. They are silently skipped as soon as they leave {node}, and PVE still answers "
        "OK.",
        "Clear the node of the job (Datacenter > Backup), or disable the job: backupsvc backs "
        "each guest up where it is.",
    ),
    "foreign-job": (
        "A PVE job of its own ({schedule}, to {storage}) backs up guests that this service backs "
        "up too: {guests}. They are dumped twice, wait for each other's lock, and each prunes by "
        "its own rules.",
        "Disable the PVE job (Datacenter > Backup), or take these guests out of the policy.",
    ),
    "storage-prunes": (
        "PVE applies a retention of its own on this storage ({prune}): it may remove archives that "
        "the policy keeps, proven ones too.",
        "Set the storage's retention to keep-all (Datacenter > Storage > Backup Retention) and "
        "let backupsvc prune.",
    ),
    "storage-filling": (
        "The storage is {share} % full: {available} are left.",
        "Prune (backupsvc prune --dry-run shows what would go), or enlarge the storage.",
    ),
    "storage-filling.night": (
        "{available} are left, but one round of backups takes about {needed}: the next one may "
        "fill the storage and fail.",
        "Prune (backupsvc prune --dry-run shows what would go), or enlarge the storage, before "
        "the next backup.",
    ),
    "archive-corrupt": (
        "The bytes of the archive {volid} on {node} are damaged: {what}. It counts for nothing, and "
        "no restore takes it unless it is named.",
        "Check the disk under that storage of {node}, which may hold more that is damaged; back the "
        "guest up again (backupsvc backup run --vmid {vmid}). Once it is removed in PVE, or read "
        "whole again (backupsvc catalog recheck --vmid {vmid} --all), this finding goes.",
    ),
    "archive-changed": (
        "The archive {volid} on {node} is not the one that was recorded: {what}. It proves nothing "
        "any more, and no restore takes it unless it is named.",
        "Find out who wrote to {node}; see what was recorded with backupsvc catalog show {volid}. "
        "Once it is removed or renamed in PVE, this finding goes.",
    ),
    "archive-suspicious": (
        "The archive {volid} on {node} is not what those before it let expect: {what}. Nothing "
        "older of the guest is removed until somebody has looked ({held} archives, {bytes}).",
        "See whether the guest's data are what they should be. If so, say it: backupsvc archive "
        "acknowledge {volid} --reason TEXT. If not, an older archive is what to restore: backupsvc "
        "catalog list --vmid {vmid}.",
    ),
    "archive-shrunk": (
        "The newest archive {volid} is {size}; the {count} before it were around {usual}: data "
        "may be missing from it.",
        "Compare the guest's disks with the archive (backupsvc archive info), and run backupsvc "
        "restore-test {vmid}.",
    ),
    "archive-shrunk.no-disk": (
        "The newest archive {volid} holds no disk: restored, it would be an empty machine. Older "
        "ones are kept in its place.",
        "See what VM {vmid} is now (qm config {vmid}): a failed restore leaves such a rest. Bring "
        "the guest back, or back it up.",
    ),
    "archive-shrunk.empty": (
        "The newest archive {volid} is empty: it holds nothing to restore.",
        "Look at the backup task's log and the storage's free space, then run backupsvc backup "
        "run --vmid {vmid}.",
    ),
    "disk-excluded": (
        "Disk(s) {disks} are excluded from backup (backup=0): a restored copy comes without them, "
        "and is never proven.",
        "Tick Backup on the disk (VM > Hardware), or record an exemption that says why its data "
        "is not needed.",
    ),
    "guest-agent-missing": (
        "The QEMU guest agent is not configured: backups are only crash-consistent (no file-system "
        "freeze), and a restored copy cannot be asked from inside.",
        "Install qemu-guest-agent in the guest, then set the VM's option QEMU Guest Agent (qm set "
        "{vmid} --agent 1) and restart it.",
    ),
    "clock-drift": (
        "The clock of {node} is {offset} {direction} this service's clock: schedules, retention, "
        "HA and measured ages all lean on it.",
        "Set the time on {node} and keep it synchronised (chronyc tracking; chrony ships with "
        "PVE).",
    ),
    "clock-drift.own": (
        "All nodes agree with one another, but their clocks are {offset} {direction} this "
        "service's clock: the wrong clock is probably the one of the machine that runs backupsvc, "
        "and every measured age is wrong by as much.",
        "Synchronise the clock of the machine that runs backupsvc (timedatectl, chronyc tracking).",
    ),
    "clock-drift.ha": (
        "The HA manager reports a clock drift: {text}",
        "Synchronise the clocks of all nodes (chronyc tracking on each).",
    ),
    "exception-expired": (
        "The exemption of {finding} ended on {until} (owner {owner}; reason: {reason}).",
        "Remove the cause and the exemption, or have {owner} renew it with a new end date.",
    ),
    "orphan-copy": (
        "A left-over copy runs as VM {vmid} on {node}: its restore test {operation} is not open in "
        "this catalog. It may answer at a production address on the isolated bridge.",
        "See that no other service uses it, then remove it on {node} (qm stop {vmid}; qm destroy "
        "{vmid} --purge).",
    ),
    "orphan-copy.stopped": (
        "A left-over copy is there as VM {vmid} on {node}, stopped: its restore test {operation} "
        "is not open in this catalog.",
        "See that no other service uses it, then remove it on {node} (qm destroy {vmid} --purge).",
    ),
    "orphan-copy.ours": (
        "A copy of this service's is left over as VM {vmid} on {node}: its restore test "
        "{operation} is not open any more.",
        "Keep workers running (backupsvc serve): they remove it, and backupsvc operations list "
        "shows how that went.",
    ),
    "copy-moved": (
        "The copy of restore test {operation} was moved from {source} to {target} in the middle of "
        "the test, seen on {when}; it was taken down there, and the test decided nothing.",
        "See who moves guests (HA, a rebalancing tool, a person) and keep it from the scratch "
        "range and its tag; then run backupsvc restore-test {vmid}.",
    ),
    "copy-corrupt": (
        "The copy of {volid} at the copy target {target} is damaged: {what}. It counts for nothing.",
        "Check the disk of {target}, which may hold more that is damaged (backupsvc copy recheck --to "
        "{target} --all). While the archive is there, the next night makes the copy anew, or backupsvc "
        "copy run --to {target} --vmid {vmid} now; else remove it there, then run backupsvc copy sync "
        "--to {target}.",
    ),
    "copy-deletable": (
        "On {when} this service could overwrite and delete a file of its own at the copy target "
        "{target} ({folder}), which is declared immutable: whoever takes the service over can "
        "destroy the copies with the archives.",
        "Set that server up as docs/policy.md says (copies: an immutable SFTP server), or declare "
        "the target immutable: false; then run backupsvc copy try-delete --to {target}.",
    ),
    "copy-deletable.overwritten": (
        "On {when} this service could overwrite a file of its own at the copy target {target} "
        "({folder}), which is declared immutable: whoever takes the service over can destroy the "
        "copies with the archives.",
        "Set that server up as docs/policy.md says (copies: an immutable SFTP server; -u 0333 "
        "keeps files from being written over), or declare the target immutable: false; then run "
        "backupsvc copy try-delete --to {target}.",
    ),
    "copy-deletable.deleted": (
        "On {when} this service could delete a file of its own at the copy target {target} "
        "({folder}), which is declared immutable: whoever takes the service over can destroy the "
        "copies with the archives.",
        "Set that server up as docs/policy.md says (copies: an immutable SFTP server), or declare "
        "the target immutable: false; then run backupsvc copy try-delete --to {target}.",
    ),
    "kit-unrehearsed": (
        "The key kit of the encrypted copies at {target} ({folder}) was last seen to work on "
        "{when}, more than a quarter ago: whether they can still be read is not known.",
        "Have somebody who keeps a key run backupsvc copy rehearse --to {target}.",
    ),
    "kit-unrehearsed.never": (
        "Nobody has shown that the encrypted copies at {target} ({folder}) can be decrypted with "
        "one of the keys that the policy names now: copies that cannot be read are none.",
        "Have somebody who keeps a key run backupsvc copy rehearse --to {target}.",
    ),
    "catalog-snapshot-unproven": (
        "The {what} {file} at the copy target {target} ({folder}) was brought back on {when}, and is "
        "not what the catalog was when it was taken.",
        "Run backupsvc break-glass rehearse --to {target}: it says which rows differ. Then make a new "
        "one with backupsvc break-glass export and backupsvc catalog backup, and rehearse again; if "
        "it still differs, examine the catalog's disk.",
    ),
    "catalog-snapshot-unproven.unreadable": (
        "The {what} {file} at the copy target {target} ({folder}) was brought back on {when}, and "
        "cannot be read: the catalog could not be had again from it.",
        "Run backupsvc break-glass rehearse --to {target} to see why, examine the disk there, and "
        "make a new one with backupsvc break-glass export and backupsvc catalog backup.",
    ),
    "catalog-snapshot-unproven.altered": (
        "The {what} {file} at the copy target {target} ({folder}) was brought back on {when}, and has "
        "other bytes than were written there.",
        "Find out who writes at {target}, and examine its disk: what changed this may have changed "
        "copies of archives (backupsvc copy recheck --to {target} --all). Then run backupsvc "
        "break-glass export, backupsvc catalog backup and backupsvc break-glass rehearse.",
    ),
    "catalog-snapshot-unproven.missing": (
        "On {when} there was no {what} at the copy target {target} ({folder}).",
        "See why the night brings none there (backupsvc operations list --kind night), or make one now "
        "with backupsvc break-glass export and backupsvc catalog backup.",
    ),
    "catalog-snapshot-unproven.old": (
        "The newest {what} at the copy target {target} ({folder}) on {when} was {file}: its time is "
        "more than eight days away.",
        "See why the night brings none there any more (backupsvc operations list --kind night) and "
        "whether this machine's clock is right.",
    ),
    "catalog-snapshot-unproven.unknown": (
        "The {what} {file} at the copy target {target} ({folder}) is encrypted, and nothing says what "
        "was written there: on {when} nothing could be compared.",
        "Have somebody who keeps a key run backupsvc break-glass rehearse --to {target} --identity "
        "FILE; the next one that the night makes is recorded.",
    ),
    "catalog-snapshot-unproven.overdue": (
        "The {what} at the copy target {target} ({folder}) was last brought back on {when}, more than "
        "a month ago: whether the catalog could be had again from there is not known.",
        "Run backupsvc break-glass rehearse --to {target}; the nights do so each month if they reach "
        "it.",
    ),
    "catalog-snapshot-unproven.never": (
        "Nobody has shown that the catalog could be had again from what lies at the copy target "
        "{target} ({folder}).",
        "The next night tries it, or backupsvc break-glass rehearse --to {target} now.",
    ),
    "lineage-asked": (
        "Whether the archives of {older} and of {newer} are of one machine is not known ({stayed} "
        "stayed, {changed} changed, from {volid} on): neither goes, and neither is why another "
        "goes.",
        "If it is one machine, run backupsvc catalog lineage join {vmid} {older} {newer} --reason "
        "TEXT; if it is another, backupsvc catalog lineage split {vmid} {volid} --reason TEXT. "
        "--dry-run shows what would change.",
    ),
    "tombstone-over": (
        "This guest is gone since {since}, and the time that its archives were to be kept ended on "
        "{when}: {count} archive(s) stay until somebody decides.",
        "Run backupsvc catalog tombstones release {vmid} --reason TEXT --dry-run to see what would "
        "go, and without --dry-run to let go of it; or set a longer time in the policy "
        "(tombstone: for).",
    ),
    "tombstone-over.again": (
        "This guest was gone since {since}; one stands at its VMID again, and nothing tells whether "
        "it is the same: none of the {count} archive(s) of before goes.",
        "If they may rotate with the guest's own, run backupsvc catalog tombstones release {vmid} "
        "--reason TEXT.",
    ),
}

# a finding's id -> its title
TITLES: dict[str, str] = {
    "node-offline": "Node does not answer",
    "status-unknown": "Status unknown to PVE",
    "guest-not-covered": "Guest not covered",
    "guest-left-frozen": "Guest left frozen by its dump",
    "backup-missed": "Backup missed",
    "never-proven": "Never proven",
    "no-service-check": "Service never asked",
    "archives-on-guest-node": "Archives on the guest's own node",
    "quorum-two-votes": "Quorum of two votes",
    "scratch-not-isolated": "Test network not isolated",
    "listing-blind": "Listing incomplete",
    "job-pinned-to-node": "Backup job pinned to a node",
    "foreign-job": "PVE job beside ours",
    "storage-prunes": "Storage prunes by itself",
    "storage-filling": "Storage filling up",
    "archive-corrupt": "Archive corrupt",
    "archive-changed": "Archive changed",
    "archive-suspicious": "Archive suspicious",
    "archive-shrunk": "Archive shrunk",
    "disk-excluded": "Disk excluded from backup",
    "guest-agent-missing": "Guest agent not configured",
    "clock-drift": "Clock drift",
    "exception-expired": "Exemption expired",
    "orphan-copy": "Left-over copy",
    "copy-moved": "Copy moved in mid-test",
    "copy-corrupt": "Copy corrupt",
    "copy-deletable": "Copies can be destroyed",
    "kit-unrehearsed": "Keys never shown to work",
    "catalog-snapshot-unproven": "Catalog not shown to come back",
    "lineage-asked": "One machine or two",
    "tombstone-over": "Archives of a guest that is gone",
}

REASONS: dict[str, str] = {
    "more": "and {count} more",
    "suspicion.sealed": "of what {disk} holds, {now} % looks random, as encrypted data do; in "
    "{since} {was} % did",
    "suspicion.emptied": "{disk} holds {now}, where it held {was} in {since}",
    "suspicion.replaced": "of what {disk} held in {since}, {now} % is other data now, where {was} % "
    "is usual from one archive to the next",
    "suspicion.rewritten": "of what looked random on {disk} in {since}, {now} % is other random "
    "data now, where {was} % is usual from one archive to the next",
    "suspicion.swollen": "the archive is {now}, where {since} was {was}, and little was added to "
    "its disks: its data no longer compress",
    "down.offline": (
        "The cluster says that {node} is offline. Whether its machine is off, or only cut off, "
        "cannot be told from here."
    ),
    "down.unknown": "PVE does not know the state of {node}, and {node} does not answer when it is "
    "asked itself.",
    "down.silent": "PVE calls {node} online, but {node} does not answer ({why}).",
    "down.quorum.kept": "Quorum: kept, {online} of {votes} nodes are online.",
    "down.quorum.lost": "Quorum: LOST, {online} of {votes} nodes are online: HA does not act, and "
    "PVE refuses every restore.",
    "down.quorum.unknown": "Quorum: not known, {online} of {votes} nodes are online.",
    "down.guests": "Not known: whether its {count} guest(s) still run: {guests}.",
    "down.no-guests": "No guest is on it.",
    "down.ha": "HA moves these by itself once it has fenced the node, so leave them to it: "
    "{guests}.",
    "down.ha-stands-still": "HA manages these, and does nothing without quorum: {guests}.",
    "down.archives": "Out of reach, not gone: {count} known archive(s) on {node} (storage "
    "{storages}).",
    "down.no-archives": "No archive is known on {node}; what may lie there could not be listed.",
    "down.reach": "Within reach: {nodes}.",
    "down.reach.none": "Within reach: {nodes}; no archive of these guests.",
    "down.reach.all": "Within reach: {nodes}, with an archive of each of these guests.",
    "down.reach.some": "Within reach: {nodes}; archives of {guests}.",
    "way.seen": (
        "See on the spot (console, IPMI, power) whether {node} is really off: a guest that still "
        "runs there must not run twice."
    ),
    "way.back": "If it can be brought back soon, do that: what is on it is as it was.",
    "way.quorum": "If it is lost, and off: give the rest quorum with `pvecm expected 1` on "
    "{alive}.",
    "way.free": "Then free each guest's VMID on {alive}: mv "
    "/etc/pve/nodes/{node}/qemu-server/VMID.conf /root/.",
    "way.ha": "Take out of HA what it manages, else it moves that by itself: {commands}.",
    "way.restore": "Then restore with {command}, from the newest archive within reach: {guests}.",
    "way.guest": "{vmid} of {when} ({volid})",
    "way.none": (
        "Guests without an archive within reach cannot be restored before {node} is back: do not "
        "reinstall it, and keep its disks."
    ),
    "rpo.met": "the last proven backup began {age} ago (objective {objective})",
    "rpo.breached": "the last proven backup began {age} ago; {objective} is the objective",
    "rpo.unproven": "no backup of this guest is proven: what a restore would bring back is not "
    "known",
    "rpo.gone": "the archive that was proven is no longer there, was changed or has failed since, "
    "and no other is proven",
    "rpo.blind": "not every storage could be read, and no archive of this guest that was proven "
    "is among what could",
    "rpo.future": "the proven archive is dated in the future: a clock is wrong, and its age "
    "cannot be told",
    "rto.met": "the last proven restore took {measured} (objective {objective})",
    "rto.breached": "the last proven restore took {measured}; {objective} is the objective",
    "rto.gone": "the archive whose restore was measured is no longer there, was changed or has "
    "failed since",
    "rto.unknown": "never measured: no restore of this guest is proven",
    "proof.met": "proven {age} ago (at least every {objective})",
    "proof.booted": "proven {age} ago as far as booting, which is what its tier wants (at least "
    "every {objective})",
    "proof.breached": "last proven {age} ago; a proof is due every {objective}",
    "proof.failed": "a restore test of a backup at least as new failed after the last proof: "
    "{reason}",
    "proof.gone": "the archive that was proven is no longer there, was changed or has failed "
    "since: prove one that is",
    "proof.unknown": "never proven",
    "proof.latest": "never proven; the latest restore test ended {verdict}: {reason}",
    "copies.met": "a recent backup lies in {measured} place(s): {places}",
    "copies.breached": "a recent backup lies in {measured} place(s) ({places}); {objective} are "
    "wanted",
    "copies.none": "there is no archive",
    "copies.unknown": "{measured} place(s) seen of {objective} wanted, but not every storage "
    "could be read",
    "depth.met": "the history goes back {measured} days (objective {objective})",
    "depth.breached": "the history goes back {measured} days; {objective} are wanted",
    "depth.unknown": "{measured} days of history seen of {objective} wanted, but not every "
    "storage could be read",
    "absent": "the cluster does not list this guest",
}

GAPS: dict[str, str] = {
    "operation": "what operation {subject} remembers",
    "quorum": "votes and quorum of the cluster",
    "clock": "clock of the node {subject}",
    "clocks": "clocks of the nodes",
    "ha": "high availability: its status and the guests it manages",
    "jobs": "PVE's own backup jobs",
    "permissions": "the token's permissions",
    "bridges": "bridges of the node {subject}",
    "storages": "the storages and their retention",
    "listing": "archives of the storage {subject}",
    "node": "everything that lies on the node {subject}",
    "copies": "copies that were left over in the scratch range",
    "config": "configuration of guest {subject} (agent, excluded disks)",
}

WORDS: dict[str, str] = {
    "snapshot-catalog": "catalog snapshot",
    "snapshot-bundle": "break-glass bundle",
    "lineage.uuid": "SMBIOS UUID",
    "lineage.born": "creation time",
    "lineage.macs": "MAC addresses",
    "lineage.nothing": "nothing",
    "ahead": "ahead of",
    "behind": "behind",
    "proven": "proven",
    "failed": "failed",
    "inconclusive": "inconclusive",
    "skipped": "skipped",
    "simulated": "simulated",
    "no-reason": "no reason was recorded",
    "nowhere": "nowhere",
    "none": "none",
    "this-service": "this service's machine",
}
