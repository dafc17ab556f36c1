"""Names of the gradient estimators besides straight-through. Imports nothing."""

PATHWISE = ("reinmax", "gumbel_softmax")
"""Estimators that differentiate E by the drawn graph, and weigh that derivative pair by pair."""

BLACK_BOX = ("score_function", "disarm")
"""Estimators that take values of E and no derivative."""
