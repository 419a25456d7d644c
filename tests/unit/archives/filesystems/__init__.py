"""File systems, partitions and LVM out of images that the file systems' own tools made."""
