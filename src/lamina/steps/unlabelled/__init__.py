"""The steps where rows have no answers to learn from: choose, train, test for the tasks "embed" and "anomaly"."""
