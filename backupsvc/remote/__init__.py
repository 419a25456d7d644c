"""SSH: archives read from the nodes, and the way through the probe onto the isolated bridge."""
