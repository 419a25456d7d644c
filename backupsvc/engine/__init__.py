"""Durable execution: an operation's steps are driven, recorded before and after, and resumed. It
knows nothing of backups.
"""
