"""What could be brought back tonight if nodes, storages or all of the site were lost."""
