"""The API handlers that are not about guests or archives, the request schema and its validation."""
