"""Whatever is handed to the faces ends in success or in a documented error, never in a stray one.

Here with fits; `test_fuzz_inputs.py`, `tests/datasets/test_fuzz_frames.py` and `test_fuzz_files.py`
only read.
"""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from hypothesis import event, given, settings
from hypothesis import strategies as st
from torch_geometric.data import Data

from lds import learn_structure
from lds.structure import methods
from lds.structure.options import option_fields
from tests.endings import OPEN, ends_well
from tests.estimators.options import CLASSIFIERS

CASES, MANY = 40, 300
TINY = {
    "n_neighbors": 2,
    "hidden_channels": 2,
    "max_inner": 2,
    "max_iter": 1,
    "n_draws": 2,
    "truncation": 1,
}
METHODS = [
    {"method": "thesis"},
    {"method": "default", "refit_steps": 4, "refits": 1},
    {"method": "thesis"},
    {"method": "default", "refit_steps": 4},
]
"""Without agreement a committee is fitted once, and in half the time."""


# Values, some of them fit and some not


@st.composite
def some_of(draw, parts):
    """None, one or two of the parts of a call are to be odd; the others fit."""
    return set(draw(st.lists(st.sampled_from(parts), max_size=2, unique=True)))


ODD_NUMBERS = [
    -1,
    0,
    1,
    2.5,
    10**6,
    float("nan"),
    float("inf"),
    "many",
    None,
    True,
    [1],
    np.int64(2),
    np.float32(0.5),
]
# Large ones of these are allowed and would only take long.
LONG = ["hidden_channels", "n_draws", "max_inner", "max_iter"]
OTHER = [
    "n_neighbors",
    "dropout",
    "weight_decay",
    "inner_lr",
    "learn_inner_lr",
    "outer_lr",
    "outer_lr_decay",
    "truncation",
    "inner_patience",
    "inner_tol",
    "patience",
    "pairs_per_node",
    "grow_every",
]
OPTIONS = {
    **dict.fromkeys(OTHER, ODD_NUMBERS),
    **{name: [value for value in ODD_NUMBERS if value != 10**6] for name in LONG},
    "metric": [
        "euclidean",
        "cosine",
        "haversine",
        "jaccard",
        "minkowski",
        "precomputed",
        "",
        None,
        3,
        len,
    ],
    "support": ["sparse", "auto", "none", None, 1],
    "backbone": ["GCNConv", "SAGEConv", "ChebConv", "PNAConv", None, 0],
    "estimator": ["reinmax", "disarm", "score_function", "gumbel_softmax", "exact", None, 1.0],
    "connected": [True, False, None, 1, "yes"],
    "method": ["default", "thesis", "other", None, 1],
    **dict.fromkeys(["label_weight", "denoising_weight", "settle", "agreement"], ODD_NUMBERS),
    "redraw": [True, False, None, 1, "yes"],
    "metric_rank": [1, 2, 5, None, 1.5, "2", -1],
    "refit_steps": [1, 2, None, 1.5, "2", -1],
    "batch_nodes": [1, 2, None, 1.5, "2", -1],
}


@st.composite
def options(draw, method):
    """At most two options, most of them of the method."""
    mine = sorted(OPTIONS.keys() & option_fields(methods.METHODS[method]).keys())
    names = st.sampled_from([*mine * 3, *sorted(OPTIONS)])
    chosen = draw(st.lists(names, max_size=2, unique=True))
    return {name: draw(st.sampled_from(OPTIONS[name])) for name in chosen}


@st.composite
def short(draw, odd):
    """A method by name, and options that make it short; some of them odd."""
    method = draw(st.sampled_from(METHODS))
    name = method["method"]
    return TINY | method | (draw(options(name)) if "options" in odd else {})


@st.composite
def features(draw, n):
    d = draw(st.integers(1, 3))
    x = np.random.default_rng(draw(st.integers(0, 5))).standard_normal((n, d))
    form = draw(
        st.sampled_from(
            [
                "float64",
                "float32",
                "float16",
                "int",
                "bool",
                "constant",
                "csr",
                "coo",
                "frame",
                "list",
                "nan",
                "inf",
                "huge",
                "text",
                "object",
                "complex",
                "flat",
                "cube",
                "no rows",
                "no columns",
                "none",
                "ragged",
            ]
        )
    )
    if form in ("float64", "float32", "float16", "int", "bool", "complex"):
        return x.astype(form)
    if form in ("nan", "inf", "huge"):
        x[draw(st.integers(0, n - 1)), 0] = {"nan": np.nan, "inf": -np.inf, "huge": 1e200}[form]
        return x
    return {
        "constant": np.zeros_like(x),
        "csr": sp.csr_matrix(np.round(x)),
        "coo": sp.coo_array(x),
        "frame": pd.DataFrame(x, columns=list("abc")[:d]),
        "list": x.tolist(),
        "text": x.astype(str),
        "object": x.astype(object),
        "flat": x[:, 0],
        "cube": x[:, :, None],
        "no rows": x[:0],
        "no columns": x[:, :0],
        "none": None,
        "ragged": [[1.0], [1.0, 2.0]],
    }[form]


@st.composite
def targets(draw, n):
    n_classes = draw(st.integers(1, 3))
    y = np.arange(n) % n_classes
    n_labelled = draw(st.integers(0, n))
    form = draw(
        st.sampled_from(
            [
                "int",
                "int",
                "int",
                "str",
                "str",
                "bool",
                "float",
                "half",
                "inf",
                "mixed",
                "short",
                "long",
                "column",
                "wide",
                "none",
                "dates",
                "negative",
                "category",
                "nested",
            ]
        )
    )
    blank = np.where(np.arange(n) < n_labelled, y, -1)
    names = np.array(["a", "b", "c"], dtype=object)[y]
    names[n_labelled:] = draw(st.sampled_from([None, np.nan, pd.NA]))
    mixed = names.copy()
    mixed[: n // 2] = 1
    return {
        "int": blank,
        "str": names,
        "bool": y.astype(bool),
        "float": blank.astype(float),
        "half": blank + 0.5,
        "inf": np.where(blank == 0, np.inf, blank),
        "mixed": mixed,
        "short": blank[:-1],
        "long": np.r_[blank, 0],
        "column": blank[:, None],
        "wide": np.stack([blank, blank], 1),
        "none": None,
        "dates": blank.astype("datetime64[D]"),
        "negative": blank - 3,
        "category": pd.Series(names).astype("category"),
        "nested": [[v] for v in blank.tolist()],
    }[form]


@st.composite
def graphs(draw, n):
    a = np.triu(np.random.default_rng(draw(st.integers(0, 5))).random((n, n)) < 0.4, 1)
    good = (a + a.T).astype(float)
    bent = good.copy()
    bent[0, -1] = draw(st.sampled_from([np.nan, np.inf, -0.5, 1.5, 0.3]))
    return draw(
        st.sampled_from(
            [
                None,
                None,
                None,
                good,
                good * 0.5,
                sp.csr_matrix(good),
                sp.coo_array(good),
                good.astype(bool),
                good.astype(int).tolist(),
                bent,
                bent + bent.T,
                good[:-1],
                good[0],
                np.triu(good),
                good.astype(object),
                good.astype(str),
                good.astype(complex),
                "graph",
                3,
                sp.csr_array((n, n)),
                good + np.eye(n),
            ]
        )
    )


@st.composite
def roles(draw, n):
    def rows():
        return draw(
            st.sampled_from(
                [
                    None,
                    [0],
                    [0, 1],
                    [2, 3],
                    np.array([4, 5]),
                    [n],
                    [-1],
                    [],
                    [0.0],
                    [[0]],
                    "all",
                    3,
                    np.arange(n) < 3,
                    np.arange(n + 1) < 3,
                    np.arange(n) >= n - 3,
                    [True],
                    [None],
                ]
            )
        )

    return {} if draw(st.booleans()) else {"validation": rows(), "stopping": rows()}


def fuzz_classifier(data):
    odd = data.draw(some_of(["size", "x", "y", "graph", "roles", "options", "new"]))
    n = data.draw(st.integers(1, 14) if "size" in odd else st.integers(9, 14))
    rng = np.random.default_rng(data.draw(st.integers(0, 5)))
    x = data.draw(features(n)) if "x" in odd else rng.standard_normal((n, 2))
    y = data.draw(targets(n)) if "y" in odd else np.where(np.arange(n) < 8, np.arange(n) % 2, -1)
    fit = {}
    if "graph" in odd:
        fit["adjacency"] = data.draw(graphs(n))
    if "roles" in odd:
        fit |= data.draw(roles(n))
    given_options = data.draw(short(odd))
    kind = CLASSIFIERS.get(given_options.pop("method"), CLASSIFIERS["default"])
    fitted = ends_well(lambda: kind(**given_options, random_state=0).fit(x, y, **fit))
    event("fitted" if fitted is not None else "refused")
    if fitted is not None:
        assert fitted.transduction_.shape == (n,)
        assert np.isfinite(fitted.label_distributions_).all()
        new = data.draw(features(3)) if "new" in odd else rng.standard_normal((3, 2))
        found = ends_well(lambda: fitted.predict_proba(new))
        assert found is None or np.isfinite(found).all()


@st.composite
def data_objects(draw, odd):
    n = draw(st.integers(1, 14) if "size" in odd else st.integers(8, 14))
    rng = np.random.default_rng(draw(st.integers(0, 5)))
    x = torch.from_numpy(rng.standard_normal((n, 2)))
    y = torch.arange(n) // 2 % 2
    train, val = torch.arange(n) % 2 == 0, torch.arange(n) % 2 == 1
    near = torch.arange(n - 1)
    path = torch.cat([torch.stack([near, near + 1]), torch.stack([near + 1, near])], 1)
    ones = torch.ones(path.shape[1])
    nan = x.clone()
    nan[0] = torch.nan
    fit = {"x": x, "y": y, "train_mask": train, "val_mask": val, "edge_index": path}
    unfit = {
        "x": [
            x.float(),
            x.half(),
            x.int(),
            x[:, 0],
            x[:, :0],
            x[:0],
            nan,
            x / 0,
            x.to_sparse(),
            x.to_sparse_csr(),
            x.numpy(),
            None,
            x.to(torch.cfloat),
        ],
        "y": [
            y.float(),
            y[:, None],
            y - 1,
            y[:-1],
            y.bool(),
            y.int(),
            y * 0,
            y.tolist(),
            None,
            y[:, None].expand(n, 2),
            y * 7,
        ],
        "train_mask": [
            val,
            ~train & ~val,
            train.int(),
            train[:-1],
            None,
            train[:, None],
            torch.arange(n) == 0,
        ],
        "val_mask": [train, ~train & ~val, val.int(), val[:-1], None, torch.arange(n) == 1],
        "edge_index": [
            None,
            path[:, : n - 1],
            path + n,
            path - 1,
            path.float(),
            path.T,
            path[:, :0],
            path.int(),
            path[0],
            path.tolist(),
        ],
        "edge_weight": [
            ones,
            0.3 * ones,
            ones[:1],
            torch.nan * ones,
            2 * ones,
            ones[:, None],
            ones.int(),
            ones.tolist(),
        ],
    }
    fields = fit | {name: draw(st.sampled_from(unfit[name])) for name in unfit if name in odd}
    return Data(**{name: value for name, value in fields.items() if value is not None})


def fuzz_pyg(data):
    parts = ["size", "x", "y", "train_mask", "val_mask", "edge_index", "edge_weight", "options"]
    odd = data.draw(some_of(parts))
    graph = data.draw(data_objects(odd))
    given_options = data.draw(short(odd))
    learned = ends_well(lambda: learn_structure(graph, **given_options, seed=0))
    event("fitted" if learned is not None else "refused")
    if learned is not None:
        assert bool(learned.probabilities.isfinite().all())
        rule = data.draw(
            st.sampled_from(
                [
                    {},
                    {"threshold": 0.1},
                    {"threshold": 2},
                    {"top_k": 2},
                    {"top_k": 0},
                    {"n_edges": 3},
                    {"n_edges": "x"},
                    {"top_k": 1, "n_edges": 1},
                    {"threshold": None},
                ]
            )
        )
        ends_well(lambda: learned.to_data(**rule))


@pytest.mark.ci
@given(st.data())
@settings(max_examples=CASES, **OPEN)
def test_classifier(data):
    fuzz_classifier(data)


@pytest.mark.ci
@given(st.data())
@settings(max_examples=CASES, **OPEN)
def test_data_objects(data):
    fuzz_pyg(data)


@pytest.mark.slow
@given(st.data())
@settings(max_examples=MANY, **OPEN)
def test_classifier_at_length(data):
    fuzz_classifier(data)


@pytest.mark.slow
@given(st.data())
@settings(max_examples=MANY, **OPEN)
def test_data_objects_at_length(data):
    fuzz_pyg(data)
