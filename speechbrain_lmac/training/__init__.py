"""Training loops, one method a file."""
