"""Pictures of a saved run; each function takes a `lds.run_folder.Run` and returns a figure.

matplotlib comes with `pip install lds[plot]`. No global state of it is changed.
"""

from importlib.util import find_spec

if find_spec("matplotlib") is None:
    raise ImportError("pictures are drawn with matplotlib: pip install 'lds[plot]'")

from lds.plots.graph import degrees_and_homophily, learned_graph, probability_histograms
from lds.plots.predictions import calibration, embedding
from lds.plots.training import expected_edges, group_probabilities, learning_curves

__all__ = [
    "calibration",
    "degrees_and_homophily",
    "embedding",
    "expected_edges",
    "group_probabilities",
    "learned_graph",
    "learning_curves",
    "probability_histograms",
]
