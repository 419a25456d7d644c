"""Read a copy anew at its target, and say whether it is still what was verified there."""
