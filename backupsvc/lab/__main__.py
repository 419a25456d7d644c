"""``python -m backupsvc.lab up|down|status``: the same as ``backupsvc lab``."""

from backupsvc.lab.commands import app

app(prog_name="python -m backupsvc.lab")
