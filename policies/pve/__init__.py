"""PVE's own formats, each read in one place and as PVE reads it. A module here knows nothing of
what is wanted.
"""
