"""Messages of the shell name the options that were typed."""

import pytest

from lds.cli.flags import as_typed


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("name,a,label\n" + "".join(f"x{k},{k},{'uv'[k % 2]}\n" for k in range(8)))
    return path


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--target", "lable"], "error: --target must name the column of labels"),
        (["--target", "label", "--id", "nam"], "error: --id must name the column that names"),
        (["--target", "label", "--id", "label"], "--target and --id must be two columns, got"),
        (["--target", "label", "--sep", "abc"], "error: --sep must be one character"),
        (["--target", "label", "--test-size", "3"], "error: --test-size (share of the labelled"),
    ],
)
def test_a_mistake_about_a_table_names_the_option(lds, table, options, sentence):
    code, _, err = lds("fit", table, *options)
    assert code == 2
    assert sentence in err


@pytest.mark.parametrize("command", ["fit", "search"])
def test_an_option_of_tables_is_refused_by_its_name(lds, command):
    code, _, err = lds(command, "wine", "--id", "0")
    assert code == 2
    assert "error: --id is for a table, got '0'" in err


def test_text_that_is_no_name_of_an_option_stays():
    assert as_typed("identifier must be there") == "identifier must be there"  # no command runs
