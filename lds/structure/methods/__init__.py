"""Structure-learning methods."""

from lds.structure.methods.registry import METHODS, method_of

__all__ = ["METHODS", "method_of"]
