"""Readers of vzdump archives: names and volids, compression, VMA, container tar, one-pass
verification, extraction.

Nothing here needs a cluster. A damaged archive is a result (a ``Problem`` with its offset), never a
crash.
"""
