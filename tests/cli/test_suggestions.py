"""A misspelt name of a closed choice gets the nearest known one."""

import numpy as np
import pytest

from lds import LDSClassifier, ThesisLDSClassifier
from lds.cli import main
from lds.graphs.knn import knn_adjacency
from lds.nn.registry import check_backbone
from lds.structure.methods.registry import method_of


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [
        ("fit wine --method thesys", "'thesis'"),
        ("fit wine --method thesis --support sparce", "'sparse'"),
        ("fit wine --method thesis --estimator straigth_through", "'straight_through'"),
        ("fit wnie", "'wine'"),
        ("search wine --try metrc=cosine", "'metric'"),
        ("fit wine --n-neighbours 5", "--n-neighbors"),
        ("fitt wine", "'fit'"),
    ],
)
def test_the_shell_names_the_nearest(arguments, nearest, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments.split())
    assert stop.value.code == 2
    assert nearest in capsys.readouterr().err


def test_python_names_the_nearest():
    with pytest.raises(ValueError, match="the nearest is 'views'"):
        method_of("view")
    with pytest.raises(ValueError, match="the nearest is 'cosine'"):
        knn_adjacency(np.eye(5), 2, "cosin")
    with pytest.raises(TypeError, match="the nearest is 'n_neighbors'"):
        method_of("default", n_neighbour=3)
    with pytest.raises(TypeError, match="the nearest is 'n_neighbors'"):
        LDSClassifier(n_neighbor=3)
    with pytest.raises(ValueError, match="the nearest is 'sparse'"):
        ThesisLDSClassifier(support="sparse_")._method()


def test_a_backbone_names_the_nearest():
    with pytest.raises(ValueError, match="the nearest is 'gcn'"):
        check_backbone("gnc", connected=False)
