"""Benchmarks: every claim of speed or accuracy is a script here that anyone can repeat."""
