"""Replace a guest that is there by one that is restored from its archive, and the way back."""
