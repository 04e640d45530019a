"""What explains: masks, decoders, L2I, and loading them."""
