"""Move a guest under HA to another node and back, while its service is listened to from outside."""
