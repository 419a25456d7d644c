"""``python -m backupsvc.lab up|down|status``: the same as ``backupsvc lab``."""

import sys

from backupsvc.errors import BackupsvcError
from backupsvc.lab.commands import app

try:
    app(prog_name="python -m backupsvc.lab")
except BackupsvcError as error:
    print(f"{error.message}\n{error.hint}".strip(), file=sys.stderr)
    sys.exit(error.exit_code)
