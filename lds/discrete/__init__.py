"""Discrete hyperparameters: distributions, and gradients through their draws. Torch only."""

from lds.discrete.base import AbstractDiscrete
from lds.discrete.bernoulli import Bernoulli
from lds.discrete.categorical import Categorical
from lds.discrete.estimators import (
    disarm,
    gumbel_softmax,
    reinmax,
    score_function,
    straight_through,
)
from lds.discrete.imle import imle
from lds.discrete.ksubset import KSubset
from lds.discrete.rebar import rebar
from lds.discrete.thinning import ThinningTable

__all__ = [
    "AbstractDiscrete",
    "Bernoulli",
    "Categorical",
    "KSubset",
    "ThinningTable",
    "disarm",
    "gumbel_softmax",
    "imle",
    "rebar",
    "reinmax",
    "score_function",
    "straight_through",
]
