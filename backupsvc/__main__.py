"""``python -m backupsvc``."""

from backupsvc.cli import main

main()
