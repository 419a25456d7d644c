"""Every kind of operation there is: the one list that the engine, the commands and whoever tells of
them read.
"""

from __future__ import annotations

from backupsvc.engine.kind import Kinds
from backupsvc.operations.backup.kind import BACKUP
from backupsvc.operations.copy.kind import COPY
from backupsvc.operations.copy_recheck.kind import COPY_RECHECK
from backupsvc.operations.ha_drill.kind import HA_DRILL
from backupsvc.operations.job_run.kind import JOB_RUN
from backupsvc.operations.prune.kind import PRUNE
from backupsvc.operations.put_back.kind import PUT_BACK
from backupsvc.operations.recheck.kind import RECHECK
from backupsvc.operations.recover.kind import RECOVER
from backupsvc.operations.replace.kind import REPLACE, REPLACE_UNDO
from backupsvc.operations.restore.kind import RESTORE
from backupsvc.operations.restore_test.kind import RESTORE_TEST
from backupsvc.operations.scratch_cleanup.kind import SCRATCH_CLEANUP

KINDS: Kinds = {
    kind.name: kind
    for kind in (
        BACKUP,
        RESTORE_TEST,
        RESTORE,
        PUT_BACK,
        PRUNE,
        SCRATCH_CLEANUP,
        COPY,
        RECHECK,
        COPY_RECHECK,
        HA_DRILL,
        JOB_RUN,
        RECOVER,
        REPLACE,
        REPLACE_UNDO,
    )
}
