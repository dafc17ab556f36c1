"""A checkpoint of another problem is refused, where the difference can be seen by value."""

import functools

import pytest
import torch
from torch.utils import _pytree as pytree

from lds import bilevel
from lds.bilevel import projections, stopping
from tests.problems import scalar

X = torch.linspace(-1, 2, 36, dtype=torch.float64).view(12, 3).cos()
Y = X.sum(1).sin()


def loss(w, hyper):
    return ((X @ w - Y) ** 2).mean() + hyper["decay"] * (w**2).sum()


def judged(w, hyper):
    return ((X.flip(0) @ w - Y) ** 2).mean()


def momentum(inner=loss, lr=0.1, momentum=0.9, **options):
    return bilevel.Momentum(inner, lr, momentum, **options)


USUAL = {
    "dynamics": momentum(),
    "outer": judged,
    "params": torch.zeros(3, dtype=torch.float64),
    "hyper": {"decay": scalar(0.1)},
}


def batch(folder, dynamics, outer, params, hyper, n_outer=2, **options):
    return bilevel.solve(
        dynamics, outer, params, hyper, 5, n_outer=n_outer, checkpoint=folder, **options
    )


def online(folder, dynamics, outer, params, hyper, n_outer=2, **options):
    return bilevel.solve_online(
        dynamics, outer, params, hyper, n_outer, checkpoint=folder, save_every=1, **options
    )


def rms(w, hyper):
    return loss(w, hyper).sqrt()


OTHERS = {
    "inner": ({"dynamics": momentum(rms)}, "the inner objective at the start, on cpu: .* there"),
    "lr": ({"dynamics": momentum(lr=0.2)}, r"dynamics lr: 0\.1 there, 0\.2 here"),
    "lr-by-group": ({"dynamics": momentum(lr={"": 0.1})}, "dynamics lr: 0.1 there, {'': 0.1} here"),
    "lr-function": (
        {"dynamics": momentum(lr=lambda hyper: 0.11)},
        r"dynamics lr: 0\.1 there, None here",
    ),
    "momentum": ({"dynamics": momentum(momentum=0.8)}, r"dynamics momentum: 0\.9 there"),
    "nesterov": ({"dynamics": momentum(nesterov=True)}, "dynamics nesterov: False there"),
    "decay": ({"dynamics": momentum(weight_decay=0.1)}, r"dynamics decay: None there, 0\.1 here"),
    "clipping": ({"dynamics": momentum(max_grad_norm=1)}, r"dynamics max_norm: None there, 1\.0"),
    "class": ({"dynamics": bilevel.Adam(loss)}, "dynamics: 'Momentum' there, 'Adam' here"),
    "outer": ({"outer": lambda w, hyper: 2 * judged(w, hyper)}, "the outer objective at the start"),
    "params": (
        {"params": torch.tensor([0.0, 0.0, 0.5], dtype=torch.float64)},
        r"first values of params: '\[0\.0, 0\.0, 0\.0\]' there, '\[0\.0, 0\.0, 0\.5\]' here",
    ),
    "hyper": (
        {"hyper": {"decay": scalar(0.2)}},
        r"first values of hyper\['decay'\]: '\[0\.1\]' there, '\[0\.2\]' here",
    ),
    "projection": (
        {"projection": projections.box(0, 2)},
        r"size of hyper\['decay'\] as projected from far point . there|.*: 1 there, 2 here",
    ),
    "no-projection": ({"projection": None}, r"size of hyper\['decay'\] as projected"),
}


@pytest.mark.parametrize("run", [batch, online])
@pytest.mark.parametrize("what", OTHERS)
def test_another_problem_is_refused_by_what_differs(what, run, tmp_path):
    other, message = OTHERS[what]
    usual = USUAL | {"projection": projections.box(0, 1)}
    run(tmp_path, **usual)
    kept = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ValueError, match=f"is of another run .*{message}"):
        run(tmp_path, **(usual | other), n_outer=4, resume=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == kept
    run(tmp_path, **usual, n_outer=4, resume=True)


@pytest.mark.parametrize("name", ["betas", "eps"])
def test_the_settings_of_adam(name, tmp_path):
    """Its first step has about the length of its rate, whatever they are."""
    options = {"betas": (0.8, 0.99), "eps": 1e-7}
    batch(tmp_path, **USUAL | {"dynamics": bilevel.Adam(loss)})
    other = bilevel.Adam(loss, **{name: options[name]})
    with pytest.raises(ValueError, match=f"dynamics {name}: .* there"):
        batch(tmp_path, **USUAL | {"dynamics": other}, resume=True)


def test_a_function_as_a_setting_is_seen_by_the_first_step(tmp_path):
    batch(tmp_path, **USUAL | {"dynamics": momentum(lr=lambda hyper: 0.1)})
    with pytest.raises(ValueError, match="the length of the first step at the start, on cpu"):
        batch(tmp_path, **USUAL | {"dynamics": momentum(lr=lambda hyper: 0.2)}, resume=True)


def test_a_dynamics_of_ones_own(tmp_path):
    def dynamics(rate):
        step = lambda w, hyper, t: w - rate * (w - hyper["decay"])  # noqa: E731
        return bilevel.Dynamics(lambda params, hyper: params, step, lambda state: state)

    batch(tmp_path, **USUAL | {"dynamics": dynamics(0.1)})
    with pytest.raises(ValueError, match="the length of the first step"):
        batch(tmp_path, **USUAL | {"dynamics": dynamics(0.2)}, resume=True)
    batch(tmp_path, **USUAL | {"dynamics": dynamics(0.1)}, resume=True)


def test_the_start_and_the_projection_of_a_black_box(tmp_path):
    def run(hyper, bound, **options):
        return bilevel.solve_black_box(
            lambda lam, k: (lam**2, 2 * lam),
            scalar(hyper),
            projection=projections.box(-bound, bound),
            checkpoint=tmp_path,
            **options,
        )

    run(1.0, 2.0, n_outer=3)
    for hyper, bound, message in [(0.5, 2.0, "first values of hyper"), (1.0, 3.0, "as projected")]:
        with pytest.raises(ValueError, match=f"is of another run .*{message}"):
            run(hyper, bound, resume=True)
    run(1.0, 2.0, n_outer=5, resume=True)


def test_large_tensors_are_compared_by_a_digest(tmp_path):
    batch(tmp_path, **USUAL | {"hyper": {"decay": scalar(0.1), "more": torch.zeros(9)}, **MORE})
    other = {"decay": scalar(0.1), "more": torch.eye(9)[3] * 1e-6}
    with pytest.raises(ValueError, match=r"first values of hyper\['more'\]: 'sha256 \w+' there"):
        batch(tmp_path, **USUAL | {"hyper": other, **MORE}, resume=True)


MORE = {"outer": lambda w, hyper: judged(w, hyper) + (hyper["more"] - 1).square().sum()}


def test_what_only_ends_a_run_may_change(tmp_path):
    batch(tmp_path, **USUAL)
    found = batch(
        tmp_path,
        **USUAL,
        n_outer=6,
        resume=True,
        stopping=stopping.patience(50),
        callback=lambda record: None,
        time_limit=100.0,
    )
    assert len(found.history) == 6


def test_a_loss_that_its_seed_does_not_fix_is_not_compared(tmp_path):
    """Two values of it differ, so a difference from the checkpoint says nothing."""
    numbers = iter(range(1, 10_000))

    def noisy(w, hyper):
        return judged(w, hyper) + next(numbers)

    batch(tmp_path, **USUAL | {"outer": noisy}, keep="last")
    assert len(batch(tmp_path, **USUAL | {"outer": noisy}, keep="last", resume=True).history) == 2


@pytest.mark.parametrize("run", [batch, online])
def test_a_checkpoint_changes_no_result_and_no_random_state(run, tmp_path):
    generator = torch.Generator().manual_seed(1)

    def noisy(w, hyper):
        noise = torch.randn((), dtype=torch.float64, generator=generator)
        return loss(w + 0.1 * noise + 0.1 * torch.randn(3, dtype=torch.float64), hyper)

    def once(folder):
        torch.manual_seed(2)
        problem = USUAL | {"dynamics": momentum(noisy, generators=[generator])}
        found = run(folder, **problem, n_outer=3)
        drawn = torch.randn(2), torch.randn(2, generator=generator)
        generator.manual_seed(1)
        return pytree.tree_leaves([found.hyper, found.params, found.value, drawn])

    for one, other in zip(once(None), once(tmp_path), strict=True):
        assert torch.equal(torch.as_tensor(one), torch.as_tensor(other))


def test_no_steps_and_losses_that_need_gradients(tmp_path):
    """With n_steps=0 no step is taken; E may differentiate by the weights itself."""

    def slope(w, hyper):
        (g,) = torch.autograd.grad(loss(w, hyper), w, create_graph=True)
        return (g**2).sum()

    run = functools.partial(
        bilevel.solve,
        momentum(),
        slope,
        USUAL["params"],
        USUAL["hyper"],
        method=bilevel.ConjugateGradient(3),
        keep="last",
        checkpoint=tmp_path,
        n_outer=2,
    )
    run(0)
    assert len(run(0, resume=True).history) == 2


def grouped(**settings):
    def optimizer(tensors):
        groups = [{"params": tensors[:1], "lr": 0.01} | settings, {"params": tensors[1:]}]
        return torch.optim.SGD(groups, lr=0.02)

    return optimizer


def swapped(tensors):
    return torch.optim.SGD([{"params": tensors[1:], "lr": 0.01}, {"params": tensors[:1]}], lr=0.02)


def chained(factor):
    def scheduler(optimizer):
        first = torch.optim.lr_scheduler.ConstantLR(optimizer, 0.5, 2)
        then = torch.optim.lr_scheduler.MultiplicativeLR(optimizer, factor)
        return torch.optim.lr_scheduler.ChainedScheduler([first, then])

    return scheduler


def scaled(function):
    return functools.partial(torch.optim.lr_scheduler.LambdaLR, lr_lambda=function)


def table(step):
    return [1.0, 0.9, 0.8, 0.7][step]


OUTER = {
    "rate of a group": ({"optimizer": grouped()}, {"optimizer": grouped(lr=0.03)}),
    "momentum of a group": ({"optimizer": grouped()}, {"optimizer": grouped(momentum=0.9)}),
    "tensors of a group": ({"optimizer": grouped()}, {"optimizer": swapped}),
    "LambdaLR": (
        {"scheduler": scaled(lambda k: 0.9**k)},
        {"scheduler": scaled(lambda k: 0.1**k)},
    ),
    "LambdaLR by a table": ({"scheduler": scaled(table)}, {"scheduler": scaled(lambda k: 0.9**k)}),
    "MultiplicativeLR": (
        {"scheduler": chained(lambda k: 0.9)},
        {"scheduler": chained(lambda k: 0.8)},
    ),
}


@pytest.mark.parametrize("what", OUTER)
def test_another_optimizer_or_scheduler_is_refused(what, tmp_path):
    mine, other = OUTER[what]
    usual = USUAL | {
        "dynamics": momentum(lambda w, hyper: loss(w, hyper) * hyper["scale"]),
        "hyper": {"decay": scalar(0.1), "scale": scalar(1.0)},
    }
    batch(tmp_path, **usual, **mine)
    with pytest.raises(ValueError, match=r"is of another run .*optimizer: .* there"):
        batch(tmp_path, **usual, **other, n_outer=3, resume=True)
    batch(tmp_path, **usual, **mine, n_outer=3, resume=True)
