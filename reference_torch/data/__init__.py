"""Data sets, loaders and splits, as torch has them."""
