"""``backupsvc serve``: beat, a worker for each queue and a private Redis on one machine,
supervised.

Children are processes of their own, started by their command line, so nothing of ``workers`` is
imported here.
"""
