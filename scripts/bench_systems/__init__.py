"""The systems that `scripts/bench.py` measures, each in its own process.

Start with `parts`, the table of all measurements.
"""
