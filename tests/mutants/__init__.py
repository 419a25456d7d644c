"""Mutation testing of policies: what the tests would not notice if somebody took it out (``make
mutants``).
"""
