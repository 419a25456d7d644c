"""Whether Proxmox VE's high availability (HA) would do its work: who would take a guest over, what
that guest needs there, and whether its backup would follow it.

``facts`` holds what was seen, ``needs`` what a guest needs of a node, ``allowed`` where rules let
it go, ``places`` whether one node could take it, ``backups`` whether its backup would run there;
``status`` puts it all together.

Three answers everywhere: True, False, and None for what could not be read. None never becomes True.
"""
