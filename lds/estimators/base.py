"""The base of the two classifiers: fit, predict, export the learned graph, save."""

import inspect
import warnings
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state, estimator_html_repr
from sklearn.utils.validation import check_is_fitted

from lds._random import mix
from lds._words import facts_html, nearest
from lds.datasets.encoding import TableEncoding
from lds.edges.marginals import EdgeMarginals, edge_marginals
from lds.estimators.evidence import Evidence
from lds.estimators.explanation import Explanation, explain
from lds.estimators.frames import later_features, warn_of_label_columns
from lds.estimators.graph_export import GraphExport, attributes_of
from lds.estimators.labels import accuracy, split_roles
from lds.estimators.new_nodes import refuse_made
from lds.estimators.pictures import FitPictures
from lds.estimators.reading import read
from lds.estimators.row_order import check_index
from lds.estimators.verbose import fit_progress
from lds.estimators.weights import ClassWeight
from lds.nn.preparation import as_array
from lds.run_folder import Run, clear_fit, load_encoding, load_settings
from lds.structure.learn import learn
from lds.structure.methods.base import Method
from lds.structure.methods.registry import method_of_settings
from lds.structure.metrics import entropy
from lds.structure.options import check_seed, option_fields
from lds.structure.problem import Problem
from lds.structure.result import EDGE_CUTOFF, Learned
from lds.structure.seeds import MARGINALS


class BaseLDSClassifier(FitPictures, GraphExport, ClassifierMixin, BaseEstimator):
    """Base class of the classifiers, which differ only in their method."""

    method: ClassVar[type[Any]]
    """The method's record of options."""

    # Parameters that every classifier has besides the options of its method.
    class_weight: ClassWeight
    categorical_features: Any
    random_state: Any
    checkpoint: str | Path | None
    resume: bool
    device: str
    verbose: bool
    n_jobs: int | None = None  # a parameter of those whose work is done side by side

    _made_features = False

    def __new__(cls, *arguments: Any, **parameters: Any) -> Self:
        """Refuse a parameter that this class does not have.

        Raises:
            TypeError: with the name of the class that has the parameter, or with all parameters.
        """
        mine = _parameters(cls)
        for name in parameters:
            if name in mine:
                continue
            others = [c for c in BaseLDSClassifier.__subclasses__() if name in _parameters(c)]
            if others:
                raise TypeError(
                    f"{cls.__name__} has no parameter {name!r}; {others[0].__name__} has it"
                )
            raise TypeError(
                f"{cls.__name__} has no parameter {name!r}; it has {', '.join(sorted(mine))}"
                f"{nearest(name, mine)}"
            )
        made: Self = super().__new__(cls)
        return made

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        adjacency: ArrayLike | None = None,
        validation: ArrayLike | None = None,
        stopping: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Learn the graph and classify every row.

        Arguments:
            X: `(n_rows, n_features)` numbers, dense with NaN where missing, or sparse; or a data
                frame of pandas or polars, with numbers, categories, text, dates, booleans and
                missing values in its columns (see `lds.datasets.encoding`). A dense array without
                missing values is used as it is, but for constant columns, which are left out.
            y: `(n_rows,)` strings, integers or booleans; -1, None, NaN and NA are unlabelled.
                At least 4 rows, of two classes or more, are labelled.
            adjacency: a graph of the rows, whose weights are starting probabilities of edges:
                `(n_rows, n_rows)`, dense or sparse, of NumPy, scipy or torch; integers
                `(2, n_edges)`; or a networkx graph of the row numbers. Edges in one direction and
                weights above 1, which are divided by the largest, are reported in a warning.
                A `Pipeline` passes it on as metadata (`ldsclassifier__adjacency=`);
                cross-validation cannot, because it selects rows and keeps all columns.
            validation, stopping: labelled rows (numbers or a mask): the outer objective is the
                loss on validation rows, early stopping reads the stopping rows, and the other
                labelled rows train. Both or neither; None divides the labelled rows into the three
                roles at random, class by class. In cross-validation give masks: scikit-learn
                selects rows of a mask, and not of numbers.
            sample_weight: `(n_rows,)`, at least 0: what each labelled row counts, in proportion to
                the others, in every loss and score of the fit. 0 takes the label away. Weights that
                are all equal change nothing. `class_weight` multiplies them.

        Raises:
            TypeError: an argument has a type that cannot be used.
            ValueError: X holds infinite numbers; y has another length, holds text that means no
                label, or shows too few labels or classes; a graph, a role or a weight does not fit;
                an option is outside its range; or the checkpoint to resume is damaged or of another
                fit.
        """
        check_index(
            X,
            y=y,
            adjacency=adjacency,
            validation=validation,
            stopping=stopping,
            sample_weight=sample_weight,
        )
        given = read(self, X, y, adjacency, sample_weight)
        codes, classes = given.codes, given.classes
        labelled = np.flatnonzero(codes >= 0)
        warn_of_label_columns(X, classes[codes[labelled]], labelled)
        method, seed = self._method(), self._seed()
        with warnings.catch_warnings(record=True) as of_roles:
            warnings.simplefilter("always")
            split = split_roles(codes, classes, validation, stopping, seed)
        problem = Problem(given.features, codes, split, given.graph, weights=given.weights)
        method = method.for_problem(problem)
        if method.reads_roles:
            for each in of_roles:
                warnings.warn(each.message, stacklevel=2)
        with fit_progress(self.verbose, method.to_dict()["max_iter"]) as shown:
            result = learn(
                problem,
                method,
                seed=seed,
                device=self.device,
                checkpoint=self.checkpoint,
                resume=self.resume,
                n_jobs=self.n_jobs,
                on_iteration=shown.on_iteration,
                on_member=shown.on_member,
            )
        _warn_of_ending(result)
        self._take(result, given.encoding, classes)
        return self

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read back a fit from the folder that `save` or `lds fit` wrote, without pickle.

        Parameters that a folder does not hold (`categorical_features`, `checkpoint`,
        `class_weight`, `device`, `n_jobs`, `verbose`) have their defaults. A folder keeps no edges
        of probability <= 1e-4.

        Arguments:
            folder: of the run.

        Raises:
            FileNotFoundError: the folder is not that of a finished run.
            ValueError: a file is damaged or of another format, or the run is of another method,
                which the message names with its class.
        """
        settings = load_settings(folder)
        method_of_settings(settings)  # raises where they are damaged
        options = cls._options_of(settings["method"], settings["options"])
        if options is None:
            others = (c for c in BaseLDSClassifier.__subclasses__() if c is not cls)
            names = [c.__name__ for c in others if c.method.name == settings["method"]]
            raise ValueError(
                f"{folder} is of method {settings['method']!r}"
                + (f"; {names[0]}.load reads it" if names else "")
            )
        result = Learned.load(folder)
        loaded = cls(**options, random_state=settings["seed"])
        encoding = None
        loaded.n_features_in_ = result.problem.features.shape[1]
        if "table" in settings:
            encoding = TableEncoding.from_arrays(load_encoding(folder))
            loaded.n_features_in_ = len(encoding.names)
            if encoding.names != tuple(map(str, range(len(encoding.names)))):  # not of an array
                loaded.feature_names_in_ = np.array(encoding.names, dtype=object)
        loaded._take(result, encoding, np.array(settings["classes"]))
        loaded._made_features = settings.get("made_features", False)
        loaded.dropped_probability_ = result.below_cutoff
        return loaded

    @classmethod
    def _options_of(cls, method: str, options: dict[str, Any]) -> dict[str, Any] | None:
        """Find the parameters whose fit is of a method with options; None: there are none."""
        if method == cls.method.name:
            return {name: options[name] for name in option_fields(cls.method)}
        return None

    def _take(self, result: Learned, encoding: TableEncoding | None, classes: NDArray[Any]) -> None:
        """Set the attributes of a fit."""
        self.learned_, self._encoding, self._made_features = result, encoding, False
        self.split_ = result.problem.split
        self.classes_ = classes
        self.label_distributions_ = result.probabilities
        self.transduction_ = self.classes_[result.probabilities.argmax(1)]
        self.entropy_ = entropy(result.probabilities)
        self.mutual_information_ = result.mutual_information
        self.edge_probabilities_ = result.edges.to_csr(EDGE_CUTOFF)
        kept = float(self.edge_probabilities_.sum(dtype=np.float64)) / 2
        self.dropped_probability_ = max(0.0, result.edges.expected_edges - kept)
        self.history_ = result.history
        self.n_iter_ = len(result.history)

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Predict the most likely class of each row, `(n_new,)`; see the class for new rows."""
        probabilities = self.predict_proba(X)
        classes: NDArray[Any] = self.classes_[probabilities.argmax(1)]
        return classes

    def predict_proba(self, X: ArrayLike) -> NDArray[np.floating[Any]]:
        """Compute class probabilities, `(n_new, n_classes)`; see the class for new rows."""
        check_is_fitted(self)
        refuse_made(self._made_features)
        fitted = self.learned_.problem.features
        x = later_features(self, X, self._encoding, fitted)
        if sp.issparse(x) != sp.issparse(fitted):
            x = sp.csr_array(x) if sp.issparse(fitted) else x.toarray()
        return self.learned_.predict_new(x)

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Compute the accuracy of `predict` on the labelled rows.

        Arguments:
            X: as for `predict`.
            y: `(n_rows,)`, as for `fit`, with at least one labelled row.
            sample_weight: `(n_rows,)`, at least 0; None gives all rows the same weight.

        Raises:
            TypeError, ValueError: y or the weights cannot be used, or no row is labelled.
        """
        check_index(X, y=y, sample_weight=sample_weight)
        return accuracy(self.predict(X), y, sample_weight)

    def edge_marginals(self, n_draws: int = 1000) -> EdgeMarginals:
        """Draw graphs with the edges of `edge_probabilities_` and count each edge.

        A fit that was read from a folder draws the same graphs.
        """
        check_is_fitted(self)
        learned = self.learned_
        return edge_marginals(learned.stored_edges, n_draws, mix(learned.seed, MARGINALS))

    def as_run(self) -> Run:
        """Make the record of the fit that `lds.plots` and `lds.report` read."""
        check_is_fitted(self)
        return self.learned_.as_run(**self._names())

    def save(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Write the fit to a folder as `lds fit` does, without pickle.

        `load` reads it back. `lds report` and `lds export` take the folder, and `lds predict`
        unless X was sparse. A fit on the table, seed and roles of a run of
        `lds fit` saves the same predictions.

        Arguments:
            folder: made if need be.
            overwrite: True writes over a run that the folder holds.

        Raises:
            FileExistsError: the folder holds a run, or files of another origin that would be lost.
        """
        check_is_fitted(self)
        encoding, features = self._encoding, self.learned_.problem.features
        if encoding is None and not sp.issparse(features):
            encoding = TableEncoding.unchanged(as_array(features))
        arrays = None if encoding is None else encoding.to_arrays()
        if overwrite:
            clear_fit(folder)
        self.learned_.save(folder, encoding=arrays, overwrite=overwrite, **self._names())

    def explain(self, row: int, most: int = 10) -> Explanation:
        """Say why a row of the fit got its class.

        Arguments:
            row: number of the row.
            most: number of neighbours listed, the most probable.

        Returns:
            Its cells, its neighbours with edge probabilities before and after learning, the votes
            of its edges for each class, what each member of the committee predicts, and the
            features in which it differs from its neighbours.
        """
        check_is_fitted(self)
        return explain(self.as_run(), self._evidence(), row, most=most)

    def _html_repr(self) -> str:
        """Show the parameters in a notebook, and above them what a fit found."""
        parameters: str = estimator_html_repr(self)
        if not hasattr(self, "learned_"):
            return parameters
        facts = facts_html(type(self).__name__, self.learned_.facts())
        return f"<div>{facts}{parameters}</div>"

    def _evidence(self) -> Evidence:
        return Evidence.of(self.learned_, self._encoding)

    def _names(self) -> dict[str, Any]:
        more = {} if self._encoding is None else {"table": self._encoding.summary()}
        made = {"made_features": True} if self._made_features else {}
        settings = {"data": type(self).__name__, **more, **made}
        return {"classes": self.classes_, "settings": settings}

    def _graph(self) -> tuple[sp.csr_array, dict[str, Any], sp.csr_array]:
        check_is_fitted(self)
        nodes = attributes_of(self.learned_, self.classes_)
        return self.edge_probabilities_, nodes, self.learned_.start

    def _method(self) -> Method:
        """Make the record of options from the parameters."""
        options = {name: getattr(self, name) for name in option_fields(self.method)}
        found: Method = self.method(**options)
        return found

    def _seed(self) -> int:
        if isinstance(self.random_state, int | np.integer):
            check_seed(self.random_state, "random_state")
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = True
        return tags


def _warn_of_ending(result: Learned) -> None:
    """Warn if a fit ended before it converged."""
    if result.reason == "max_iter" and not result.method.fixed_length:
        options = result.method.to_dict()
        warnings.warn(
            f"max_iter={options['max_iter']} outer iterations were not enough for early stopping "
            f"(patience={options['patience']}); the best graph so far is kept",
            ConvergenceWarning,
            stacklevel=3,
        )
    elif result.reason not in ("patience", "max_iter"):
        warnings.warn(f"the fit ended early: {result.reason}", UserWarning, stacklevel=3)


def _parameters(cls: type[Any]) -> set[str]:
    return set(inspect.signature(cls.__init__).parameters) - {"self"}
