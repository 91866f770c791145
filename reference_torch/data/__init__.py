"""Data sets, loaders and splits.

torch's own where it has them, drawn from its global generator; `synthetic` makes the documents'
generated data, and `paired_files` is a data set of the user's own.
"""
