"""Accuracy: the whole job, from raw files to the sealed model, on real data."""
