# # An attacked graph
#
# Somebody added edges to Cora's citation graph so that a GCN errs: for every four true edges
# there is one that an attacker chose (metattack; Zügner and Günnemann, 2019). The published rows
# are kept: 247 labels train, 249 rows stop the training, 1,988 are test rows. Which edges should
# we believe? (The attack was made against a GCN: an attacker who knows this method may do
# better.)

# %%
import json
import os
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from matplotlib.figure import Figure

from lds import LDSClassifier
from lds.structure.controls import fit_gcn
from lds.structure.methods.thesis import Thesis

STEPS = 300  # small: 5
root = Path(os.environ["LDS_DATA"]) / "attacked"
graph = np.load(root / "cora_graph.npz")


def matrix(name):
    parts = (graph[f"{name}_data"], graph[f"{name}_indices"], graph[f"{name}_indptr"])
    return sp.csr_array(parts, shape=graph[f"{name}_shape"])


X, truth, clean = matrix("x"), graph["y"], matrix("adj")
attacked = sp.csr_array(sp.load_npz(root / "cora_0.25.npz"))
rows = {
    name: np.array(rows)
    for name, rows in json.loads((root / "cora_splits.json").read_text()).items()
}
train, stopping, test = (rows[f"idx_{name}"] for name in ("train", "val", "test"))
print(f"{clean.nnz // 2:,} edges, {attacked.nnz // 2:,} after the attack")

# The labels of the training rows have two roles: most train the network, the others judge the
# edges.

# %%
y = np.full(len(truth), -1)
y[train], y[stopping] = truth[train], truth[stopping]
judge = np.random.default_rng(0).permutation(train)[: len(train) * 2 // 5]

clf = LDSClassifier(refit_steps=STEPS, random_state=0)
clf.fit(X, y, adjacency=attacked, validation=judge, stopping=stopping)
learned = (clf.transduction_ == truth)[test].mean()

problem = clf.learned_.problem
plain = fit_gcn(problem, problem.labelled, Thesis())  # a GCN on the graph as it is
plain = (plain.probabilities.argmax(1) == truth)[test].mean()
print(f"right on the test rows: GCN {plain:.1%}, lds {learned:.1%}")

# Why? The learned probabilities tell most of the attacker's edges from the true ones, though
# nothing said which are which.

# %%
edges = sp.triu(attacked, k=1).tocoo()
probability = np.asarray(clf.edge_probabilities_[edges.row, edges.col]).ravel()
true = np.asarray(clean[edges.row, edges.col]).ravel() > 0
print(
    f"mean learned probability: true edges {probability[true].mean():.2f}, "
    f"the attacker's {probability[~true].mean():.2f}"
)

figure = Figure(figsize=(6.4, 3), layout="constrained")
axes = figure.subplots()
bins = np.linspace(0, 1, 21)
for kind, name, colour in (
    (true, "true edges", "#4477aa"),
    (~true, "the attacker's edges", "#ee6677"),
):
    axes.hist(
        probability[kind],
        bins,
        histtype="step",
        linewidth=2,
        label=name,
        color=colour,
        weights=np.full(kind.sum(), 100 / kind.sum()),
    )
axes.set(xlabel="learned probability of an edge", ylabel="share of the edges, %")
axes.legend(frameon=False, loc="upper left")
