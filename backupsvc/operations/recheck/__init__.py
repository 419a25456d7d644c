"""Read an archive of the catalog anew, where it lies, and say whether its bytes are still good."""
