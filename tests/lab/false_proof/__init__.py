"""The false-proof matrix: one cell for each way in which an archive could be called proven though
it is not.
"""
