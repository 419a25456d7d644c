"""Disk images of the lab's guests, built without root from Debian packages.

site.py      GUESTS: the reference site's eleven guests, as data
packages.py  what is fetched from Debian and how
initramfs.py the guests' common software, as an initial RAM file system
disks.py     partition table, boot and data file systems
build.py     ensure_images(cache_dir, progress) -> Images; build_guest_disks(images, seed, folder) -> {"scsi0": path, ...}
"""
