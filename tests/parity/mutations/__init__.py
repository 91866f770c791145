"""Deliberate mistakes in ports, and where the verifier has to find them.

Every row of the table is a right port of a small torch run, and a change that makes it wrong. Step,
phase and tensor at which the two must part are derived beforehand from the mathematics, and so is
the name in the catalogue. `case` says what a row is, `ports` has the right ports that several kinds
share, `table` collects the kinds, and `evaluation` runs a row. ``scripts/mutation_report.py`` runs
and prints the whole table; the tests run a sample of it.
"""
