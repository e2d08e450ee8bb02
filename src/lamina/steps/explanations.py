"""Explanations of the sealed model for the report: which fields matter, and what decided single answers."""
