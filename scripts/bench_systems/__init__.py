"""What `scripts/bench.py` measures: the systems, each run in a process of its own."""
