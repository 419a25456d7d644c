"""How the guests of a node that is lost are brought back: what is planned, whose turn it is, and what
only a person can do.
"""
