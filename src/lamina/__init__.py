"""Raw data in; a trained, tested, explained and sealed neural network out."""

__version__ = "0.1.0"
