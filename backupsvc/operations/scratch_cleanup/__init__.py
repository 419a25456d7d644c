"""Scratch copies taken down, whoever left them."""
