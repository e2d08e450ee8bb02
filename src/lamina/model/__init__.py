"""The sealed model: one file that answers without PyTorch, and the proof that it answers as the trained network did."""
