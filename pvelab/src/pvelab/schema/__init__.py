"""What PVE's own API schema says: which calls there are, who may make them, and which parameters
they take.
"""
