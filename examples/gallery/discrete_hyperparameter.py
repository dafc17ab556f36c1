# # A discrete hyperparameter
#
# Which of 40 columns should a regression have? Each column is on with a probability. The
# validation loss, differentiated through the training on drawn masks, moves the probabilities;
# six columns matter, and there are only 60 rows.

# %%
import functools

import torch
from matplotlib.figure import Figure

from lds import bilevel, discrete

OUTER = 80  # small: 2
generator = torch.Generator().manual_seed(1)
truth = torch.zeros(40)
truth[:6] = torch.tensor([2.0, -2.0, 1.5, -1.5, 1.0, -1.0])


def rows(n):
    X = torch.randn(n, 40, generator=generator)
    return X, X @ truth + torch.randn(n, generator=generator)


(X_train, y_train), (X_val, y_val), (X_test, y_test) = rows(60), rows(60), rows(2000)


def loss(w, probs, X, y):  # eight relaxed masks at once
    masks = discrete.gumbel_softmax(discrete.Bernoulli(probs.expand(8, -1)), temperature=0.5)
    return (X @ (masks * w).T - y[:, None]).square().mean()


# %%
torch.manual_seed(0)
solution = bilevel.solve(
    bilevel.Adam(lambda w, probs: loss(w, probs, X_train, y_train), lr=0.05),
    lambda w, probs: loss(w, probs, X_val, y_val) + 0.05 * probs.sum(),  # a column costs 0.05
    torch.zeros(40),
    torch.full((40,), 0.5),
    n_steps=60,
    n_outer=OUTER,
    optimizer=functools.partial(torch.optim.Adam, lr=0.05),
    projection=bilevel.projections.box(0.01, 0.99),
    keep="last",
)
probs = solution.last.hyper
chosen = probs > 0.5


def test_error(columns):  # least squares on all 120 rows
    X, y = torch.cat([X_train, X_val])[:, columns], torch.cat([y_train, y_val])
    w = torch.linalg.lstsq(X, y[:, None]).solution
    return float((X_test[:, columns] @ w - y_test[:, None]).square().mean())


print(f"columns chosen: {chosen.nonzero().ravel().tolist()}")
print(
    f"test error (1.00 is noise): all columns {test_error(torch.ones(40, dtype=torch.bool)):.2f}, "
    f"chosen columns {test_error(chosen):.2f}"
)

# %%
figure = Figure(figsize=(6.4, 3), layout="constrained")
axes = figure.subplots()
axes.bar(range(40), probs.tolist(), color=["#4477aa" if value else "#8a8f98" for value in truth])
axes.axhline(0.5, color="#ee6677", linewidth=1)
axes.set(xlabel="column (blue: it matters)", ylabel="learned probability of being on")
