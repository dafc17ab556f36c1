"""Numbers mixed into the seed of a run, one for each thing that is drawn at random."""

FRESH_WEIGHTS = -1
"""Weights at the start of an inner run or a training."""

START = -2
"""Φ_0 of an inner run or a training."""

PREDICTION = -3
"""Graphs of a prediction."""

OUTER_OBJECTIVE = -4
"""The graph on which the outer objective is evaluated."""

NEW_ROWS = -5
"""Graphs on which new rows are predicted."""

GROWTH = MARGINALS = -6
"""Rows searched when a sparse support grows; graphs in which edges are counted."""

ROLE_DEAL = -7
"""The deal of labelled rows to train and validation."""

MEMBER = -8
"""A member of a committee."""

SAMPLE = -9
"""The rows of a large table on which learned views are learned."""

FIRST_LOOK = -10
"""Networks that show whether edges between unlike nodes tell classes."""

DRAWS = -11
"""Graphs that the members of a turn train on."""
