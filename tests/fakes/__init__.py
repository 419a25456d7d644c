"""One fake of Proxmox VE, its clock, and what tests make to put into it."""
