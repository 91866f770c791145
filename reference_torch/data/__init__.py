"""Data sets, loaders and splits, with random numbers from torch's global generator.

`batches` has torch's own classes, `synthetic` generates the documents' artificial data sets, and
`paired_files` is an example of a custom data set.
"""
