"""Why a model answers as it does: model-free, on the sealed file, NumPy only."""
