"""The five steps of deep learning, one file each: understand, prepare, choose, train, test."""
