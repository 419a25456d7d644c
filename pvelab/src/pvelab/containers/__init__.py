"""The lab's containers, modelled: configurations, files and archives are real, but nothing runs in
them.

What PVE does here is read in pve-container (PVE/API2/LXC.pm, PVE/LXC/Create.pm, PVE/VZDump/LXC.pm)
and recorded, for an older PVE, in ``tests/golden/recorded_containers``.
"""
