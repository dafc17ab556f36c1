"""Pictures, report and notebook summary of a fit, for all objects that hold one."""

from pathlib import Path
from typing import TYPE_CHECKING

from lds.run_folder import Run

if TYPE_CHECKING:  # matplotlib is an extra
    from matplotlib.figure import Figure


class FitPictures:
    """Base class of objects with `as_run`: draws each picture of `lds.plots`, writes the report.

    Each method returns a matplotlib figure, which notebooks show and `figure.savefig` writes.
    """

    def as_run(self) -> Run:
        """Make the record of the fit."""
        raise NotImplementedError

    def report(self, path: str | Path, *, values: bool = True) -> Path:
        """Write one HTML page: accuracy, pictures, settings, edges, and why any row got its class.

        Arguments:
            path: of the file, .html.
            values: False leaves out the cells of the rows and their identifiers.

        Returns:
            The path.
        """
        from lds.report.page import write_report

        write_report(self, path, values=values)
        return Path(path)

    def plot_graph(self, n_edges: int | None = None, seed: int = 0) -> "Figure":
        """Draw the rows and their most probable edges, see `plots.graph.learned_graph`."""
        from lds.plots.graph import learned_graph

        return learned_graph(self.as_run(), n_edges, seed)

    def plot_probabilities(self, row: int | None = None) -> "Figure":
        """Draw shares of pairs by learned probability, see `plots.graph.probability_histograms`.

        Arguments:
            row: only pairs with this row; None: all pairs.
        """
        from lds.plots.graph import probability_histograms

        return probability_histograms(self.as_run(), row)

    def plot_degrees(self) -> "Figure":
        """Draw degrees and homophily before and after learning."""
        from lds.plots.graph import degrees_and_homophily

        return degrees_and_homophily(self.as_run())

    def plot_calibration(self) -> "Figure":
        """Draw accuracy against confidence."""
        from lds.plots.predictions import calibration

        return calibration(self.as_run())

    def plot_embedding(self, seed: int = 0) -> "Figure":
        """Draw the hidden layer in two dimensions."""
        from lds.plots.predictions import embedding

        return embedding(self.as_run(), seed)

    def plot_learning(self) -> "Figure":
        """Draw losses and accuracy of each outer iteration."""
        from lds.plots.training import learning_curves

        return learning_curves(self.as_run())

    def plot_edges(self) -> "Figure":
        """Draw the expected number of edges after each outer iteration."""
        from lds.plots.training import expected_edges

        return expected_edges(self.as_run())

    def plot_groups(self) -> "Figure":
        """Draw the mean edge probability of pairs of one class and of two."""
        from lds.plots.training import group_probabilities

        return group_probabilities(self.as_run())
