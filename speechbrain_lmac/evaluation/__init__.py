"""Methods under conditions, sanity checks and the listening test."""
