"""What the cluster and its storages hold, listed in one way, and what is known of each archive."""
