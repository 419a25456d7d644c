"""Files out of the disks in an archive, without restoring the guest.

What a guest wrote may be made to harm whoever reads it, so two sides share the work. ``child`` runs
in a process of its own, with little memory and time, no way to write and nothing in its
environment; it reads the disks and answers over a pipe. ``reader`` starts it, and believes nothing
of what it says before ``told`` has looked at it; ``landing`` alone writes.

The child's side (blocks, partitions, lvm, signatures, volumes, tsk, xfs, child) imports nothing of
this service but itself and ``wire``.
"""
