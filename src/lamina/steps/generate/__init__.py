"""Making new examples: choose, train and test for the task `generate`."""
