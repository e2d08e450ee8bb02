"""The steps where rows have no answers: choose, train, test for the tasks "embed", "anomaly" and "cluster"."""
