"""Transfer learning: weights from elsewhere, and which of them may change."""
