"""Sealed models behind HTTP: no PyTorch, no name of a file from outside, one bad row one error entry."""
