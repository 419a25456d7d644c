"""The lab's guests and archives: disks, dumps, restores, configurations and power."""
