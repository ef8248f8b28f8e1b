"""Prune pre-trained networks without their training data, by evolving populations of masks."""
