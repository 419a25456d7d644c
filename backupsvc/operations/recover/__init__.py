"""The guests of a node that is lost, brought back one after the other by a plan that a person saw."""
