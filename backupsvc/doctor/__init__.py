"""What `backupsvc doctor` asks, a file a group of checks."""
