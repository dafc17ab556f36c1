# # An incomplete graph
#
# A citation graph of which three of four edges are missing: Cora, 2,708 papers, 640 labels to
# train and choose by, 1,000 test rows. The words of two papers say whether an edge between them
# is likely; how far to trust words, and how far the given edges, is learned.

# %%
import numpy as np
import scipy.sparse as sp
from matplotlib.figure import Figure

from lds import LDSClassifier, datasets
from lds.structure.controls import fit_gcn
from lds.structure.methods.thesis import Thesis

STEPS = 300  # small: 5
SHARES = (0.25, 0.5)  # small: (0.25,)

found = {}
for share in SHARES:
    cora = datasets.load("cora", retain=share)
    split = cora.split
    y = np.full(cora.n_nodes, -1)  # -1: no label
    known = np.concatenate([split.train, split.validation, split.stopping])
    y[known] = cora.labels[known]
    clf = LDSClassifier(refit_steps=STEPS, random_state=0)
    clf.fit(cora.features, y, cora.adjacency, validation=split.validation, stopping=split.stopping)
    problem = clf.learned_.problem
    gcn = fit_gcn(problem, problem.labelled, Thesis()).probabilities.argmax(1)
    right = [
        np.mean((each == cora.labels)[split.test])
        for each in (gcn, clf.label_distributions_.argmax(1))
    ]
    found[share] = right
    print(f"{share:.0%} of the edges: GCN {right[0]:.1%}, lds {right[1]:.1%}")

# Which edges did learning find? Those between papers of one class are turned up.

# %%
theta = sp.triu(clf.edge_probabilities_, k=1).tocoo()
new = np.asarray(cora.adjacency[theta.row, theta.col]).ravel() == 0
same = cora.labels[theta.row] == cora.labels[theta.col]
for name, kind in (("given", ~new), ("new", new)):
    weight = theta.data[kind]
    print(
        f"{name} edges: {weight.sum():,.0f} expected, "
        f"{weight @ same[kind] / weight.sum():.0%} of their weight within a class"
    )

figure = Figure(figsize=(6.4, 3), layout="constrained")
axes = figure.subplots()
place = np.arange(len(found))
for k, (name, colour) in enumerate((("GCN on the given edges", "#8a8f98"), ("lds", "#4477aa"))):
    heights = [100 * right[k] for right in found.values()]
    bars = axes.bar(place + 0.4 * k - 0.2, heights, 0.38, label=name, color=colour)
    axes.bar_label(bars, fmt="%.1f")
axes.set_xticks(place, [f"{share:.0%} of the edges" for share in found])
axes.set(ylabel="right on the test rows, %", ylim=(0, 100))
axes.legend(frameon=False, loc="lower right")
