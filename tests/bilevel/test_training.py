"""A module, a loss and a loader as a dynamics: against plain torch loops and finite differences."""

import copy
import functools
import gc
import random
import weakref

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler, TensorDataset

from lds import bilevel
from lds.bilevel import batches as batches_module
from tests.problems import scalar

IMAGES = torch.linspace(-3, 4, 30 * 64).view(30, 1, 8, 8).double().sin()
LABELS = torch.arange(30) % 3
DATA = TensorDataset(IMAGES + LABELS.view(-1, 1, 1, 1) / 3, LABELS)


class Bag:
    """A batch as an object, such as that of a library of graphs."""

    def __init__(self, kind):
        values = torch.zeros(8, 100)
        self.store = {"x": values.numpy() if kind == "array" else values}


@pytest.mark.parametrize("kind", ["tensor", "array", "unknown"])
def test_few_large_batches_are_kept_whatever_holds_them(kind, monkeypatch):
    made = {"unknown": lambda rows: (object(), torch.zeros(1))}
    collate = made.get(kind, lambda rows: (Bag(kind), torch.zeros(1)))
    size = 8 * 100 * 4 if kind != "unknown" else batches_module.UNKNOWN
    monkeypatch.setattr(batches_module, "KEPT", 3 * size + 500)
    batches = bilevel.Batches(DataLoader(range(80), batch_size=8, collate_fn=collate))
    for step in range(30):
        batches(step)
    assert len(batches._kept) == 3
    assert batches(29) is batches(29)


def test_the_size_of_a_batch():
    values = torch.zeros(10, dtype=torch.float64)
    batch = {"a": [values, values], "b": (values.numpy()[:5], None)}
    assert 120 <= batches_module.size_of(batch) < 500  # a tensor twice counts once
    assert batches_module.size_of(list(range(200_000))) == batches_module.KEPT


def cnn() -> nn.Module:
    torch.manual_seed(0)
    conv = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Tanh(), nn.AvgPool2d(2))
    parts = {"conv": conv, "flat": nn.Flatten(), "head": nn.Linear(27, 3)}
    net = nn.Sequential()
    for name, part in parts.items():
        net.add_module(name, part)
    return net.double()


def loader(**options) -> DataLoader:
    return DataLoader(DATA, batch_size=8, shuffle=True, **options)


def program(net=None, optimizer=bilevel.Momentum, train=None, **options):
    net = cnn() if net is None else net
    batches = loader() if train is None else train
    training = bilevel.Training(
        net,
        F.cross_entropy,
        batches,
        functools.partial(
            optimizer, lr=lambda h: h["lr"], weight_decay=lambda h: h["decay"], **options
        ),
    )
    return training, {"lr": training.groups(0.1), "decay": training.groups(0.01)}


OPTIMIZERS = {
    "momentum": (bilevel.Momentum, functools.partial(torch.optim.SGD, momentum=0.9)),
    "descent": (bilevel.GradientDescent, torch.optim.SGD),
    "adam": (bilevel.Adam, torch.optim.Adam),
    "adamw": (bilevel.AdamW, torch.optim.AdamW),
    "rmsprop": (bilevel.RMSprop, torch.optim.RMSprop),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_weights_are_those_of_a_plain_loop(name):
    """Groups with their own rate and decay, a clipped gradient, buffers, 11 steps of 3 epochs."""
    mine, theirs = OPTIMIZERS[name]
    training, hyper = program(optimizer=mine, max_grad_norm=0.5)
    hyper = {
        "lr": {"conv": scalar(0.02), "head": scalar(0.01)},
        "decay": {"conv": scalar(0.1), "head": scalar(0.0)},
    }
    trained = bilevel.run(training.dynamics, training.params, hyper, 11)
    net, batches = cnn(), bilevel.Batches(loader())
    optimizer = theirs(
        [
            {"params": net.conv.parameters(), "lr": 0.02, "weight_decay": 0.1},
            {"params": net.head.parameters(), "lr": 0.01, "weight_decay": 0.0},
        ]
    )
    for t in range(11):
        x, y = batches(t)
        optimizer.zero_grad()
        value = F.cross_entropy(net(x), y)
        value.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 0.5)
        optimizer.step()
        assert trained.losses[t] == pytest.approx(value.item(), rel=1e-8)
    found = bilevel.load(cnn(), trained.params).state_dict()
    for key, value in net.state_dict().items():
        torch.testing.assert_close(found[key], value, rtol=1e-8, atol=1e-10)


@pytest.mark.ci
def test_the_common_program_and_its_hypergradient():
    """Finite differences through loader, batch normalisation, clipping and groups."""
    training, hyper = program(max_grad_norm=0.5)
    outer = training.judged_by(DataLoader(DATA, batch_size=11))

    def value(name, layer, d):
        moved = hyper | {name: hyper[name] | {layer: hyper[name][layer] + d}}
        state = bilevel.run(training.dynamics, training.params, moved, 6)
        return float(outer(state.params, moved, 6))

    expected = {
        (name, layer): (value(name, layer, 1e-5) - value(name, layer, -1e-5)) / 2e-5
        for name in hyper
        for layer in hyper[name]
    }
    for method in (None, bilevel.Reverse(checkpoint="sqrt"), bilevel.Forward()):
        result = bilevel.hypergradient(
            training.dynamics, outer, training.params, hyper, 6, method=method
        )
        for (name, layer), difference in expected.items():
            # The error of a central difference of 1e-5, of second order.
            assert float(result.grad[name][layer]) == pytest.approx(difference, rel=1e-5)
    report = bilevel.check(training.dynamics, outer, training.params, hyper)
    assert report.ok, report


def test_solve_lowers_the_validation_loss_and_the_weights_go_back_into_a_module():
    net = cnn()
    training, hyper = program(net)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    outer = training.judged_by(loader())
    solution = bilevel.solve(
        training.dynamics,
        outer,
        training.params,
        hyper,
        8,
        n_outer=6,
        optimizer=functools.partial(torch.optim.Adam, lr=0.02),
        projection=bilevel.projections.box(0.0, 0.5),
    )
    assert solution.value < solution.history[0].value
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    loaded = bilevel.load(copy.deepcopy(net), solution.params).eval()
    x, y = DATA.tensors
    torch.testing.assert_close(
        F.cross_entropy(loaded(x), y), torch.tensor(solution.value).double(), rtol=1e-6, atol=0
    )


def test_the_outer_objective_takes_all_batches_or_those_of_the_step():
    training, hyper = program()
    x, y = DATA.tensors
    whole = training.judged_by(DataLoader(DATA, batch_size=11))(training.params, hyper, 0)
    expected = F.cross_entropy(training.apply.eval(training.params, x), y)
    torch.testing.assert_close(whole, expected, rtol=1e-12, atol=0)
    some = training.judged_by(DataLoader(DATA, batch_size=5), n_batches=2)
    for step, rows in [(0, slice(0, 10)), (1, slice(10, 20)), (3, slice(0, 10))]:
        expected = F.cross_entropy(training.apply.eval(training.params, x[rows]), y[rows])
        torch.testing.assert_close(some(training.params, hyper, step), expected, rtol=1e-12, atol=0)


def test_a_loss_may_ask_for_hyperparameters_and_more_targets():
    """A weight for each row, found by its number: the third part of a batch."""
    data = TensorDataset(*DATA.tensors, torch.arange(30))

    def weighted(outputs, targets, rows, hyper):
        each = F.cross_entropy(outputs, targets, reduction="none")
        return (hyper.sigmoid()[rows] * each).mean()

    training = bilevel.Training(
        cnn(),
        weighted,
        DataLoader(data, batch_size=10),
        functools.partial(bilevel.GradientDescent, lr=0.1),
    )
    outer = training.judged_by(DataLoader(DATA, batch_size=30), nn.CrossEntropyLoss())
    grad = bilevel.hypergradient(
        training.dynamics, outer, training.params, torch.zeros(30).double(), 2
    ).grad
    assert (grad[:20] != 0).all()
    assert (grad[20:] == 0).all()  # two steps saw the first twenty rows


@pytest.mark.parametrize("bad", [DATA.tensors[0], ([1],), {"x": 1}])
def test_a_batch_of_another_form(bad):
    training, hyper = program(train=[bad])
    with pytest.raises(TypeError, match=r"a batch must be \(inputs, targets, ...\), got .*Batches"):
        bilevel.run(training.dynamics, training.params, hyper, 1)


def test_mixed_precision():
    """In bfloat16, 8 bits of precision: near the values of float64, and differentiable."""
    results = []
    for autocast in (None, torch.bfloat16):
        net = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 3))
        torch.manual_seed(0)
        for p in net.parameters():
            nn.init.normal_(p, 0, 0.1)
        data = TensorDataset(DATA.tensors[0].float(), LABELS)
        train = DataLoader(data, batch_size=10)
        training = bilevel.Training(
            net,
            F.cross_entropy,
            train,
            functools.partial(bilevel.Momentum, lr=lambda h: h),
            autocast=autocast,
        )
        results.append(
            bilevel.hypergradient(
                training.dynamics, training.judged_by(train), training.params, torch.tensor(0.05), 5
            )
        )
    assert results[1].grad.dtype == torch.float32
    assert not torch.equal(results[0].value, results[1].value)
    torch.testing.assert_close(results[1].value, results[0].value, rtol=0.02, atol=0)
    torch.testing.assert_close(results[1].grad, results[0].grad, rtol=0.1, atol=0)


@pytest.mark.parametrize(
    "part", [nn.SiLU, lambda: nn.GroupNorm(2, 16), lambda: spectral_norm(nn.Linear(16, 16))]
)
@pytest.mark.parametrize("method", [bilevel.Reverse(), bilevel.Reverse(tape=False)])
def test_the_rounding_of_mixed_precision_is_no_other_data(part, method):
    """With history torch takes other kernels of these; a power iteration is a custom function."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 16), part(), nn.Linear(16, 2))
    data = [(torch.randn(16, 6), torch.randn(16, 2))]
    momentum = functools.partial(bilevel.Momentum, lr=lambda lr: lr)
    training = bilevel.Training(net, F.mse_loss, data, momentum, autocast=torch.bfloat16)
    problem = training.dynamics, training.judged_by(data), training.params, torch.tensor(0.01), 4
    found = bilevel.hypergradient(*problem, method).grad
    expected = bilevel.hypergradient(*problem, bilevel.Forward()).grad
    torch.testing.assert_close(found, expected, rtol=0.02, atol=0)


# Batches.


class Augmented(Dataset):
    """Rows with noise from torch's and from Python's random numbers."""

    def __len__(self) -> int:
        return 12

    def __getitem__(self, row: int):
        return row, torch.rand(()) + random.random()


def every(batches: bilevel.Batches, steps) -> list[list[torch.Tensor]]:
    return [[part.clone() for part in batches(t)] for t in steps]


def assert_same(left, right) -> None:
    for a, b in zip(left, right, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_batch_depends_on_the_step_alone(num_workers):
    """Whatever was asked for before, with and without workers, in any order."""
    torch.manual_seed(1)
    state = torch.get_rng_state()
    there = every(bilevel.Batches(DataLoader(Augmented(), 5, shuffle=True)), range(7))
    assert torch.equal(torch.get_rng_state(), state)

    def fresh(seed=0):
        data = DataLoader(Augmented(), 5, shuffle=True, num_workers=num_workers)
        return bilevel.Batches(data, seed)

    random.seed(5)
    torch.manual_seed(6)
    batches = fresh()
    assert_same(every(batches, range(7)), there)
    assert_same(every(batches, [6, 5, 4, 1, 0]), [there[k] for k in (6, 5, 4, 1, 0)])
    assert_same(every(fresh(), [4, 5, 2]), [there[k] for k in (4, 5, 2)])
    for epoch in (there[:3], there[3:6]):  # every row once an epoch
        assert sorted(torch.cat([batch[0] for batch in epoch]).tolist()) == list(range(12))
    assert there[0][0].tolist() != there[3][0].tolist()
    assert every(fresh(1), [0])[0][0].tolist() != there[0][0].tolist()


def test_workers_end_with_the_batches_that_use_them():
    """Without the garbage collector, which may take queues down before workers are asked to end."""
    batches = bilevel.Batches(DataLoader(Augmented(), 5, shuffle=True, num_workers=1))
    batches(0)
    _, ahead = batches._ahead
    (worker,) = ahead._workers
    gone = weakref.ref(ahead)
    gc.disable()
    try:
        del ahead, batches
        assert gone() is None
        assert worker.exitcode == 0, "killed after a wait"
    finally:
        gc.enable()


def test_a_loaders_own_generator_is_rewound_and_left_alone():
    generator = torch.Generator().manual_seed(3)
    before = generator.get_state()
    data = [DataLoader(Augmented(), 5, shuffle=True, generator=generator) for _ in range(2)]
    first, second = (every(bilevel.Batches(d), range(5)) for d in data)
    assert_same(first, second)
    assert torch.equal(generator.get_state(), before)


def test_what_a_loader_may_be():
    class Stream(IterableDataset):
        def __iter__(self):
            return iter(range(3))

    with pytest.raises(TypeError, match=r"an IterableDataset cannot; .* a function of the step"):
        bilevel.Batches(DataLoader(Stream()))
    with pytest.raises(TypeError, match=r"got list_iterator; list\(\.\.\.\) makes a sequence"):
        bilevel.Batches(iter([1]))
    with pytest.raises(ValueError, match="at least one batch, got none"):
        bilevel.Batches([])
    single = bilevel.Batches(DataLoader(DATA, batch_size=None))
    assert torch.equal(single(31)[0], DATA[1][0])


# Groups.


class ByEpoch(Sampler):
    """Batches in an order that follows from the epoch alone."""

    def __init__(self):
        self.epoch = 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __iter__(self):
        generator = torch.Generator().manual_seed(self.epoch)
        return iter(torch.randperm(12, generator=generator).split(4))

    def __len__(self):
        return 3


class OfItsOwn(Sampler):
    """Rows in an order from random numbers that nothing seeds."""

    def __init__(self):
        self.random = random.Random(0)

    def __iter__(self):
        return iter(self.random.sample(range(12), 12))

    def __len__(self):
        return 12


def test_a_batch_sampler_is_told_the_epoch_and_must_repeat_it():
    batches = bilevel.Batches(DataLoader(range(12), batch_sampler=ByEpoch()))
    epochs = [torch.cat([batches(3 * epoch + k) for k in range(3)]) for epoch in range(2)]
    assert not torch.equal(*epochs)
    assert all(torch.equal(rows.sort().values, torch.arange(12)) for rows in epochs)
    batches = bilevel.Batches(DataLoader(range(12), batch_size=4, sampler=OfItsOwn()))
    with pytest.raises(ValueError, match="sampler of loader gives another order when the same"):
        batches(0)


def test_groups_that_do_not_fit():
    training, hyper = program()
    for bad, message in [
        ({"conv": scalar(0.1)}, r"lr must have a group for 'head.weight', got groups \['conv'\]"),
        (hyper["lr"] | {"tail": scalar(0.1)}, r"lr has the group 'tail', with which no parameter"),
    ]:
        with pytest.raises(ValueError, match=message):
            bilevel.run(training.dynamics, training.params, hyper | {"lr": bad}, 1)
    for dynamics, message in [
        (
            bilevel.GradientDescent(lambda w, h: w**2, lr=lambda h: "high"),
            r"lr\(hyper, step\) must return a number .* got str",
        ),
        (
            bilevel.Momentum(lambda w, h: w**2, momentum=lambda h: {"a": 0.5}),
            r"momentum\(hyper, step\) must return a number or a tensor, got dict",
        ),
    ]:
        with pytest.raises(TypeError, match=message):
            bilevel.run(dynamics, scalar(1.0), scalar(1.0), 1)
    with pytest.raises(ValueError, match=r"lr\['a'\] must be positive and finite, got -1"):
        bilevel.GradientDescent(lambda w, h: w**2, lr={"a": -1.0})


def test_the_longest_name_counts_and_the_empty_one_takes_the_rest():
    dynamics = bilevel.GradientDescent(
        lambda w, h: h * (w["a"]["x"] + w["a"]["y"] + w["b"]), lr={"": 1.0, "a": 2.0, "a.y": 3.0}
    )
    w = {"a": {"x": scalar(0.0), "y": scalar(0.0)}, "b": scalar(0.0)}
    trained = bilevel.run(dynamics, w, scalar(1.0), 1).params
    assert trained == {"a": {"x": scalar(-2.0), "y": scalar(-3.0)}, "b": scalar(-1.0)}


def test_weight_decay_moves_the_fixed_point_that_implicit_methods_find():
    """(w-1)²/2 + ρw²/2 rests at 1/(1+ρ)."""
    dynamics = bilevel.GradientDescent(
        lambda w, h: 0.5 * (w - 1) ** 2, 0.5, weight_decay=lambda h: h
    )
    for method in (bilevel.Reverse(), bilevel.FixedPoint(80), bilevel.ConjugateGradient(5)):
        result = bilevel.hypergradient(
            dynamics, lambda w, h: w, scalar(0.0), scalar(0.6), 80, method=method
        )
        torch.testing.assert_close(result.grad, scalar(-1 / 1.6**2), rtol=1e-9, atol=0)


def test_run_is_the_inner_run_of_a_hypergradient():
    dynamics = bilevel.Adam(lambda w, h: (torch.rand_like(w) * (w - h) ** 2).sum(), lr=0.1)
    w = torch.ones(3, dtype=torch.float64)
    trained = bilevel.run(dynamics, w, scalar(2.0), 5, seed=3)
    result = bilevel.hypergradient(dynamics, lambda w, h: w.sum(), w, scalar(2.0), 5, seed=3)
    assert torch.equal(trained.params, result.state["params"])
    assert len(trained.losses) == 5


def test_a_check_leaves_the_batches_as_they_are():
    """`check` computes in float64; batches that it makes are kept for later runs."""
    rows = TensorDataset(torch.randn(8, 3), torch.randn(8, 1))
    training = bilevel.Training(
        nn.Linear(3, 1),
        F.mse_loss,
        DataLoader(rows, batch_size=4),
        functools.partial(bilevel.Momentum, lr=lambda hyper: hyper),
    )
    outer = training.judged_by(DataLoader(rows, batch_size=4))
    given = training.dynamics, outer, training.params, torch.tensor(0.1)
    before = bilevel.hypergradient(*given, 2)
    assert bilevel.check(*given).ok
    after = bilevel.hypergradient(*given, 4)  # of steps, too, that came first in the check
    assert after.grad.dtype == torch.float32
    assert torch.equal(before.grad, bilevel.hypergradient(*given, 2).grad)


@pytest.mark.parametrize(
    "loss",
    [nn.MSELoss(reduction="sum"), functools.partial(nn.functional.mse_loss, reduction="sum")],
)
def test_a_sum_over_rows_is_not_weighted_by_rows(loss):
    data = [(torch.randn(n, 3), torch.randn(n, 1)) for n in (4, 2)]
    training = bilevel.Training(nn.Linear(3, 1), nn.functional.mse_loss, data)
    with pytest.raises(ValueError, match=r"loss must be a mean over rows, .* got reduction='sum'"):
        training.judged_by(data, loss)
    with pytest.raises(ValueError, match="got reduction='sum'"):
        bilevel.Training(nn.Linear(3, 1), loss, data).judged_by(data)
    for judged, n in (
        (training.judged_by(data, loss, n_batches=2), 2),
        (
            training.judged_by(data[:1], loss),
            1,
        ),
    ):
        expected = sum(loss(training.apply(training.params, x), y) for x, y in data[:n]) / n
        torch.testing.assert_close(judged(training.params, {}, 0), expected)


def behind_a_default(out, y, scale=2.0, hyper=None):
    return scale * hyper * ((out - y) ** 2).mean()


def by_keyword(out, y, *, hyper):
    return 2 * hyper * ((out - y) ** 2).mean()


@pytest.mark.parametrize("loss", [behind_a_default, by_keyword])
def test_a_loss_gets_the_hyperparameters_by_their_name(loss):
    data, weight = [(torch.randn(4, 3), torch.randn(4, 1))], torch.tensor(3.0)
    training = bilevel.Training(nn.Linear(3, 1), loss, data)
    plain = bilevel.Training(nn.Linear(3, 1), nn.functional.mse_loss, data)
    found, expected = (
        each.judged_by(data)(training.params, weight, 0) for each in (training, plain)
    )
    torch.testing.assert_close(found, 6 * expected)


def test_a_loss_of_every_row_is_refused():
    data = [(torch.randn(4, 3), torch.randn(4, 1))]
    training = bilevel.Training(nn.Linear(3, 1), nn.functional.mse_loss, data)
    judged = training.judged_by(data, nn.MSELoss(reduction="none"))
    with pytest.raises(ValueError, match=r"loss must return a scalar tensor .* got \(4, 1\)"):
        judged(training.params, {}, 0)


class Standardized(nn.Module):
    """A linear layer on inputs that it standardises in place."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 1)

    def forward(self, x):
        """Change x."""
        return self.layer(x.sub_(0.5).mul_(2))


def test_a_batch_that_is_kept_must_stay_as_it_is():
    data = TensorDataset(torch.rand(8, 3), torch.rand(8, 1))
    loader = DataLoader(data, batch_size=4)
    training = bilevel.Training(Standardized(), F.mse_loss, loader, bilevel.GradientDescent)
    with pytest.raises(RuntimeError, match=r"inplace=True\?\) or the loss changed batch\[0\] in"):
        bilevel.run(training.dynamics, training.params, torch.tensor(0.0), 1)
    with pytest.raises(RuntimeError, match=r"changed batch\[0\]\[0\] in place"):
        training.judged_by(loader)(training.params, torch.tensor(0.0), 0)
    fresh = bilevel.Training(Standardized(), F.mse_loss, lambda k: next(iter(loader)))
    assert len(bilevel.run(fresh.dynamics, fresh.params, torch.tensor(0.0), 2).losses) == 2


class Centred(nn.Module):
    """A loss with a learned scale, and a centre that follows the outputs as in DINO."""

    def __init__(self, replaces):
        super().__init__()
        self.scale, self.replaces = nn.Parameter(torch.ones(())), replaces
        self.register_buffer("centre", torch.zeros(()))

    def forward(self, outputs, targets):
        if self.training:
            follow = 0.9 * self.centre + 0.1 * outputs.detach().mean()
            if self.replaces:
                self.centre = follow
            else:
                self.centre.copy_(follow)
        return self.scale * (outputs - self.centre - targets).square().mean()


@pytest.mark.parametrize("replaces", [False, True])
def test_a_loss_that_trains_or_follows_something_is_noticed(replaces):
    data, loss = [(torch.ones(4, 2), torch.ones(4, 1))], Centred(replaces)
    with pytest.warns(UserWarning, match="no step trains the parameter 'scale' of loss"):
        training = bilevel.Training(nn.Linear(2, 1), loss, data)
    with pytest.raises(RuntimeError, match="loss changes its buffer 'centre' when it is called"):
        bilevel.run(training.dynamics, training.params, torch.tensor(0.0), 1)
    with pytest.raises(RuntimeError, match="loss changes its buffer 'centre' when it is called"):
        training.judged_by(data)(training.params, torch.tensor(0.0), 0)
    training = bilevel.Training(nn.Linear(2, 1), loss.requires_grad_(False).eval(), data)
    bilevel.run(training.dynamics, training.params, torch.tensor(0.0), 1)
