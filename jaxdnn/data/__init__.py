"""Data sets as NumPy arrays, and how they become batches.

`mnist` finds MNIST and checks its SHA-256, `csv_file` and `tabular` read tables with errors that
name row and column, `synthetic` draws the documents' generated data, and `batches` has torch's
`TensorDataset`, `DataLoader` and `random_split`, and the `shuffle` of compiled runs. `files` writes
files whole or not at all. Nothing here trains.
"""
