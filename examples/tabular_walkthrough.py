"""What a learned graph says about a table: wines, thirteen measurements, few labels.

    python examples/tabular_walkthrough.py [--max-iter N] [--out wine.graphml]

Read it from top to bottom, or open it as a notebook: `# %%` begins a cell for most editors.
"""

# %% [1] A table, of which few rows have a label
import argparse
import warnings
from pathlib import Path

import networkx as nx
import numpy as np
import scipy.sparse as sp
from sklearn.datasets import load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from lds import LDSClassifier
from lds.graphs.knn import knn_adjacency
from lds.graphs.metrics import homophily

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--max-iter", type=int, default=30)
parser.add_argument("--out", type=Path, help="also write the graph, for Gephi (.graphml, .gexf)")
options = parser.parse_args()

table = load_wine()
columns = np.array(table.feature_names)
X = StandardScaler().fit_transform(table.data).astype(np.float32)
truth = table.target

rng = np.random.default_rng(0)
known = np.concatenate(
    [rng.choice(np.flatnonzero(truth == c), 10, replace=False) for c in range(3)]
)
y = np.full(len(truth), -1)  # -1: unlabelled
y[known] = truth[known]
hidden = y == -1
print(f"{len(X)} wines, {len(columns)} measurements, {len(known)} labels")

# %% [2] Learn the graph together with the classes
clf = LDSClassifier(
    n_neighbors=10, metric="euclidean", max_iter=options.max_iter, patience=10, random_state=0
)
with warnings.catch_warnings():
    warnings.simplefilter("ignore", ConvergenceWarning)  # a small --max-iter is meant
    clf.fit(X, y)
plain = LogisticRegression().fit(X[known], y[known])
for name, predicted in (("LDS", clf.transduction_), ("logistic regression", plain.predict(X))):
    print(f"right on the rows without a label: {(predicted == truth)[hidden].mean():.1%} {name}")

# %% [3] What became of the graph it started from
before = knn_adjacency(X, 10, "euclidean")
after = clf.edge_probabilities_
for name, graph in (("nearest neighbours", before), ("learned", after)):
    print(
        f"{name}: {graph.sum() / 2:.0f} expected edges, "
        f"{homophily(graph, truth):.1%} of them between wines of one class"
    )

# %% [4] Edges that nearness alone does not give
new = sp.triu(after, k=1).tocoo()
learned = np.asarray(before[new.row, new.col]).ravel() == 0
order = np.flatnonzero(learned)[np.argsort(-new.data[learned])][:5]
print("most probable edges that were not there before:")
for row, col, probability in zip(new.row[order], new.col[order], new.data[order], strict=True):
    rank = int((np.linalg.norm(X - X[row], axis=1) < np.linalg.norm(X[col] - X[row])).sum())
    print(
        f"  {row} - {col}: {probability:.2f}; classes {truth[row]} and {truth[col]}; "
        f"{col} is neighbour {rank} of {row}"
    )

# %% [5] Which measurements edges agree on
# The mean squared difference over edges, each as probable as it is, beside that of any two wines
# (2, after scaling): a small share is a measurement that joined wines have in common.
edges = after.tocoo()
over_edges = edges.data @ (X[edges.row] - X[edges.col]) ** 2 / edges.data.sum()
share = over_edges / 2
print("difference over edges, as a share of that over all pairs:")
for k in np.argsort(share):
    print(f"  {share[k]:5.0%}  {columns[k]}")

# %% [6] Groups of rows that hang together
graph = clf.to_networkx(threshold=0.5)
groups = nx.community.louvain_communities(graph, weight="probability", seed=0)
groups = sorted((sorted(group) for group in groups), key=len, reverse=True)
print("groups in the graph, and the classes of their wines:")
for group in groups[:6]:
    counts = np.bincount(truth[group], minlength=3)
    print(f"  {len(group):3d} wines: {' '.join(map(str, counts))}")

# %% [7] Rows to look at again
# Entropy: how unsure a prediction is in all. Mutual information: the part of it that comes from not
# knowing the graph. A row whose edges lead to other classes is where classes meet.
print("least sure rows:")
for row in np.argsort(-clf.entropy_)[:5]:
    weights = after[[row]].toarray()[0]
    elsewhere = weights[clf.transduction_ != clf.transduction_[row]].sum()
    away = elsewhere / max(weights.sum(), 1e-12)
    print(
        f"  {row}: entropy {clf.entropy_[row]:.2f}, from the graph "
        f"{clf.mutual_information_[row]:.2f}; {away:.0%} of its edges lead to another class; "
        f"predicted {clf.transduction_[row]}, is {truth[row]}"
    )

# %% [8] The graph for a look in Gephi
if options.out is not None:
    clf.save_graph(options.out, threshold=0.1)
    print(f"wrote {options.out}")
