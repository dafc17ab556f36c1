"""The data sets by name, and the suffixes of tables and graphs: what `lds fit NAME` accepts.

The shell reads this before torch and pandas are imported, so it imports nothing heavy.
"""

from pathlib import Path
from typing import NamedTuple

from lds._files import check_input_file
from lds._words import nearest


class Source(NamedTuple):
    """Where a data set is defined, and what `lds datasets` says of it.

    Arguments:
        module: that has the function `load(name, seed, root)`.
        rows, features, classes: numbers of each; None: not known.
        edges: undirected edges of its graph, without loops; 0: it has no graph.
        licence: that its source states; None: not known.
        files: paths under the root, one of which is enough; (): it needs no file.
    """

    module: str
    rows: int | None = None
    features: int | None = None
    classes: int | None = None
    edges: int = 0
    licence: str | None = None
    files: tuple[str, ...] = ()

    @property
    def has_graph(self) -> bool:
        """Whether the data set has a graph."""
        return self.edges > 0


TABULAR, _PLANETOID = "lds.datasets.tabular", "lds.datasets.planetoid"
_PYG, _OGB = "lds.datasets.pyg", "lds.datasets.ogb"
_UCI, _UNKNOWN = "CC BY 4.0", "none stated"

REGISTRY = {
    "iris": Source(TABULAR, 150, 4, 3, 0, _UCI),
    "wine": Source(TABULAR, 178, 13, 3, 0, _UCI),
    "breast_cancer": Source(TABULAR, 569, 30, 2, 0, _UCI),
    "digits": Source(TABULAR, 1797, 64, 10, 0, _UCI),
    "20news10": Source(
        "lds.datasets.newsgroups",
        *(9607, 236, 10, 0, _UNKNOWN),
        ("20news10/20news10_tfidf.npz", "20news-bydate_py3.pkz"),
    ),
    "mnist": Source(
        "lds.datasets.mnist", 5000, 784, 10, 0, _UNKNOWN, ("mnist/mnist.npz", "openml")
    ),
    "cora": Source(_PLANETOID, 2708, 1433, 7, 5278, "MIT", ("planetoid/Cora/raw", "Cora/raw")),
    "citeseer": Source(
        _PLANETOID, 3327, 3703, 6, 4552, "MIT", ("planetoid/CiteSeer/raw", "CiteSeer/raw")
    ),
    "pubmed": Source(
        _PLANETOID, 19717, 500, 3, 44324, "MIT", ("planetoid/PubMed/raw", "PubMed/raw")
    ),
    "amazon_computers": Source(
        _PYG, 13752, 767, 10, 245861, "MIT", ("amazon/Computers/raw", "Computers/raw")
    ),
    "amazon_photo": Source(_PYG, 7650, 745, 8, 119081, "MIT", ("amazon/Photo/raw", "Photo/raw")),
    "coauthor_cs": Source(_PYG, 18333, 6805, 15, 81894, "MIT", ("coauthor/CS/raw", "CS/raw")),
    "coauthor_physics": Source(
        _PYG, 34493, 8415, 5, 247962, "MIT", ("coauthor/Physics/raw", "Physics/raw")
    ),
    "wikics": Source(_PYG, 11701, 300, 10, 215603, "MIT", ("wikics/raw",)),
    "cornell": Source(
        _PYG, 183, 1703, 5, 277, _UNKNOWN, ("graphs/cornell.npz", "webkb/cornell/raw")
    ),
    "texas": Source(_PYG, 183, 1703, 5, 279, _UNKNOWN, ("graphs/texas.npz", "webkb/texas/raw")),
    "wisconsin": Source(
        _PYG, 251, 1703, 5, 450, _UNKNOWN, ("graphs/wisconsin.npz", "webkb/wisconsin/raw")
    ),
    "actor": Source(_PYG, 7600, 932, 5, 26659, _UNKNOWN, ("graphs/actor.npz", "actor/raw")),
    "chameleon_filtered": Source(
        _PYG, 890, 2325, 5, 8854, "MIT", ("graphs/chameleon_filtered.npz",)
    ),
    "squirrel_filtered": Source(
        _PYG, 2223, 2089, 5, 46998, "MIT", ("graphs/squirrel_filtered.npz",)
    ),
    "roman_empire": Source(
        _PYG,
        22662,
        300,
        18,
        32927,
        "MIT",
        ("graphs/roman_empire.npz", "heterophilous/roman_empire/raw"),
    ),
    "amazon_ratings": Source(
        _PYG,
        24492,
        300,
        5,
        93050,
        "MIT",
        ("graphs/amazon_ratings.npz", "heterophilous/amazon_ratings/raw"),
    ),
    "minesweeper": Source(
        _PYG,
        10000,
        7,
        2,
        39402,
        "MIT",
        ("graphs/minesweeper.npz", "heterophilous/minesweeper/raw"),
    ),
    "tolokers": Source(
        _PYG,
        11758,
        10,
        2,
        519000,
        "MIT",
        ("graphs/tolokers.npz", "heterophilous/tolokers/raw"),
    ),
    "questions": Source(
        _PYG,
        48921,
        301,
        2,
        153540,
        "MIT",
        ("graphs/questions.npz", "heterophilous/questions/raw"),
    ),
    "ogbn-arxiv": Source(
        _OGB, 169343, 128, 40, 1157799, "ODC-BY", ("ogbn_arxiv/raw", "ogbn_arxiv/split")
    ),
}
"""Every data set by its name in lower case. A new data set is a module and one line here."""

ALIASES = {"cancer": "breast_cancer"}
"""Other names of data sets."""

TEXT = (".csv", ".tsv", ".tab", ".psv", ".txt", ".data", ".dat")
"""Suffixes of text files of cells."""

COMPRESSED = (".gz", ".bz2", ".xz", ".zip")
"""Suffixes of compressed files; one may follow a suffix of `TEXT`."""

TABLES = (*TEXT, ".parquet")
"""Suffixes of tables."""

GRAPHS = (".graphml", ".gexf", ".npz")
"""Suffixes of files of a graph with features and labels of its nodes."""

EXCEL = (".xlsx", ".xls", ".xlsm", ".xlsb", ".ods")
"""Suffixes of workbooks, which are refused."""


def is_a_table(name: str | Path) -> bool:
    """Whether a name is the path of a table, not the name of a data set."""
    if registered(name) is not None and not isinstance(name, Path):
        return False
    path = Path(name)
    return isinstance(name, Path) or bool(path.suffix) or len(path.parts) > 1 or path.is_file()


def is_a_graph(name: str | Path) -> bool:
    """Whether a name is the path of a file of a graph."""
    return is_a_table(name) and Path(name).suffix.lower() in GRAPHS


def registered(name: str | Path) -> str | None:
    """Return the key in `REGISTRY` of a name in upper or lower case, or None."""
    key = ALIASES.get(str(name).lower(), str(name).lower())
    return key if key in REGISTRY else None


def check_source(name: str | Path) -> None:
    """Refuse a name that is neither that of a data set nor the path of a table.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the name or the suffix is unknown.
    """
    if is_a_graph(name):
        check_input_file(Path(name), "graph")
    elif is_a_table(name):
        check_table(Path(name))
    elif registered(name) is None:
        raise ValueError(
            f"data set must be one of {', '.join(REGISTRY)}, or the path of a table "
            f"({', '.join(TABLES)}) or of a graph ({', '.join(GRAPHS)}), got {str(name)!r}"
            f"{nearest(str(name), REGISTRY)}"
        )


def check_table(path: Path) -> None:
    """Refuse a path that is not that of a table.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it has another suffix, or is a folder.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    last = suffixes[-1] if suffixes else ""
    if last in EXCEL:
        raise ValueError(f"{path} is a workbook; save its sheet as .csv and give that file")
    if last not in (*TABLES, *COMPRESSED):
        raise ValueError(
            f"a table must be a {', '.join(TABLES)} file, a text perhaps compressed "
            f"({', '.join(COMPRESSED)}), got {str(path)!r}"
        )
    check_input_file(path, "table")
