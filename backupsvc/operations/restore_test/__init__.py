"""Proof that an archive can be restored: a copy of the guest in a scratch VMID, isolated, booted
and checked.
"""
