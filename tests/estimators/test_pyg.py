"""learn_structure: the PyTorch Geometric face."""

import copy

import numpy as np
import pytest
import torch
from torch_geometric.data import Batch, Data
from torch_geometric.nn import GCNConv
from torch_geometric.transforms import Compose, NormalizeFeatures
from torch_geometric.utils import is_undirected

from lds import LearnStructure, learn_structure
from lds.estimators.data_object import without_edges
from lds.estimators.pyg import LearnedStructure
from tests.estimators.options import SHORT, THESIS_ONLY

QUICK = {"n_neighbors": 4, "max_inner": 20, "max_iter": 3}
METHODS = list(SHORT)


def blobs(n=90, **fields):
    rng = np.random.default_rng(0)
    y = np.arange(n) % 3
    x = rng.standard_normal((n, 4)) + 5 * np.eye(4)[y]
    train, val = torch.zeros(n, dtype=torch.bool), torch.zeros(n, dtype=torch.bool)
    train[:15], val[15:45] = True, True
    base = {
        "x": torch.tensor(x).float(),
        "y": torch.tensor(y),
        "train_mask": train,
        "val_mask": val,
    }
    return Data(**{**base, **fields})


def short(data, method="default", **options):
    """A learned structure, with a short refit."""
    return learn_structure(data, method=method, **SHORT[method] | options)


@pytest.fixture(scope="module", params=METHODS)
def learned(request):
    return short(blobs(), request.param, **QUICK)


def test_a_graph_is_learned_without_one(learned):
    data = learned.data
    assert (learned.predictions == data.y)[45:].float().mean() >= 0.95
    assert learned.edge_probs.shape == (learned.edge_index.shape[1],)
    assert learned.edge_probs.min() > 1e-4
    assert learned.edge_probs.max() <= 1
    assert is_undirected(learned.edge_index, learned.edge_probs, num_nodes=90)
    torch.testing.assert_close(learned.probabilities.sum(1), torch.ones(90))
    assert len(learned.history) == 3 + (learned.learned.method.name == "default")


def test_to_data_keeps_edges_above_the_threshold_and_the_original(learned):
    data = learned.data
    better = learned.to_data(threshold=0.9)
    strong = learned.edge_probs >= 0.9
    assert torch.equal(better.edge_index, learned.edge_index[:, strong])
    assert torch.equal(better.edge_weight, learned.edge_probs[strong])
    assert torch.equal(better.x, data.x)
    assert "edge_weight" not in data
    with pytest.raises(ValueError, match=r"threshold .* in \(0, 1\], got 0"):
        learned.to_data(threshold=0)


def test_samples_follow_the_distribution(learned):
    dense = torch.from_numpy(learned.learned.edges.to_csr().toarray()).double()
    draws = [learned.sample(seed) for seed in range(200)]
    assert torch.equal(draws[3], learned.sample(3))
    assert all(is_undirected(draw, num_nodes=90) for draw in draws)
    counts = torch.tensor([draw.shape[1] for draw in draws]).double() / 2
    expected, variance = dense.sum() / 2, (dense * (1 - dense)).sum() / 2
    assert abs(counts.mean() - expected) <= 4 * (variance / 200).sqrt() + 1e-9


def test_a_loaded_run_draws_the_graphs_that_it_drew_before(learned, tmp_path):
    learned.save(tmp_path / "run")
    loaded = LearnedStructure.load(tmp_path / "run", learned.data)
    assert torch.equal(loaded.sample(3), learned.sample(3))
    one, other = (each.edge_marginals(20).counts for each in (learned, loaded))
    assert (one != other).nnz == 0
    listed = set(map(tuple, learned.edge_index.T.tolist()))
    assert set(zip(*one.nonzero(), strict=True)) <= listed


def test_a_copy_is_the_same(learned):
    graph, new = learned.sample(3), learned.data.x[:5] + 0.5
    says = learned.predict_proba(new)
    other = copy.deepcopy(learned)
    assert torch.equal(other.sample(3), graph)
    assert torch.equal(other.predict_proba(new), says)
    assert torch.equal(other.probabilities, learned.probabilities)


def test_without_a_seed_every_sample_is_new_and_follows_torchs_state():
    row, col = torch.triu_indices(90, 90, 1)
    index = torch.stack([torch.cat([row, col]), torch.cat([col, row])])
    data = blobs(edge_index=index, edge_weight=torch.full((index.shape[1],), 0.5))
    learned = short(data, outer_lr=1e-30, max_inner=5, max_iter=1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        first, second = learned.sample(), learned.sample()
        torch.manual_seed(0)
        assert torch.equal(learned.sample(), first)
    assert not torch.equal(first, second)


def test_attributes_of_the_former_edges_do_not_outlive_them():
    index = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
    data = blobs(edge_index=index, edge_attr=torch.ones(4, 2), pos=torch.zeros(90, 3))
    with pytest.warns(UserWarning, match="data.edge_attr has 2 columns"):
        better = short(data, max_inner=10, max_iter=1).to_data()
    assert "edge_attr" not in better
    assert torch.equal(better.pos, data.pos)
    assert better.validate()
    assert torch.equal(data.edge_index, index)
    assert "edge_attr" in data


def test_fields_that_may_be_of_edges_are_named_and_those_of_edges_are_gone():
    index = torch.arange(90).repeat(2, 1)
    more = {"e_id": torch.arange(90), "weight": torch.ones(90), "edge_type": torch.ones(90)}
    data = blobs(edge_index=index, adj=torch.eye(90), **more)
    with pytest.warns(UserWarning, match="edge_index, 90: weight may be of either, and is kept"):
        new = without_edges(data, 90)
    assert {*new.keys()} == {"x", "y", "train_mask", "val_mask", "weight"}
    assert "e_id" in data


def test_a_batch_is_one_graph_and_its_learned_graph_is_no_batch():
    index = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
    parts = [blobs(n, edge_index=index, edge_attr=torch.ones(4, 2)) for n in (60, 90)]
    batch = Batch.from_data_list(parts)
    with (
        pytest.warns(UserWarning, match="data is a Batch of 2 graphs and is taken as one graph"),
        pytest.warns(UserWarning, match="edge_attr has 2 columns"),
    ):
        found = short(batch, max_inner=10, max_iter=1)
    new = found.to_data()
    assert type(new) is Data
    assert new.validate()
    assert torch.equal(new.batch, batch.batch)
    assert {"edge_attr"} & {*new.keys()} == set()
    again = Batch.from_data_list([new, new]).to_data_list()  # what PyG keeps of edges is new
    assert all(torch.equal(one.edge_index, new.edge_index) for one in again)


@pytest.mark.parametrize("layout", ["to_sparse_coo", "to_sparse_csr"])
@pytest.mark.parametrize("method", METHODS)
def test_sparse_features_give_what_dense_ones_give(layout, method):
    data = blobs()
    few = torch.where(data.x > 3, data.x, 0) + torch.eye(4)[data.y]  # about a third is not 0
    if method == "default":  # it takes sparse features without negative ones for words
        few = -few
    dense = short(blobs(x=few), method, **QUICK)
    sparse = short(blobs(x=getattr(few, layout)()), method, **QUICK)
    assert torch.equal(sparse.predictions, dense.predictions)


def test_a_metric_for_dense_features_takes_dense_features_of_zeros_mostly():
    x = torch.eye(90)[:, :20] + torch.eye(90)[:, 20:40] / 2
    learned = short(blobs(x=x), metric="chebyshev", max_inner=5, max_iter=1)
    assert learned.predictions.shape == (90,)


@pytest.mark.ci
def test_a_given_graph_starts_the_probabilities_of_the_thesiss_method():
    y = torch.arange(90) % 3
    row, col = torch.nonzero(y[:, None] == y[None, :]).T
    index = torch.stack([row, col])[:, row != col]
    noise = torch.randn(90, 4, generator=torch.Generator().manual_seed(0))
    weight = torch.full((index.shape[1],), 0.5)
    data = blobs(x=noise, edge_index=index, edge_weight=weight)
    learned = learn_structure(data, method="thesis", outer_lr=1e-30, max_inner=150, max_iter=3)
    assert torch.equal(learned.edge_index, index)
    assert torch.equal(learned.edge_probs, weight)
    assert (learned.predictions == data.y).float().mean() >= 0.9


def test_a_committee_starts_from_a_given_graph_and_near_neighbours():
    index = torch.tensor([[0, 40], [40, 0]])  # two classes: no neighbours
    data = blobs(edge_index=index, edge_weight=torch.full((2,), 0.7))
    learned = short(data, **QUICK, update_edges=False, agreement=0.0)
    found = learned.learned.edges.to_csr()
    assert found[0, 40] == pytest.approx(0.7, rel=1e-6)
    assert found.nnz > 2
    alone = short(blobs(), **QUICK, update_edges=False, agreement=0.0)
    near = alone.learned.edges.to_csr().toarray()
    near[0, 40] = near[40, 0] = found[0, 40]
    assert ((near > 0) == (found.toarray() > 0)).all()
    assert (near >= found.toarray()).all(), "beside a graph, neighbours start lower"


@pytest.mark.ci
def test_labels_outside_the_masks_are_not_read(learned):
    data, method = blobs(), learned.learned.method.name
    for other in (0, 9, -1):
        hidden = blobs(y=torch.where(data.train_mask | data.val_mask, data.y, other))
        found = short(hidden, method, **QUICK)
        assert torch.equal(found.probabilities, learned.probabilities)


NONE = torch.zeros(90, dtype=torch.bool)
PAIR = torch.tensor([[0, 1], [1, 0]])
HALVES = torch.full((2,), 0.5)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": np.ones((90, 4))}, TypeError, "data.x must be a tensor, got ndarray"),
        ({"x": torch.ones(90)}, ValueError, r"data.x must be \(n_nodes, n_features\), .*view"),
        (
            {"x": torch.full((90, 4), float("nan"))},
            ValueError,
            "nan at node 0, column 0; impute",
        ),
        (
            {"x": torch.eye(90) / 0},
            ValueError,
            "got inf at node 0, column 0",
        ),
        ({"x": torch.eye(90).double() * 1e99}, ValueError, "must fit float32, got 1e.99 at node 0"),
        ({"x": torch.eye(90).cfloat()}, TypeError, "real numbers, got torch.complex64"),
        ({"y": None}, ValueError, "data must have y, the classes of its nodes"),
        ({"y": list("abc") * 30}, TypeError, "data.y must be a tensor, got list"),
        ({"y": torch.rand(90)}, ValueError, "the numbers of classes, got 0.* at node 0"),
        ({"y": torch.rand(90).cfloat()}, TypeError, "the numbers of classes, got torch.complex64"),
        ({"y": torch.eye(90)[:, :3]}, ValueError, r"got \(90, 3\); several labels a node"),
        (
            {"y": torch.eye(3).repeat(30, 1)},
            ValueError,
            r"got \(90, 3\); data.y.argmax\(1",
        ),
        (
            {"y": torch.ones(80).long()},
            ValueError,
            r"\(90,\) as data.x has rows, got \(80,\)$",
        ),
        ({"y": torch.ones(90).long()}, ValueError, "at least two classes .* got only 1"),
        ({"y": torch.arange(90) % 3 - 1}, ValueError, "label .* data.train_mask, got -1 at node 0"),
        ({"y": torch.arange(90) * torch.nan}, ValueError, "data.train_mask, got nan at node 0"),
        ({"train_mask": torch.ones(90)}, ValueError, "data.train_mask must be boolean .*float32"),
        ({"train_mask": ~NONE[:80]}, ValueError, r"must be boolean of shape \(90,\).* \(80,\)"),
        ({"train_mask": torch.ones(80).int()}, ValueError, r"must be boolean .* got .*\(80,\)"),
        ({"train_mask": torch.tensor([3, 3])}, ValueError, "got node 3 more than once"),
        ({"train_mask": torch.tensor([3, 90])}, ValueError, "got node 90 of 0 to 89"),
        ({"train_mask": torch.tensor([-1, 9])}, ValueError, "got node -1 of 0 to 89"),
        ({"train_mask": NONE}, ValueError, "data.train_mask must have at least one node"),
        (
            {"val_mask": torch.arange(90) == 50},
            ValueError,
            "at least two nodes, .* got 1",
        ),
        ({"val_mask": ~NONE}, ValueError, "must not share nodes, got node 0 in both"),
        (
            {"edge_index": PAIR * 95},
            ValueError,
            "from 0 to 89, got 95 in column 0",
        ),
        (
            {"edge_index": PAIR.float()},
            TypeError,
            "edge_index must hold integers, got float32",
        ),
        ({"edge_index": torch.ones(9, 2).long()}, ValueError, r"got \(9, 2\); its transpose"),
        ({"edge_index": PAIR.tolist()}, TypeError, "data.edge_index must be a tensor, got list"),
        ({"edge_index": PAIR, "edge_weight": -HALVES}, ValueError, r"-0.5 at edge \(0, 1\)"),
        ({"edge_index": PAIR, "edge_weight": HALVES / 0}, ValueError, r"inf at edge \(0, 1\)"),
        ({"edge_index": PAIR, "edge_weight": HALVES[:1]}, ValueError, "one entry a column"),
        (
            {"adj_t": torch.eye(80).to_sparse()},
            ValueError,
            r"adj_t must have shape \(90, 90\)",
        ),
    ],
)
def test_bad_data_is_refused(change, error, message):
    with pytest.raises(error, match=message):
        learn_structure(blobs(**change), **QUICK)


@pytest.mark.parametrize("option", THESIS_ONLY, ids=str)
def test_an_option_of_the_thesiss_method_alone_names_the_way_out(option):
    (name,) = option
    way = f"^the method 'default' has no option '{name}'; method 'thesis' has it$"
    with pytest.raises(TypeError, match=way):
        learn_structure(blobs(), **option)
    with pytest.raises(TypeError, match=way):
        LearnStructure(**option)


def test_an_unknown_option_or_method_is_refused():
    with pytest.raises(TypeError, match=r"no option 'n_neighbours'; there are .*n_neighbors"):
        learn_structure(blobs(), n_neighbours=3)
    with pytest.raises(ValueError, match=r"method must be one of .*'views', got 'magic'"):
        learn_structure(blobs(), method="magic")


def test_uncertainty_and_marginals_of_a_learned_structure(learned):
    p = learned.probabilities.double()
    torch.testing.assert_close(
        learned.entropy.double(), -(p * p.log()).sum(1), rtol=1e-4, atol=1e-6
    )
    assert bool((learned.mutual_information <= learned.entropy + 1e-6).all())
    found = learned.edge_marginals(n_draws=50)
    assert found.n_draws == 50
    assert found.counts.max() == 50


def test_a_fixed_number_of_edges_and_top_k(learned):
    assert learned.to_data(n_edges=40).edge_index.shape == (2, 80)
    top = learned.to_data(top_k=2)
    degree = torch.bincount(top.edge_index[0], minlength=90)
    assert int(degree[degree > 0].min()) >= 1
    assert int(degree.sum()) <= 2 * 2 * 90


class Stock(torch.nn.Module):
    """The two-layer GCN of PyG's own introduction."""

    def __init__(self, n_features, n_classes):
        super().__init__()
        self.first = GCNConv(n_features, 16)
        self.second = GCNConv(16, n_classes)

    def forward(self, data):
        x = self.first(data.x, data.edge_index, data.edge_weight).relu()
        x = torch.nn.functional.dropout(x, training=self.training)
        return self.second(x, data.edge_index, data.edge_weight)


def train_stock(data):
    torch.manual_seed(0)
    model = Stock(data.num_features, 3)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=5e-4)
    for _ in range(100):
        model.train()
        optimizer.zero_grad()
        logits = model(data)
        loss = torch.nn.functional.cross_entropy(logits[data.train_mask], data.y[data.train_mask])
        loss.backward()
        optimizer.step()
    model.eval()
    test = ~(data.train_mask | data.val_mask)
    return float((model(data).argmax(1) == data.y)[test].float().mean())


@pytest.mark.ci
def test_a_stock_training_loop_on_a_learned_graph():
    data = blobs()
    transform = Compose([NormalizeFeatures(), LearnStructure(**QUICK, refit_steps=4)])
    new = transform(data)
    assert data.edge_index is None, "the data object is not changed"
    assert new.edge_index.dtype == torch.int64
    assert new.edge_weight.dtype == torch.float32
    assert bool(((new.edge_weight >= 0.5) & (new.edge_weight <= 1)).all())
    assert is_undirected(new.edge_index, new.edge_weight)
    assert new.validate()
    learned = short(NormalizeFeatures()(copy.copy(data)), **QUICK)
    expected = learned.to_data()
    assert torch.equal(new.edge_index, expected.edge_index)
    assert torch.equal(new.edge_weight, expected.edge_weight)
    assert train_stock(new) >= 0.9


def test_a_transform_says_what_it_is_and_refuses_what_is_none():
    transform = LearnStructure(top_k=3, seed=1)
    assert repr(transform) == "LearnStructure(top_k=3, seed=1)"
    with pytest.raises(ValueError, match=r"threshold .* must be in"):
        LearnStructure(2.0)
    with pytest.raises(TypeError, match="there is no option 'depth'"):
        LearnStructure(depth=2)
    with pytest.raises(ValueError, match="dropout must be"):
        LearnStructure(dropout=1.0)


@pytest.mark.parametrize("method", METHODS)
def test_learning_goes_on_from_its_checkpoint_to_the_same_bits(tmp_path, method):
    options = {"max_inner": 10, "n_neighbors": 4, "patience": 9, "method": method}
    whole = short(blobs(), max_iter=4, **options)
    short(blobs(), max_iter=2, checkpoint=tmp_path, **options)
    resumed = short(blobs(), max_iter=4, checkpoint=tmp_path, resume=True, **options)
    assert repr(resumed.history) == repr(whole.history), "a loss may be nan"
    assert torch.equal(resumed.probabilities, whole.probabilities)
    assert torch.equal(resumed.edge_index, whole.edge_index)
    assert torch.equal(resumed.edge_probs, whole.edge_probs)


def test_new_nodes_are_predicted(learned):
    x, y = learned.data.x, learned.data.y
    new = x + 0.1
    found = learned.predict_proba(new)
    torch.testing.assert_close(found.sum(1), torch.ones(len(x)))
    assert (learned.predict(new) == y).float().mean() >= 0.95
    assert torch.equal(learned.predict_proba(x[:5].double()), learned.probabilities[:5])
    with pytest.raises(ValueError, match=r"new must be .* with the 4 features of the fit"):
        learned.predict(x[0])


def test_equal_nodes_of_a_graph_keep_their_own_answers():
    given = blobs(x=torch.tensor([[0.0, 1.0], [1.0, 0.0]]).repeat(45, 1))
    same = (given.y[:, None] == given.y) & (torch.arange(90)[:, None] < torch.arange(90))
    given.edge_index = same.nonzero().t()[:, ::20].contiguous()
    given.edge_index = torch.cat([given.edge_index, given.edge_index.flip(0)], 1)
    found = short(given, **QUICK)
    assert len(found.probabilities.unique(dim=0)) > 2, "answers of equal rows differ"
    assert torch.equal(found.predict_proba(given.x), found.probabilities)


def test_new_nodes_need_features_that_are_not_made_from_the_graph():
    graph = torch.combinations(torch.arange(90))[::9].t()
    graph = torch.cat([graph, graph.flip(0)], 1)
    with pytest.warns(UserWarning, match="features are made from the graph"):
        found = short(blobs(x=None, edge_index=graph), **QUICK | {"max_iter": 1})
    with pytest.raises(ValueError, match="learned from features made from its graph"):
        found.predict(torch.ones(2, 4))
