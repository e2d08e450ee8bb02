"""The five steps where the data is an environment: understand, prepare, choose, train, test on fresh episodes."""
