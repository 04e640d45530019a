"""One page to listen to."""
