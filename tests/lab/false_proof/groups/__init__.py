"""The cells of the matrix, a group a file."""
