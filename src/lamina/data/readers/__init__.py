"""One file per family of formats: each turns raw data into a `Source` of rows, the same for training and prediction.

Text formats, folders and archives need only the standard library and NumPy; Parquet, Arrow, Excel and data frames
need the extra `lamina[tables]`.
"""
