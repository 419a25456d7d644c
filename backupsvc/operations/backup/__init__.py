"""One guest's backup."""
