# # A bilevel problem of your own
#
# Every third training label is wrong, and 80 rows are known to be right. The inner problem
# trains a classifier on weighted rows; the outer objective is its loss on the 80 rows.
# Differentiated through the training, that loss says of every row whether it helps.

# %%
import functools

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

from lds import bilevel

OUTER = 40  # small: 2
X, y = (torch.tensor(part) for part in load_digits(return_X_y=True))
X = X.float() / 16
generator = torch.Generator().manual_seed(0)
train, checked, test = torch.randperm(len(y), generator=generator).split([600, 80, 1117])
noisy = y[train].clone()
wrong = torch.rand(len(train), generator=generator) < 1 / 3
noisy[wrong] = (noisy[wrong] + torch.randint(1, 10, (int(wrong.sum()),), generator=generator)) % 10


def losses(w, rows, labels):
    return F.cross_entropy(X[rows] @ w, labels, reduction="none")


# %%
solution = bilevel.solve(
    bilevel.Momentum(
        lambda w, share: (share * losses(w, train, noisy)).mean(), lr=0.5, momentum=0.9
    ),
    lambda w, share: losses(w, checked, y[checked]).mean(),
    torch.zeros(64, 10),
    torch.full((len(train),), 0.5),  # the weight of each row
    n_steps=60,
    n_outer=OUTER,
    optimizer=functools.partial(torch.optim.Adam, lr=0.05),
    projection=bilevel.projections.box(0, 1),
)
share = solution.hyper


def accuracy(rows, labels, weight):
    step = bilevel.Momentum(
        lambda w, _: (weight * losses(w, rows, labels)).mean(), lr=0.5, momentum=0.9
    )
    state = step.start(torch.zeros(64, 10), ())
    for t in range(300):
        state = step.step(state, (), t)
    return float(((X[test] @ step.params(state)).argmax(1) == y[test]).float().mean())


print(
    f"all rows alike: {accuracy(train, noisy, torch.ones(len(train))):.1%} of {len(test)} test rows"
)
print(f"the 80 checked rows alone: {accuracy(checked, y[checked], torch.ones(80)):.1%}")
both = torch.cat([train, checked]), torch.cat([noisy, y[checked]])
weights = torch.cat([share, torch.ones(80)])
print(f"learned weights, and the checked rows: {accuracy(*both, weights):.1%}")
print(
    f"mean weight: right labels {share[~wrong].mean():.2f}, wrong labels {share[wrong].mean():.2f}"
)

# %%
figure = Figure(figsize=(6.4, 3), layout="constrained")
axes = figure.subplots()
groups = [share[~wrong].numpy(), share[wrong].numpy()]
axes.hist(
    groups, 20, range=(0, 1), label=["right labels", "wrong labels"], color=["#4477aa", "#ee6677"]
)
axes.set(xlabel="learned weight of a row", ylabel="rows")
axes.legend(frameon=False)
