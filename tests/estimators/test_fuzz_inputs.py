"""Labels, adjacencies and data objects of any kind are read, or refused with a sentence: no fits.

What is read is as documented: codes number the classes in order, graphs are symmetric with entries
in (0, 1] and no loops, roles are disjoint and labelled.
"""

import datetime as dt
import warnings
from decimal import Decimal

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from hypothesis import event, given, settings
from hypothesis import strategies as st
from torch_geometric.data import Data, HeteroData

from lds._labels import encode_labels
from lds.datasets.labels import encode_column
from lds.estimators.graph_input import graph_input
from lds.graphs.interop import as_adjacency
from lds.structure.methods.committee import Committee
from lds.structure.methods.thesis import Thesis
from tests.endings import OPEN, ends_well

CASES, MANY = 150, 3000

# Labels

BLANK = [
    None,
    np.nan,
    pd.NA,
    pd.NaT,
    -1,
    -1.0,
    np.float32("nan"),
    Decimal("NaN"),
    Decimal("sNaN"),
    np.datetime64("NaT"),
    Decimal(-1),
    np.int8(-1),
]
MARKS = ["", "-1", "?", "nan", "None", "NA", " ", "-", "unknown", "\u200b"]
CLASSES = [
    ["a", "b"],
    [0, 1],
    [1, 2, 3],
    [-1, 1],
    [True, False],
    ["Yes", "yes", "YES "],
    [1, 1.0, 2],
    [1.5, 2.5],
    [2**70, 1],
    [np.int64(3), np.uint8(1)],
    ["1", 1],
    [b"x", b"y"],
    [b"\xff", b"z"],
    [1j, 2],
    [Decimal(1), Decimal(2)],
    [Decimal("1.5"), 1],
    [(1,), (2,)],
    [[0], [1]],
    [np.zeros(2), 1],
    [{}, 1],
    [dt.date(2020, 1, 1), dt.date(2021, 1, 1)],
    ["+", "-"],
    ["1.0", "1"],
    ["1.5", "2.5"],
    ["inf", "1"],
    [np.inf, 1],
    [np.str_("a"), "b"],
    ["\ud800", "x"],
    [np.bool_(True), False],
    ["a"],
    [len, int],
    [2**63, 2],
    [0, 10**6],
    [-5, -7],
]


def _objects(values):
    made = np.empty(len(values), dtype=object)
    for place, value in enumerate(values):
        made[place] = value
    return made


CONTAINERS = {
    "list": list,
    "tuple": tuple,
    "objects": _objects,
    "series": pd.Series,
    "array": np.array,
    "frame": lambda v: pd.DataFrame({"y": v}),
    "index": pd.Index,
    "wide": lambda v: np.stack([_objects(v)] * 2, 1),
    "column": lambda v: _objects(v)[:, None],
    "category": pd.Categorical,
    "tensor": lambda v: torch.tensor(v),
    "generator": iter,
    "string": lambda v: pd.Series(v, dtype="string"),
    "Int64": lambda v: pd.array(v, dtype="Int64"),
    "floats": lambda v: np.array(v, dtype=float),
    "text": lambda v: np.array(list(map(str, v))),
    "masked": lambda v: np.ma.array(np.array(v), mask=np.arange(len(v)) % 3 == 0),
    "dict": lambda v: dict(enumerate(v)),
    "set": set,
    "sparse": lambda v: sp.csr_array([v]),
    "dates": lambda v: pd.to_datetime(v),
    "half": lambda v: np.array(v, dtype=np.float16),
}


PLAIN = ["list", "objects", "series", "array"]


def made_by(container, values):
    """The values in a container, or in a list where it cannot hold them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return CONTAINERS[container](values)
        except Exception:
            return values


@st.composite
def label_columns(draw):
    n = draw(st.sampled_from([12, 12, 30, 30, 5, 3, 0]))
    rng = np.random.default_rng(draw(st.integers(0, 20)))
    names = draw(st.sampled_from([*CLASSES[:3] * 6, *CLASSES]))
    if draw(st.integers(0, 9)) == 0:
        names = rng.standard_normal(n).tolist() or [0.5]
    values = [names[k] for k in rng.integers(0, len(names), n)]
    for pool in draw(st.sampled_from([(), (BLANK,), (BLANK,), (BLANK,), (MARKS,)])):
        mark, share = draw(st.sampled_from(pool)), draw(st.sampled_from([0.1, 0.2, 0.4, 1.0]))
        values = [mark if rng.random() < share else value for value in values]
    return n, values, made_by(draw(st.sampled_from([*PLAIN * 4, *sorted(CONTAINERS)])), values)


def fuzz_labels(data):
    n, values, y = data.draw(label_columns())
    found = ends_well(lambda: encode_labels(y, n))
    event("read" if found is not None else "refused")
    if found is not None:
        codes, classes = found
        assert codes.shape == (n,)
        assert set(codes.tolist()) - {-1} == set(range(len(classes)))
        assert (classes[:-1] < classes[1:]).all()
    in_file = ends_well(lambda: encode_column(_objects(values), "y"))
    if in_file is not None:
        assert set(in_file[0].tolist()) - {-1} == set(range(len(in_file[1])))


# Adjacencies


@st.composite
def adjacencies(draw):
    n = draw(st.sampled_from([6, 6, 6, 3, 2, 1, 0]))
    rng = np.random.default_rng(draw(st.integers(0, 30)))
    a = np.triu(rng.random((n, n)) < 0.5, 1).astype(float)
    kind = draw(
        st.sampled_from(
            [
                "both",
                "both",
                "one way",
                "loops",
                "weights",
                "conflict",
                "large",
                "negative",
                "nan",
                "inf",
                "tiny",
                "empty",
                "beyond",
                "short",
            ]
        )
    )
    a = {
        "both": a + a.T,
        "one way": a,
        "loops": a + a.T + np.eye(n),
        "weights": (a + a.T) * 0.3,
        "conflict": a + 0.5 * a.T,
        "large": 1e300 * (a + a.T),
        "negative": a - 0.5 * a.T,
        "nan": np.where(a > 0, np.nan, 0),
        "inf": np.where(a > 0, np.inf, 0),
        "tiny": a * 1e-320,
        "empty": 0 * a,
        "beyond": np.pad(a, (0, 2), constant_values=1),
        "short": a[:-1],
    }[kind]
    square = a.shape[:1] == a.shape[1:]
    row, col = np.nonzero(a)
    forms = {
        "array": lambda: a,
        "float32": lambda: a.astype(np.float32),
        "list": a.tolist,
        "int": lambda: np.nan_to_num(a).clip(-9, 9).astype(int),
        "bool": lambda: a > 0,
        "object": lambda: a.astype(object),
        "text": lambda: a.astype(str),
        "complex": lambda: a + 0j,
        "csr": lambda: sp.csr_matrix(a),
        "coo": lambda: sp.coo_array(a),
        "lil": lambda: sp.lil_array(a),
        "dia": lambda: sp.dia_array(a),
        "twice": lambda: sp.coo_array(
            (np.r_[a[row, col], a[row, col]], (np.r_[row, row], np.r_[col, col])), a.shape
        ),
        "matrix": lambda: np.asmatrix(a),
        "frame": lambda: pd.DataFrame(a),
        "tensor": lambda: torch.tensor(a),
        "half": lambda: torch.tensor(a).half(),
        "sparse tensor": lambda: torch.tensor(a).to_sparse(),
        "csr tensor": lambda: torch.tensor(a).to_sparse_csr(),
        "cfloat": lambda: torch.tensor(a).to(torch.cfloat),
        "grad": lambda: torch.ones(n, n, requires_grad=True),
        "nx": lambda: nx.from_numpy_array(a, create_using=nx.DiGraph if square else None),
        "nx names": lambda: nx.relabel_nodes(nx.from_numpy_array(a), str),
        "multi": lambda: nx.MultiGraph([(0, 1), (0, 1), (1, 0)]),
        "nx text": lambda: nx.Graph([(0, 1, {"weight": "x"})]),
        "nx part": lambda: nx.path_graph(3),
        "index": lambda: np.stack([row, col]),
        "index tensor": lambda: torch.tensor(np.stack([row, col])),
        "turned": lambda: np.stack([row, col], 1),
        "index below": lambda: np.stack([row, col]) - 1,
        "index floats": lambda: np.stack([row, col]).astype(float),
        "flat": lambda: a.ravel(),
        "cube": lambda: a[None],
        "word": lambda: "graph",
        "number": lambda: 3.0,
        "set": lambda: {1, 2},
        "ragged": lambda: [[1.0], [1.0, 2.0]],
        "dict": lambda: {0: [1]},
        "masked": lambda: np.ma.masked_less(a, 0.4),
        "uint64": lambda: np.full((2, 3), 2**63, dtype=np.uint64),
        "1d sparse": lambda: sp.coo_array(a.ravel()),
        "datetime": lambda: np.zeros((n, n), "M8[D]"),
    }
    names = sorted(forms) if square else [f for f in sorted(forms) if not f.startswith("nx")]
    form = forms[draw(st.sampled_from(names))]
    with warnings.catch_warnings(), np.errstate(over="ignore"):
        warnings.simplefilter("ignore", PendingDeprecationWarning)  # of numpy.matrix
        return n, form()


WEIGHTS = [None, None, None, "given", "scale", "ignore", "other", 1]


def assert_graph(graph, n):
    assert graph.shape == (n, n)
    assert (graph != graph.T).nnz == 0
    assert not graph.diagonal().any()
    assert ((graph.data > 0) & (graph.data <= 1)).all()


def fuzz_adjacency(data):
    n, graph = data.draw(adjacencies())
    weights = data.draw(st.sampled_from(WEIGHTS))
    found = ends_well(lambda: as_adjacency(graph, n, weights=weights))
    event("read" if found is not None else "refused")
    if found is not None:
        assert_graph(found, n)


# Data objects


def _unfit(n, x, y, path, mask):
    """For each field what it may be besides fit."""
    nan = torch.full((path.shape[1],), torch.nan)
    ones, ramp = torch.ones(path.shape[1]), torch.arange(path.shape[1]).float()
    numbers = torch.arange(n)
    holes = y.double().masked_fill(numbers > n - 3, torch.nan)
    return {
        "x": [
            x.float(),
            x.bfloat16(),
            x.int(),
            x > 0,
            x[:, 0],
            x[:, :0],
            x[:0],
            x * torch.nan,
            x / 0,
            x * 1e300,
            x.to_sparse(),
            x.to_sparse_csr(),
            x.numpy(),
            None,
            x.to(torch.cfloat),
            x * 0,
            x[:, :1] * 0 + 3,
            x[None],
            "x",
            x.requires_grad_(),
        ],
        "y": [
            y.float(),
            y + 0.5,
            y[:, None],
            y - 1,
            y[:-1],
            y.bool(),
            y * 0,
            y.tolist(),
            None,
            holes,
            y[:, None].expand(n, 2),
            y * 10**6,
            -y - 2,
            y.double() / 0,
            y.to(torch.cfloat),
            torch.nn.functional.one_hot(y),
            "y",
            y.to_sparse(),
            torch.tensor(1),
            y.half(),
        ],
        "train_mask": [
            ~mask,
            ~mask & mask,
            mask.int(),
            mask[:-1],
            None,
            mask[:, None],
            numbers[:4],
            numbers - 1,
            mask[:, None].expand(n, 3),
            mask.float(),
            numbers[[0, 0]],
            mask | True,
            mask.to_sparse(),
            mask.numpy(),
            "mask",
            numbers == 0,
        ],
        "val_mask": [
            mask,
            ~mask & mask,
            None,
            None,
            (~mask).int(),
            numbers[1::2],
            numbers == 1,
            (~mask)[:, None].expand(n, 3),
            (~mask)[:, None],
            numbers + n,
            mask.tolist(),
        ],
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
            path[:, :2].repeat(1, 2),
            path[:, :1] * 0,
            path.flip(0),
            path.repeat(1, 3),
            torch.stack([numbers, numbers]),
            path.numpy(),
            torch.zeros(2, 0),
            path[:, :1].reshape(-1),
            path.to_sparse(),
        ],
        "edge_weight": [
            ones,
            0.3 * ones,
            ones[:1],
            nan,
            3 * ones,
            ramp,
            -ones,
            ones[:, None],
            ones.int(),
            ones.tolist(),
            ones.half(),
            1e30 * ramp,
            ones * 0,
            1j * ones,
            ones.bool(),
            ones / 0,
            ones.to_sparse(),
            "w",
        ],
        "edge_attr": [
            ramp[:, None],
            ramp,
            ramp[:, None].expand(-1, 3),
            ["a"] * len(ramp),
            ramp[:2],
            ramp.long(),
            ramp.to_sparse(),
            nan[:, None],
            ramp.to(torch.cfloat),
            torch.zeros(len(ramp), 0),
        ],
        "adj_t": [
            torch.eye(n),
            torch.eye(n).to_sparse(),
            torch.ones(n, n).to_sparse_csr(),
            torch.ones(n, n + 1),
            "adj",
        ],
        "num_nodes": [n, n + 1, 0, None],
    }


@st.composite
def data_objects(draw):
    n = draw(st.sampled_from([12, 12, 12, 9, 4, 2, 1]))
    x = torch.from_numpy(np.random.default_rng(draw(st.integers(0, 5))).standard_normal((n, 2)))
    y, mask, near = torch.arange(n) // 2 % 2, torch.arange(n) % 2 == 0, torch.arange(n - 1)
    path = torch.cat([torch.stack([near, near + 1]), torch.stack([near + 1, near])], 1)
    fields = {"x": x, "y": y, "train_mask": mask, "val_mask": ~mask, "edge_index": path}
    with np.errstate(all="ignore"):
        unfit = _unfit(n, x, y, path, mask)
    for name in draw(st.lists(st.sampled_from(sorted(unfit)), max_size=3, unique=True)):
        fields[name] = draw(st.sampled_from(unfit[name]))
    kind = draw(
        st.sampled_from(
            ["data"] * 12 + ["hetero", "list", "none", "dict", "tuple", "nx", "nx odd", "x"]
        )
    )
    if kind in ("hetero", "none", "nx", "nx odd", "x"):
        ring = nx.cycle_graph(n)
        odd = draw(st.sampled_from([None, "a", 0.5, [1], True, float("nan")]))
        for node in ring:
            ring.nodes[node].update(x=[1.0 * node], y=node % 2, train_mask=node < 8)
        if n:
            ring.nodes[0].update({draw(st.sampled_from(["x", "y", "train_mask"])): odd})
        plain = nx.cycle_graph(n)
        return {"hetero": HeteroData(), "none": None, "x": x, "nx": plain, "nx odd": ring}[kind]
    graph = Data(**{name: value for name, value in fields.items() if value is not None})
    return {"data": graph, "list": [graph], "dict": fields, "tuple": (graph, graph)}[kind]


SPLITS = [None] * 8 + [
    0,
    2,
    5,
    -1,
    True,
    "train",
    1.5,
    {"train": [0, 1, 2, 3], "valid": [4, 5, 6]},
    {"train": [0]},
    {},
    {"train": "x"},
    {"train": [0.5, 1]},
    {"train": torch.arange(4).to_sparse()},
    {"train": torch.arange(4), "val": torch.arange(4, 8)},
    {"train": None},
]


def fuzz_data_objects(data):
    graph, split = data.draw(data_objects()), data.draw(st.sampled_from(SPLITS))
    weights = data.draw(st.sampled_from(WEIGHTS))
    method = data.draw(st.sampled_from([Committee(), Thesis()]))
    found = ends_well(lambda: graph_input(graph, method, 0, split, weights))
    event("read" if found is not None else "refused")
    if found is None:
        return
    problem = found.problem
    n = len(problem.labels)
    if problem.graph is not None:
        assert_graph(problem.graph, n)
    assert problem.features.shape[0] == n
    split = problem.split
    roles = np.concatenate([split.train, split.validation, split.stopping])
    assert np.array_equal(np.sort(roles), np.flatnonzero(problem.labels >= 0))
    assert set(problem.labels[roles].tolist()) == set(range(len(found.classes)))


FUZZES = [fuzz_labels, fuzz_adjacency, fuzz_data_objects]


@pytest.mark.ci
@pytest.mark.parametrize("fuzz", FUZZES)
def test_what_is_given_is_read_or_refused(fuzz):
    settings(max_examples=CASES, **OPEN)(given(st.data())(fuzz))()


@pytest.mark.slow
@pytest.mark.parametrize("fuzz", FUZZES)
def test_at_length(fuzz):
    settings(max_examples=MANY, **OPEN)(given(st.data())(fuzz))()
