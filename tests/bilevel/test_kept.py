"""A module that keeps a value between calls outside its buffers is refused by its name."""

import copy

import pytest
import torch
from torch import nn

from lds import bilevel

X = torch.linspace(-1, 1, 8).view(4, 2)


class Noting(nn.Module):
    """A linear layer that keeps what `note` says."""

    def __init__(self, note):
        super().__init__()
        self.layer, self.note = nn.Linear(2, 2), note
        self.value, self.table, self.names = None, {}, []
        self.count, self.level, self.on = 0, 0.0, False

    def forward(self, x):
        result = self.layer(x)
        self.note(self, result)
        return result


def cached(module, result):
    if module.value is None:
        module.value = (result.detach(), None)


def tabled(module, result):
    module.table.setdefault(len(result), result.detach())


def counted(module, result):
    module.count += 1


def moved(module, result):
    module.level = 0.9 * module.level + 0.1 * float(result.detach().sum())


def in_place(module, result):
    if module.value is None:
        module.value = torch.zeros(())
    module.value.add_(1)


def turned(module, result):
    module.on = not module.on


REFUSED = {
    "turned": (turned, "on"),
    "cached": (cached, "value"),
    "tabled": (tabled, r"table\[4\]"),
    "counted": (counted, "count"),
    "in-place": (in_place, "value"),
}


@pytest.mark.parametrize(("note", "name"), REFUSED.values(), ids=REFUSED)
def test_the_second_call_is_refused(note, name):
    module = nn.Sequential(nn.ReLU(), Noting(note))
    before = copy.copy(vars(module[1])), dict(module[1].table)
    apply, params = bilevel.functional(module)
    for _ in range(2):  # the module gets back what it had, so that it is refused again
        apply.train(params, X)
        apply.eval(params, X)
        with pytest.raises(RuntimeError, match=f"the module keeps '1.{name}' between calls, so"):
            apply.train(params, X)
        assert (vars(module[1]), module[1].table) == before


def made_buffer(module, result):
    if not hasattr(module, "mean"):
        module.register_buffer("mean", result.mean(0).detach())


def made_parameter(module, result):
    if not hasattr(module, "scale"):
        module.scale = nn.Parameter(torch.ones(2))


def made_part(module, result):
    if not hasattr(module, "head"):
        module.head = nn.Linear(2, 2)


def filled_buffer(module, result):
    if not hasattr(module, "empty"):
        module.register_buffer("empty", None)
    module.empty = result.mean(0).detach()


MADE = {"mean": made_buffer, "scale": made_parameter, "head": made_part, "empty": filled_buffer}


@pytest.mark.parametrize(("name", "note"), MADE.items(), ids=MADE)
def test_a_tensor_that_a_call_makes_is_refused(name, note):
    module = nn.Sequential(nn.ReLU(), Noting(note))
    if name == "empty":
        module[1].register_buffer("empty", None)
    before = copy.deepcopy(module.state_dict())
    apply, params = bilevel.functional(module)
    for call in (apply.eval, apply.train):
        with pytest.raises(RuntimeError, match=f"the module makes '1.{name}' when it is called"):
            call(params, X)
        assert module.state_dict().keys() == before.keys()
    module(X)
    apply, params = bilevel.functional(module)
    apply.train(params, X)


class Following(nn.Module):
    """A layer beside a frozen copy, its teacher, which follows it."""

    def __init__(self, move):
        super().__init__()
        self.layer, self.move = nn.Linear(2, 2), move
        self.teacher = copy.deepcopy(self.layer).requires_grad_(False)

    def forward(self, x):
        self.move(self)
        return self.layer(x) - self.teacher(x)


@torch.no_grad()
def follows(module):
    module.teacher.weight.lerp_(module.layer.weight, 0.1)  # at first the same values


def follows_by_data(module):
    module.teacher.weight.data = module.teacher.weight.data + 0.1


def limited(module):
    module.layer.weight.data.clamp_(-1e-3, 1e-3)


@pytest.mark.parametrize(
    ("move", "name"), [(follows, "teacher"), (follows_by_data, "teacher"), (limited, "layer")]
)
def test_a_parameter_that_a_call_changes_is_refused(move, name):
    module = Following(move)
    before = copy.deepcopy(module.state_dict())
    apply, params = bilevel.functional(module)
    dynamics = bilevel.GradientDescent(lambda w, lr: apply(w, X).square().mean(), lambda lr: lr)
    for _ in range(2):  # the module gets back what it had
        with pytest.raises(RuntimeError, match=f"module changes its parameter '{name}.weight'"):
            bilevel.run(dynamics, params, torch.tensor(0.1), 2)
        assert all(torch.equal(module.state_dict()[name], before[name]) for name in before)
        assert all(torch.equal(params[name], before[name]) for name in params)


@pytest.mark.parametrize(
    "note", [moved, lambda module, y: setattr(module, "level", float(y.sum()))]
)
def test_a_number_that_each_call_writes_is_said(note):
    apply, params = bilevel.functional(Noting(note))
    apply(params, X)
    with pytest.warns(UserWarning, match="a number into 'level' at each call; if it reads what"):
        apply(params, X + 1)
    apply(params, X)


def test_a_cache_of_a_graph_is_refused_in_a_hypergradient():
    gcn = pytest.importorskip("torch_geometric.nn").GCNConv(2, 1, cached=True)
    apply, params = bilevel.functional(gcn)
    edges = torch.tensor([[0, 1, 2, 3], [1, 0, 3, 2]])

    def loss(w, weight):
        return apply(w, X, edges, weight).square().sum()

    with pytest.raises(RuntimeError, match=r"'_cached_edge_index' between .* by cached=False"):
        bilevel.hypergradient(
            bilevel.GradientDescent(loss), loss, params, torch.full((4,), 0.8), n_steps=3
        )


def given(module, result):  # in a full batch the input is the same tensor
    module.value = X


def shown(module, result):  # to be looked at after the call
    module.value, module.names = result.detach(), [*module.names[-1:], "call"]
    module.table["last"] = result


def equal(module, result):
    module.value, module.count, module.names = (2, tuple(result.shape)), 1, [str(result.dtype)]


def once_before(module, result):
    cached(module, X)


KINDS = {
    "given": lambda: Noting(given),
    "shown": lambda: Noting(shown),
    "equal": lambda: Noting(equal),
    "batch-norm": lambda: nn.BatchNorm1d(2),
    "weight-norm": lambda: nn.utils.weight_norm(nn.Linear(2, 2)),
    "spectral-norm": lambda: nn.utils.spectral_norm(nn.Linear(2, 2)),
    "spectral": lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(2, 2)),
    "lstm": lambda: nn.LSTM(2, 3),
    "attention": lambda: nn.TransformerEncoderLayer(2, 1, 4, batch_first=True),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_what_no_call_reads_is_no_memory(make):
    apply, params = bilevel.functional(make())
    for call in (apply.train, apply.eval):
        for _ in range(3):
            call(params, X)
    apply, params = bilevel.functional(Noting(once_before))
    module = apply._module
    module(X)  # a value that depends on nothing, kept before
    apply, params = bilevel.functional(module)
    assert torch.equal(apply(params, X), apply(params, X))


def test_parameters_that_are_not_finite_are_no_parameters_that_a_call_changed():
    apply, params = bilevel.functional(nn.Linear(2, 1))
    lost = {name: leaf * torch.nan for name, leaf in params.items()}
    assert apply(lost, torch.ones(3, 2)).isnan().all()
