"""The bilevel core: hypergradients through (or around) an inner training run. Torch only.

An inner objective is minimised by a dynamics Φ; an outer objective judges the result; a method
computes the gradient of the outer value by the hyperparameters (thesis chapter 5).
"""

from lds.bilevel.adaptive import Adam, AdamW, RMSprop
from lds.bilevel.checks import NonFiniteError
from lds.bilevel.dynamics import Dynamics, GradientDescent, Momentum
from lds.bilevel.forward import Forward
from lds.bilevel.implicit import ConjugateGradient, FixedPoint
from lds.bilevel.linear import ContractionWarning
from lds.bilevel.method import AbstractHypergradient, Hypergradient
from lds.bilevel.modules import functional
from lds.bilevel.reverse import Reverse
from lds.bilevel.step import Outer, Start, Step, evaluate
from lds.bilevel.unroll import hypergradient

__all__ = [
    "AbstractHypergradient",
    "Adam",
    "AdamW",
    "ConjugateGradient",
    "ContractionWarning",
    "Dynamics",
    "FixedPoint",
    "Forward",
    "GradientDescent",
    "Hypergradient",
    "Momentum",
    "NonFiniteError",
    "Outer",
    "RMSprop",
    "Reverse",
    "Start",
    "Step",
    "evaluate",
    "functional",
    "hypergradient",
]
