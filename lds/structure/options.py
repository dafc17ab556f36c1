"""Options of structure-learning methods: default, range, help and source of each stand here, once.

Checks, flags of the shell, tables of the documentation and docstrings of the estimators follow from
the fields. Importing this module loads nothing heavy.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, asdict, dataclass, field, fields
from numbers import Integral, Real
from typing import Any, ClassVar, Self

from lds._words import nearest


@dataclass(frozen=True)
class Range:
    """The values an option may have.

    Arguments:
        words: as messages and tables say it.
        holds: whether a value is in it.
        names: all values, where they are names.
    """

    words: str
    holds: Callable[[Any], bool]
    names: tuple[str, ...] = ()


AT_LEAST_1 = Range("at least 1", lambda value: value >= 1)
NOT_NEGATIVE = Range("0 or more", lambda value: 0 <= value < math.inf)
POSITIVE = Range("positive", lambda value: 0 < value < math.inf)
PROBABILITY = Range("in [0, 1)", lambda value: 0 <= value < 1)
FACTOR = Range("in (0, 1]", lambda value: 0 < value <= 1)


def one_of(*names: str) -> Range:
    """Return the range of one of several names."""
    return Range(f"one of {', '.join(map(repr, names))}", lambda value: value in names, names)


def option(
    default: Any, help: str, within: Range | None = None, *, source: str = "", user: bool = True
) -> Any:
    """Make a field of an options record.

    Arguments:
        default: its value where none is given.
        help: what it is, in a sentence or less, for a person who reads a list of options.
        within: the values it may have; None: those of its type.
        source: of the default: a section of the thesis, a paper or an ablation.
        user: False keeps it out of the shell and the estimators.
    """
    known = {"help": help, "within": within, "source": source, "user": user}
    return field(default=default, metadata=known)


class Options:
    """Base of the options records of all methods.

    Raises:
        TypeError: an option of no such name, or of another kind.
        ValueError: an option is outside its range.
    """

    name: ClassVar[str]
    """The method's name, for `--method`."""

    def __new__(cls, *arguments: Any, **options: Any) -> Self:
        """Refuse the options of other methods by name."""
        check_names(cls, options)
        return super().__new__(cls)

    def __post_init__(self) -> None:
        """Check every option by its type and range, and make numbers plain."""
        for each in fields(self):  # type: ignore[arg-type]
            value = getattr(self, each.name)
            check_value(each, value)
            if each.type in (int, float, bool):  # NumPy's numbers are no JSON
                object.__setattr__(self, each.name, _plain(each, value))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values by name, for JSON."""
        return asdict(self)  # type: ignore[call-overload, no-any-return]


def _plain(each: "Field[Any]", value: Any) -> Any:
    """Return a number of an option as Python's, of the type of the option."""
    kind: Any = each.type
    try:
        return kind(value)
    except OverflowError:
        raise ValueError(f"{each.name} must be at most 1.8e308, got a larger number") from None


def option_fields(method: type[Options], *, user: bool = True) -> dict[str, "Field[Any]"]:
    """Return the options of a method by name; with `user` those that a user sets."""
    found = {each.name: each for each in fields(method)}  # type: ignore[arg-type]
    return {name: each for name, each in found.items() if each.metadata["user"] or not user}


def check_jobs(n_jobs: int | None, name: str = "n_jobs") -> None:
    """Refuse a number of processes that cannot be.

    Raises:
        TypeError: it is neither None nor an integer.
        ValueError: it is 0.
    """
    if n_jobs is None:
        return
    if not isinstance(n_jobs, Integral) or isinstance(n_jobs, bool):
        raise TypeError(f"{name} must be an integer or None, got {n_jobs!r}")
    if n_jobs == 0:
        default = ", or None for that of joblib.parallel_config" if name == "n_jobs" else ""
        raise ValueError(f"{name} must be at least 1, or -1 for one a core{default}, got 0")


def check_seed(seed: Any, name: str = "seed") -> None:
    """Refuse what is no seed, before anything is drawn from it.

    Raises:
        TypeError: it is not an integer.
        ValueError: it is negative.
    """
    if isinstance(seed, bool) or not isinstance(seed, Integral):
        raise TypeError(f"{name} must be an integer, got {seed!r}")
    if seed < 0:
        raise ValueError(f"{name} must be 0 or more, got {seed!r}")


def check_value(each: "Field[Any]", value: Any) -> None:
    """Refuse a value of an option.

    Raises:
        TypeError, ValueError: as of `Options`.
    """
    number = isinstance(value, Real) and not isinstance(value, bool)
    kinds = (
        (int, "an integer", number and isinstance(value, Integral)),
        (bool, "True or False", type(value).__name__ in ("bool", "bool_")),  # of NumPy, too
        (float, "a number", number),
        (str, "a string", isinstance(value, str)),
    )
    for kind, words, fits in kinds:
        if each.type is kind and not fits:
            raise TypeError(f"{each.name} must be {words}, got {value!r}")
    within = each.metadata["within"]
    if within is not None and not within.holds(value):
        near = nearest(str(value), within.names)
        raise ValueError(f"{each.name} must be {within.words}, got {value!r}{near}")


def check_names(method: type[Options], options: Mapping[str, Any]) -> None:
    """Refuse options that a method does not have.

    Raises:
        TypeError: with the method that has the option, or with all that there are.
    """
    mine = option_fields(method, user=False)
    for name in options:
        if name in mine:
            continue
        having = (other.name for other in _all_methods() if name in option_fields(other))
        others = sorted(set(having))
        if others:
            have = f"method {others[0]!r} has it"
            if len(others) > 1:
                have = f"methods {' and '.join(map(repr, others))} have it"
            raise TypeError(f"the method {method.name!r} has no option {name!r}; {have}")
        known = ", ".join(sorted(mine))
        raise TypeError(f"there is no option {name!r}; there are {known}{nearest(name, mine)}")


def _all_methods() -> Iterator[type[Options]]:
    waiting = list(Options.__subclasses__())
    while waiting:
        method = waiting.pop(0)
        waiting.extend(method.__subclasses__())
        if hasattr(method, "name"):
            yield method


@dataclass(frozen=True)
class RestartOptions(Options):
    """Options of the restarts of Algorithm 7, which every method here runs. See `option_fields`.

    Defaults are those of the thesis where it names one.
    """

    n_neighbors: int = option(
        10, "k of the nearest neighbours that may be joined", AT_LEAST_1, source="§9.4.2: 10 or 20"
    )
    metric: str = option(
        "cosine",
        "distance of the neighbour search, by scikit-learn's name",
        source="§9.4.2: cosine or Euclidean",
    )
    hidden_channels: int = option(16, "width of the hidden layer", AT_LEAST_1, source="§9.4.2: 16")
    dropout: float = option(
        0.5,
        "probability of zeroing an input or hidden unit in training",
        PROBABILITY,
        source="§9.4.2: 0.5",
    )
    weight_decay: float = option(
        5e-4,
        "factor of half the squared norm of the first layer in the inner loss",
        NOT_NEGATIVE,
        source="Kipf and Welling, 2017; the thesis gives no value",
    )
    inner_lr: float = option(
        0.01, "step size of the inner Adam", POSITIVE, source="§9.4.2: 0.005, 0.01 or 0.02"
    )
    outer_lr: float = option(
        1.0, "first step size of the edge distribution", POSITIVE, source="§9.4.2: tuned"
    )
    outer_lr_decay: float = option(
        0.95,
        "factor on outer_lr after each outer iteration",
        FACTOR,
        source="§9.4.2: exponentially decreasing",
    )
    truncation: int = option(
        5,
        "τ: a hypergradient is taken every τ inner steps and goes back over these τ steps; 0 "
        "differentiates through none of them",
        NOT_NEGATIVE,
        source="§9.4.3: 5",
    )
    n_draws: int = option(
        16, "S: graphs averaged for a prediction", AT_LEAST_1, source="§9.4.2: 16"
    )
    inner_tol: float = option(
        1e-3,
        "an inner step counts as progress if its loss times 1 + inner_tol is below the best so far",
        NOT_NEGATIVE,
        source="§9.3.2: 1e-3",
    )
    inner_patience: int = option(
        20,
        "inner steps without progress that end an inner run",
        AT_LEAST_1,
        source="§9.3.2 leaves it open",
    )
    max_inner: int = option(400, "most steps of an inner run; at least truncation", AT_LEAST_1)
    patience: int = option(
        20,
        "outer iterations without a better early-stopping score that end the run",
        AT_LEAST_1,
        source="§9.4.2: 20",
    )
    max_iter: int = option(200, "most outer iterations", AT_LEAST_1)
    update_edges: bool = option(
        True, "False never updates the edge distribution: the frozen-graph control", user=False
    )
    label_weight: float = option(
        1.0, "weight of the validation loss in the outer objective", NOT_NEGATIVE
    )
    denoising_weight: float = option(
        0.0,
        "weight of denoising the features in the outer objective; above 0 the inner objective "
        "trains its decoder too",
        NOT_NEGATIVE,
        source="Fatemi et al., 2021",
    )
    redraw: bool = option(
        False,
        "deal the train and validation rows anew before every inner run",
        source="Appendix B",
    )
    settle: float = option(
        0.0,
        "take hypergradients once the inner loss falls by less than this share within truncation "
        "steps, or in the last such steps of an inner run; 0 takes them from the first step",
        NOT_NEGATIVE,
    )

    def __post_init__(self) -> None:
        """Check every option, and those that depend on each other."""
        super().__post_init__()
        if not self.label_weight + self.denoising_weight:
            raise ValueError("label_weight and denoising_weight must not both be 0")
        if self.update_edges and self.max_inner < self.truncation:
            raise ValueError(
                f"max_inner must be at least truncation, {self.truncation}, or no hypergradient is "
                f"taken, got {self.max_inner}"
            )


def with_default(
    method: type[Options], name: str, default: Any, help: str | None = None, *, source: str = ""
) -> Any:
    """Make the option of a base record with another default.

    Arguments:
        method: the base record.
        name: of the option.
        default: the other default.
        help: other help; None keeps it.
        source: of the other default.
    """
    known = option_fields(method, user=False)[name].metadata
    return option(
        default, help or known["help"], known["within"], source=source, user=known["user"]
    )
