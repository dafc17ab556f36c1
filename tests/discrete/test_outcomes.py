"""`log_prob` takes outcomes alone; other values are refused in one sentence."""

import math

import pytest
import torch

from lds.discrete import Bernoulli, Categorical, KSubset, ThinningTable, matching, sinkhorn

THREE = torch.tensor([0.2, 0.3, 0.5])
MADE = {
    "bernoulli": Bernoulli(THREE),
    "bernoulli on logits": Bernoulli.from_logits(THREE),
    "categorical": Categorical(THREE),
    "categorical on logits": Categorical.from_logits(THREE),
    "k-subset": KSubset(THREE, 1),
    "k-subset on marginals": KSubset.from_probs(THREE, 1),
}


@pytest.mark.parametrize(
    ("bad", "got"),
    [
        (torch.tensor([0.0, 0.4, 1.0]), r"got 0\.4000000\d* at index 1"),
        (torch.tensor([0.0, 2.0, 1.0]), r"got 2\.0 at index 1"),
        (torch.tensor([0, -1, 1]), "got -1 at index 1"),
        (torch.tensor([0.0, math.nan, 1.0]), "got nan at index 1"),
        (torch.tensor(2), r"got the shape \(\)"),
        (torch.tensor([2, 0, 1, 1]), r"got the shape \(4,\)"),
        (torch.zeros(3, 1), r"got the shape \(3, 1\)"),
        ([0.0, 1.0, 0.0], "got list"),
    ],
)
@pytest.mark.parametrize("name", MADE)
def test_what_is_no_outcome(name, bad, got):
    with pytest.raises((TypeError, ValueError), match=rf"^value must be .* \(3,\) of θ .*{got}"):
        MADE[name].log_prob(bad)


@pytest.mark.parametrize("bad", [[[0, 0, 0]], [[0.0, 1.0, 0.0], [1.0, 1.0, 0.0]]])
def test_a_choice_has_one_1(bad):
    with pytest.raises(ValueError, match=r"^value must be one-hot .* entries of 1; .*one_hot"):
        Categorical(THREE).log_prob(torch.tensor(bad))


def test_a_symmetric_outcome():
    made = Bernoulli(torch.full((2, 2), 0.5), symmetric=True)
    with pytest.raises(ValueError, match=r"^value must be symmetric"):
        made.log_prob(torch.tensor([[0.0, 1.0], [0.0, 0.0]]))
    made.log_prob(torch.tensor([[[0.0, 1.0], [1.0, 0.0]]]))


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float16, torch.float64])
@pytest.mark.parametrize("name", MADE)
def test_outcomes_of_any_dtype_and_with_any_dimensions_in_front(name, dtype):
    z = torch.tensor([0, 1, 0], dtype=dtype)
    one = MADE[name].log_prob(z)
    many = MADE[name].log_prob(z.expand(4, 2, 3))
    assert one.isfinite().all()
    assert torch.equal(many, one.expand(many.shape))
    assert many.shape[:2] == (4, 2)


@pytest.mark.parametrize("make", [Bernoulli, Categorical, lambda p: KSubset.from_probs(p, 1)])
def test_the_derivative_of_the_entropy_by_a_probability_of_0_or_1_is_0(make):
    """Exactly as `AbstractDiscrete.entropy` says; the others have the derivative by hand."""
    for values in ([1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.25, 0.0, 0.75]):
        theta = torch.tensor(values, dtype=torch.float64, requires_grad=True)
        (grad,) = torch.autograd.grad(make(theta).entropy().sum(), theta)
        ends = (theta == 0) | (theta == 1)
        torch.testing.assert_close(grad[ends], torch.zeros_like(grad[ends]), rtol=0, atol=1e-12)
        if not bool(ends.all()):  # along the exchange of both, dH = log p2 - log p0
            slope = float(grad[0] - grad[2])
            both = 2 if make is Bernoulli else 1  # two coins, of one entropy
            assert slope == pytest.approx(both * math.log(3), abs=1e-9)


@pytest.mark.parametrize("name", ["scores", "logits"])
@pytest.mark.parametrize(
    ("bad", "advice"), [(math.nan, "find the computation"), (-math.inf, "far below the others")]
)
def test_scores_that_are_not_finite(name, bad, advice):
    call = matching if name == "scores" else sinkhorn
    with pytest.raises(ValueError, match=rf"^{name} must be finite, got .*; .*{advice}"):
        call(torch.tensor([[0.0, bad], [1.0, 2.0]]))
    with pytest.raises(ValueError, match=rf"^{name} must be square matrices"):
        call(torch.zeros(2, 3))


@pytest.mark.parametrize("bad", [0, -1])
@pytest.mark.parametrize("draw", ["draw", "draw_parts"])
def test_a_table_draws_at_least_once(draw, bad):
    with pytest.raises(ValueError, match=rf"^n_draws must be at least 1, .* got {bad}"):
        getattr(ThinningTable(torch.full((32,), 0.5)), draw)(bad)
    with pytest.raises(TypeError, match=r"^n_draws must be an integer, got 1\.5"):
        getattr(ThinningTable(torch.full((32,), 0.5)), draw)(1.5)
