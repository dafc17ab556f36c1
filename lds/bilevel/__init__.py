"""The bilevel core: hypergradients through (or around) an inner training run. Torch only.

An inner objective is minimised by a dynamics Φ; an outer objective judges the result; a method
computes the gradient of the outer value by the hyperparameters (thesis chapter 5).
"""

from lds.bilevel import projections, stopping
from lds.bilevel.adaptive import Adam, AdamW, RMSprop
from lds.bilevel.batches import Batches
from lds.bilevel.black_box import solve_black_box
from lds.bilevel.buffers import Parameters
from lds.bilevel.check import Report, check
from lds.bilevel.checks import NonFiniteError
from lds.bilevel.descent import GradientDescent, Momentum
from lds.bilevel.diagnostics import Constants, contraction, fixed_point_bound, iterative_bound
from lds.bilevel.distributed import data_parallel
from lds.bilevel.dynamics import Dynamics, DynamicsOptions
from lds.bilevel.first_order import FirstOrder
from lds.bilevel.forward import Forward
from lds.bilevel.history import Record, Solution
from lds.bilevel.implicit import ConjugateGradient, FixedPoint
from lds.bilevel.linear import ContractionWarning
from lds.bilevel.method import AbstractHypergradient, Hypergradient
from lds.bilevel.modules import functional, load
from lds.bilevel.online import solve_online
from lds.bilevel.penalty import F2SA
from lds.bilevel.replay import ReplayError
from lds.bilevel.reverse import Reverse
from lds.bilevel.single_loop import SOBA
from lds.bilevel.solve import solve
from lds.bilevel.step import Outer, Start, Step, evaluate
from lds.bilevel.tasks import k_folds, over_tasks, separate_tasks, stacked, task_at, weighted_mean
from lds.bilevel.training import Trained, Training, run
from lds.bilevel.twice import OnceDifferentiableError
from lds.bilevel.unroll import hypergradient
from lds.bilevel.variance_reduced import SABA

__all__ = [
    "F2SA",
    "SABA",
    "SOBA",
    "AbstractHypergradient",
    "Adam",
    "AdamW",
    "Batches",
    "ConjugateGradient",
    "Constants",
    "ContractionWarning",
    "Dynamics",
    "DynamicsOptions",
    "FirstOrder",
    "FixedPoint",
    "Forward",
    "GradientDescent",
    "Hypergradient",
    "Momentum",
    "NonFiniteError",
    "OnceDifferentiableError",
    "Outer",
    "Parameters",
    "RMSprop",
    "Record",
    "ReplayError",
    "Report",
    "Reverse",
    "Solution",
    "Start",
    "Step",
    "Trained",
    "Training",
    "check",
    "contraction",
    "data_parallel",
    "evaluate",
    "fixed_point_bound",
    "functional",
    "hypergradient",
    "iterative_bound",
    "k_folds",
    "load",
    "over_tasks",
    "projections",
    "run",
    "separate_tasks",
    "solve",
    "solve_black_box",
    "solve_online",
    "stacked",
    "stopping",
    "task_at",
    "weighted_mean",
]
