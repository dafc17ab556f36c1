"""Discrete hyperparameters: distributions, and gradients through their draws.

Imports torch, and SciPy for the assignment solver that permutations need.
"""

from lds.discrete.base import AbstractDiscrete
from lds.discrete.bernoulli import Bernoulli
from lds.discrete.categorical import Categorical
from lds.discrete.gradient_estimators import (
    disarm,
    gumbel_softmax,
    reinmax,
    score_function,
    straight_through,
)
from lds.discrete.imle import imle
from lds.discrete.ksubset import KSubset
from lds.discrete.permutation import gumbel_sinkhorn, matching, sinkhorn
from lds.discrete.rebar import rebar
from lds.discrete.thinning import ThinningTable

__all__ = [
    "AbstractDiscrete",
    "Bernoulli",
    "Categorical",
    "KSubset",
    "ThinningTable",
    "disarm",
    "gumbel_sinkhorn",
    "gumbel_softmax",
    "imle",
    "matching",
    "rebar",
    "reinmax",
    "score_function",
    "sinkhorn",
    "straight_through",
]
