"""Predictions on pictures: from a config and a checkpoint to arrays, painted pictures and files."""
