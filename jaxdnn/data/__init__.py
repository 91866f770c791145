"""Data sets as NumPy arrays, and their division into batches.

- `mnist` loads MNIST and verifies its SHA-256.
- `csv_file` and `tabular` read tables; their errors name the line and the column.
- `synthetic` generates the documents' artificial data sets.
- `batches` has torch's `TensorDataset`, `DataLoader` and `random_split` for NumPy arrays, and
  `shuffle`, the permutation that compiled runs use.
- `files` writes files atomically.

Start with `batches`. Nothing here trains, and all functions but `shuffle` run on the host.
"""
