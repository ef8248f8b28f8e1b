"""Foreign weights to Flax and back."""
