"""Whole runs: a data set fitted with its controls, and the tables made of such runs."""
