"""Discrete hyperparameters: distributions, and gradients through their draws. Torch only."""

from lds.discrete.base import AbstractDiscrete
from lds.discrete.bernoulli import Bernoulli
from lds.discrete.estimators import straight_through
from lds.discrete.thinning import ThinningTable

__all__ = ["AbstractDiscrete", "Bernoulli", "ThinningTable", "straight_through"]
