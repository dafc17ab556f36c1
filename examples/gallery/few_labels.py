# # A table with few labels
#
# 1,797 images of digits as a table of 64 columns, and five labels a class. A classifier that
# reads labelled rows alone wastes the other 1,747. A graph of all rows lets labels travel, and
# the default method learns which likeness of rows they follow.

# %%
import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from lds import LDSClassifier

X, truth = load_digits(return_X_y=True)
rng = np.random.default_rng(0)
known = np.concatenate(
    [rng.choice(np.flatnonzero(truth == c), 5, replace=False) for c in range(10)]
)
y = np.full(len(truth), -1)  # -1: no label
y[known] = truth[known]
hidden = y == -1

# %%
clf = LDSClassifier(random_state=0).fit(X, y)
right = {}
for name, model in (
    ("logistic regression", LogisticRegression(max_iter=1000)),
    ("RBF SVM", SVC()),
    ("random forest", RandomForestClassifier(random_state=0)),
):
    fitted = make_pipeline(StandardScaler(), model).fit(X[known], truth[known])
    right[name] = (fitted.predict(X) == truth)[hidden].mean()
right["lds"] = (clf.transduction_ == truth)[hidden].mean()
for name, share in right.items():
    print(f"{name}: {share:.1%} of {hidden.sum():,} rows without a label")

# Ask why a row got its class: `explain` lists its neighbours, their votes, and what each member of
# the committee says.

# %%
unsure = int(np.flatnonzero(hidden)[clf.entropy_[hidden].argmax()])
found = clf.explain(unsure, most=3)
votes = ", ".join(f"{name}: {vote:.0%}" for name, vote in found.votes.items() if vote > 0.05)
print(f"row {unsure}: predicted {found.prediction}, is {truth[unsure]}; votes of its edges {votes}")
for member in found.members:
    print(f"  {member.name}: {member.prediction} ({member.probability:.0%})")

figure = Figure(figsize=(6.4, 3), layout="constrained")
axes = figure.subplots()
colours = ["#8a8f98"] * 3 + ["#4477aa"]
bars = axes.barh(list(right), [100 * share for share in right.values()], color=colours)
axes.bar_label(bars, fmt="%.1f")
axes.set(xlabel="right on the rows without a label, %", xlim=(0, 108))
axes.invert_yaxis()
