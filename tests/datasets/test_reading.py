"""Every way of writing one table gives its frame of text, and what was found out is said."""

import bz2
import gzip
import io
import lzma
import zipfile
from pathlib import Path

import numpy as np
import pytest

pd = pytest.importorskip("pandas", reason="tables need the extra lds[table]")
pytest.importorskip("clevercsv", reason="tables need the extra lds[table]")

from lds.datasets.reading import FileFormat, read_table  # noqa: E402
from lds.datasets.registry import load  # noqa: E402

NAMES = ["size", "long name", "y"]
ROWS = [[f"{k}.{k % 7}5", f"{k % 5}.25", "ab"[k % 2]] for k in range(1, 13)]


def written(
    separator: str = ",", *, header: bool = True, decimal: str = ".", end: str = "\n"
) -> str:
    rows = [[cell.replace(".", decimal) for cell in row] for row in ROWS]
    return "".join(separator.join(row) + end for row in ([NAMES] if header else []) + rows)


def zipped(**files: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return buffer.getvalue()


def read(tmp_path: Path, name: str, content: bytes | str, **options: object):
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_table(path, **options)


QUOTED = "".join(",".join(f'"{cell}"' for cell in row) + "\n" for row in [NAMES, *ROWS])
INDEXED = "".join(f"{k},{','.join(row)}\n" for k, row in enumerate(ROWS))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("plain.csv", written(), ""),
        ("semicolon.csv", written(";"), "columns are separated by ';'"),
        ("tab.txt", written("\t"), "columns are separated by tabs"),
        ("tab.tsv", written("\t"), ""),
        ("pipe.csv", written("|"), "columns are separated by '|'"),
        ("crlf.csv", written(end="\r\n"), ""),
        ("cr.csv", written(end="\r"), ""),
        ("mark.csv", written().encode("utf-8-sig"), ""),
        ("utf16.csv", written().encode("utf-16"), ""),
        ("utf16.csv", written().encode("utf-16-le"), "the encoding is guessed to be utf-16-le"),
        ("utf32.csv", written().encode("utf-32"), ""),
        ("table.csv.gz", gzip.compress(written().encode()), ""),
        ("table.csv.bz2", bz2.compress(written().encode()), ""),
        ("table.data.xz", lzma.compress(written().encode()), ""),
        ("table.zip", zipped(**{"t.csv": written(), "__MACOSX/t.csv": "x"}), ""),
        ("misnamed.csv", gzip.compress(written().encode()), ""),
        ("trailing.csv", written(end=",\n"), ""),
        ("trailing_rows.csv", ",".join(NAMES) + "\n" + written(header=False, end=",\n"), ""),
        ("trailing_header.csv", ",".join(NAMES) + ",,\n" + written(header=False), ""),
        ("comments.csv", "# made by a, b, c\n\n% on Monday\n// so\n" + written(), "3 comments"),
        ("last.csv", written() + "# the end\n", "(line 14: # the end)"),
        ("savetxt.csv", "# " + written(), "the last comment names the columns"),
        ("blank.csv", "\n\n" + written(end="\n\n"), ""),
        ("blank_rows.csv", written() + ",,\n , ,\n", "2 blank rows left out"),
        ("spaces.csv", " size , long name ,y \n" + written(" , ", header=False), ""),
        ("quotes.csv", QUOTED, ""),
        ("spaced_quotes.csv", QUOTED.replace('","', '" , "').replace('"\n', '" \n'), ""),
        ("single.csv", QUOTED.replace('"', "'"), "cells are quoted by '"),
        ("excel.csv", "sep=;\n" + written(";"), "columns are separated by ';'"),
        ("index.csv", f",{','.join(NAMES)}\n{INDEXED}", "the first column has no name: it is an"),
        ("pandas.csv", f"Unnamed: 0,{','.join(NAMES)}\n{INDEXED}", "is called 'Unnamed: 0': it is"),
        (
            "r.csv",
            ",".join(NAMES) + "\n" + "".join(f"r{line}\n" for line in INDEXED.splitlines()),
            "the first column has no name: it is an index, left out",
        ),
        ("twice.csv", written() + written(), "1 repeated header left out"),
        ("end_of_file.csv", written() + "\x1a", ""),
    ],
    ids=lambda value: value if isinstance(value, str) and "." in value[:25] else "",
)
def test_the_same_table_however_it_is_written(
    tmp_path: Path, name: str, content: bytes | str, said: str
) -> None:
    frame, how = read(tmp_path, name, content)
    rows = ROWS * 2 if name == "twice.csv" else ROWS
    assert list(frame.columns) == list(how.columns) == NAMES
    assert frame.to_numpy().tolist() == rows
    assert (how.header, how.decimal) == (True, ".")
    assert said in "; ".join(how.found)
    assert bool(how.found) == bool(said)


@pytest.mark.parametrize(
    ("name", "content", "separator"),
    [
        ("rows.csv", written(header=False), ","),
        ("rows.data", written("   ", header=False), " "),
        ("rows.txt", "".join(f"  {' '.join(row)} \n" for row in ROWS), " "),
        ("rows.csv", written(header=False, end=",\n"), ","),
        ("rows.csv", "# three columns\n" + written(header=False), ","),
    ],
)
def test_rows_without_a_header_lose_none(
    tmp_path: Path, name: str, content: str, separator: str
) -> None:
    frame, how = read(tmp_path, name, content)
    assert list(frame.columns) == ["column_1", "column_2", "column_3"]
    assert frame.to_numpy().tolist() == ROWS
    assert (how.header, how.separator) == (False, separator)
    assert "there is no header: columns are called column_1 to column_3" in how.found


HABERMAN = "".join(f"{30 + k % 40},{58 + k % 11},{k % 9},{1 + k % 2}\n" for k in range(60))
TEXTS = "color,shape,kind\n" + "red,round,a\nblue,flat,b\n" * 5


@pytest.mark.parametrize(
    ("content", "first", "n_rows"),
    [
        (HABERMAN, None, 60),  # integers alone
        ("5.1,3.5,setosa\n" + "4.9,3.0,setosa\n6.1,2.9,other\n" * 5, None, 11),
        ("3,?,alfa,13495\n" + "3,?,audi,16500\n1,164,bmw,17450\n" * 5, None, 11),
        ("missing,3,alfa\n" + "2,4,alfa\n1,5,bmw\n" * 5, None, 11),
        ("x,o,x,positive\n" + "o,o,x,negative\nx,x,o,positive\n" * 5, None, 11),
        ("2020-01-02,1.5,a\n" + "2020-01-03,2.5,b\n2021-01-03,2,a\n" * 5, None, 11),
        ('"$1,200",5 %,a\n' + '"$2,300",7 %,b\n"$900",1 %,a\n' * 5, None, 11),
        (TEXTS, "color", 10),
        ("0,1,2,class\n" + "0.5,2,1,1\n0.7,3,1,0\n" * 5, "0", 10),  # as pandas names columns
        ("2019,2020,kind\n" + "1,2,a\n4,5,b\n" * 5, "2019", 10),
        (
            "land,2019,2020,kind\nAustria,879,8917,rich\nMalta,9504,515,rich\nChad,1,2,poor\n",
            "land",
            3,
        ),
        ("2019,2020\n" + "8879,1917\n504,8515\n" * 5, "2019", 10),
        ("id,2019,2020\n1,8879,1917\n2,504,8515\n3,2100,16644\n", "id", 3),
        ("3,4,5\n" + "5,1,2\n1,5,5\n" * 5, None, 11),  # a row of ratings, not three names
        ("0,1,2\n" + "0,1,1\n2,1,2\n" * 5, None, 11),
        ("0,1,2\n" + "7,1,9\n2,8,4\n" * 5, "0", 10),
        ("x,y\n1,a\n2,b\n", "x", 2),
        ("x,y\n?,a\n2,b\n3,b\n", "x", 3),
        ("a,b,y\n", "a", 0),
        ("1.5,2.5,3\n", None, 1),
    ],
)
def test_a_header_or_none_is_found_out(
    tmp_path: Path, content: str, first: str | None, n_rows: int
) -> None:
    frame, how = read(tmp_path, "t.csv", content)
    assert how.header == (first is not None)
    assert frame.columns[0] == (first or "column_1")
    assert len(frame) == n_rows


def test_a_header_can_be_insisted_on(tmp_path: Path) -> None:
    frame, _ = read(tmp_path, "t.csv", HABERMAN, header=True)
    assert (list(frame.columns), len(frame)) == (["30", "58", "0", "1"], 59)
    frame, _ = read(tmp_path, "t.csv", TEXTS, header=False)
    assert frame.iloc[0].tolist() == ["color", "shape", "kind"]
    unclear = "2019,2021,class\n" + "1,2,0\n4,5,1\n" * 5
    with pytest.raises(ValueError, match=r"may be a header or a row: .*--header or --no-header"):
        read(tmp_path, "t.csv", unclear)
    assert read(tmp_path, "t.csv", unclear, header=True)[0].shape == (10, 3)
    assert read(tmp_path, "t.csv", unclear, header=False)[0].shape == (11, 3)


@pytest.mark.parametrize(
    ("text", "encoding", "guess"),
    [
        ("prénom,âge,y\nFrançois,12,a\nHélène,13,b\n", "latin-1", "cp1252"),
        ("price,y\n€ 12,a\n€ 13,b\n", "cp1252", "cp1252"),
        ("state,y\nkrank ä,u\ngesund,v\nkrank ä,v\n", "latin-1", "cp1252"),
        ("kind,y\n" + "some words,חולה\nother words,בריא\n" * 10, "cp1255", "windows-1255"),
        ("имя,город,y\nАнна,Москва,да\nИван,Казань,нет\n", "cp1251", "windows-1251"),
        ("a,b,y\n" + "1,2,u\n" * 30_000 + "3,café,v\n", "latin-1", "cp1252"),  # a late byte
    ],
)
def test_encodings_are_guessed_and_said(
    tmp_path: Path, text: str, encoding: str, guess: str
) -> None:
    expected = [line.split(",") for line in text.splitlines()]
    frame, how = read(tmp_path, "t.csv", text.encode(encoding), header=True)
    assert [list(frame.columns), *frame.to_numpy().tolist()] == expected
    assert (how.encoding, how.found) == (guess, (f"the encoding is guessed to be {guess}",))
    frame, how = read(tmp_path, "t.csv", text.encode(encoding), header=True, encoding=encoding)
    assert [list(frame.columns), *frame.to_numpy().tolist()] == expected
    assert (how.encoding, how.found) == (encoding, ())


@pytest.mark.parametrize(
    ("content", "mark"),
    [
        (written(";", decimal=","), ","),
        (written(";", decimal=",", header=False), ","),
        (written(" ", decimal=",", header=False), ","),
        ("a;y\n1.234,5;u\n2.345,6;v\n", ","),
        ("a;y\n1,234;u\n2,345;v\n", ","),
        ('a,y\n"1,234",u\n"2,345",v\n', None),  # thousands, as far as one can tell
        ('a,y\n"1,234.5",u\n"2,345.5",v\n', "."),
        ("a;y\n1.5;u\n2.25;v\n", "."),
        ("a;y\n1;u\n2;v\n", None),
    ],
)
def test_the_decimal_mark(tmp_path: Path, content: str, mark: str | None) -> None:
    frame, how = read(tmp_path, "t.txt", content)
    assert how.decimal == mark
    assert ("numbers have a decimal comma" in how.found) == (mark == ",")
    assert frame.iloc[0, 0] in content, "cells stay as they are written"


@pytest.mark.parametrize(
    ("content", "mark", "doubt"),
    [
        ("a;b\n2,5;1.100\n3,5;1.200\n", ",", ""),
        ("a;b\n2.5;1.100\n3.5;1.200\n", ".", ""),
        ("a;b\n2;1.234.567\n3;1.100\n", ",", ""),
        ("a;b\n2,250;1.100\n3,250;1.200\n", ",", "2,250 are read as 2.250, not as 2250"),
        ("a;b\n2;1,100\n3;1,200\n", ",", "1,100 are read as 1.100, not as 1100"),
        ("a;b\n2;1.100\n3;1.200\n", ".", "1.100 are read as 1.100, not as 1100"),
        ('a,b\n2,"1,100"\n3,"1,200"\n', None, "1,100 are read as 1100, not as 1.100"),
        ("a,b\n2,1.100\n3,1.200\n", ".", ""),
    ],
)
def test_a_number_with_two_meanings_is_read_by_the_others_or_told_of(
    tmp_path: Path, content: str, mark: str | None, doubt: str
) -> None:
    _, how = read(tmp_path, "t.csv", content)
    assert how.decimal == mark
    told = [sentence for sentence in how.found if "no other number decides" in sentence]
    assert len(told) == bool(doubt)
    assert doubt in "".join(told)


def test_a_point_between_thousands_is_read_as_one(tmp_path: Path) -> None:
    rows = "".join(f"{k},5;{k % 3 + 1}.{100 + k};{'uv'[k % 2]}\n" for k in range(12))
    (tmp_path / "t.csv").write_text("a;b;y\n" + rows)
    found = load(tmp_path / "t.csv", target="y", test_size=0)
    quantity = found.encoding.columns[1]
    assert quantity.fill == np.median([(k % 3 + 1) * 1000 + 100 + k for k in range(12)])


def test_a_header_over_words_is_a_guess_and_said(tmp_path: Path) -> None:
    _, how = read(tmp_path, "t.csv", TEXTS)
    assert how.found == (
        "the first line is read as a header (color, shape, kind), for no row has its words; "
        "if it is a row, say --no-header (in Python header=False)",
    )
    _, how = read(tmp_path, "t.csv", TEXTS.replace("color,shape,kind", "blue,round,a"))
    assert how.found[0] == (
        "the first line is read as a row (blue, round, a), for other rows have its words; "
        "if it is a header, say --header (in Python header=True)"
    )
    assert how.found[1].startswith("there is no header")
    for header in (True, False):
        _, how = read(tmp_path, "t.csv", TEXTS, header=header)
        assert "the first line" not in "".join(how.found), "nothing is guessed"


def test_cells_are_taken_apart_as_they_were_put_together(tmp_path: Path) -> None:
    content = 'text,note,y\n"a, b","say ""hi""",u\n" c ","two\nlines",v\n"",NA,u\n'
    frame, _ = read(tmp_path, "t.csv", content)
    rows = [["a, b", 'say "hi"', "u"], ["c", "two\nlines", "v"], ["", "NA", "u"]]
    assert frame.to_numpy().tolist() == rows
    frame, _ = read(tmp_path, "t.csv", 'a,y\n"say \\"hi\\", ok",u\nx,v\n')
    assert frame.iloc[0, 0] == 'say "hi", ok'
    mpg = "".join(f'{k}.5   8   {k}07.0  \t"ford torino"\n' for k in range(12))
    frame, _ = read(tmp_path, "auto-mpg.data", mpg)
    assert frame.iloc[3].tolist() == ["3.5", "8", "307.0", "ford torino"]


def test_names_are_made_distinct(tmp_path: Path) -> None:
    frame, how = read(tmp_path, "t.csv", "a,a,,a_2,y\n1,2,3,4,u\n5,6,7,8,v\n")
    assert list(frame.columns) == ["a", "a_3", "column_3", "a_2", "y"]
    assert how.found == (
        "columns without a name are called column_3",
        "column 2 is called 'a_3': there is a 'a' before it",
    )


def test_a_first_column_without_a_name_that_repeats_is_none(tmp_path: Path) -> None:
    frame, how = read(tmp_path, "t.csv", ",a,y\n1,2,u\n1,3,v\n")
    assert list(frame.columns) == ["column_1", "a", "y"]
    assert how.found == ("the first column has no name and is called column_1",)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", "", "is empty"),
        ("t.csv", " \n\n", "is empty"),
        ("t.csv", ",,\n,,\n", "has blank cells only"),
        ("t.csv", bytes(range(256)) * 20, "it is a binary file"),
        ("t.csv", bytes(range(1, 256)) * 20, "it is a binary file"),
        ("t.csv", b"\x80\x04\x95abc", "a Python pickle, which lds never reads"),
        ("t.csv", b"\xd0\xcf\x11\xe0abc", r"an Excel workbook \(.xls\)"),
        ("t.csv", zipped(**{"[Content_Types].xml": "", "xl/w.xml": ""}), "it is a workbook"),
        ("t.csv", "<!DOCTYPE html>\n<html>a,b</html>", "it is an HTML or XML page"),
        ("t.csv", '[{"a": 1}]', "it is JSON"),
        ("t.csv", "% x\n@relation r\n@data\n1,2\n", "it is an ARFF file"),
        ("t.txt", "+1 1:0.5 3:1\n-1 2:1\n", "the sparse format of libsvm"),
        ("t.csv", "version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
        ("t.zip", zipped(a="1,2", b="3,4"), r"must hold one file, got 2 \(a, b\)"),
        ("t.csv.gz", gzip.compress(written().encode())[:-9], "is damaged: gzip cannot"),
        ("t.parquet", "x,y\n1,a\n", "it is no parquet file"),
        ("t.csv", written() + "1,2,3,4\n1,2\n", "most have 3, but line 14 has 4, line 15 has 2;"),
        ("t.csv", "a,b\n" + written(header=False), "most have 3, but line 1 has 2"),
        ("t.csv", "# c\n\n" + written() + "1,2\n", "line 16 has 2"),
        ("t.csv", written() + '1,"foo,a\n2,3,b\n', r"line 14 opens a quote \(\"\) that is never"),
        (
            "t.csv",
            written() + '1,"foo,a\n2,"bar,b\n',
            "line 14 has a quote .* that is not followed",
        ),
        ("t.csv", f"a,y\n{'x' * 200_000},u\nx,v\n", "line 2 has a cell of over 131,072"),
    ],
)
def test_what_is_no_table_is_refused_with_the_cause(
    tmp_path: Path, name: str, content: bytes | str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        read(tmp_path, name, content)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"separator": "ab"}, "separator must be one character"),
        ({"encoding": "klingon"}, "encoding must be one that Python knows"),
        ({"encoding": "utf-8\0"}, "encoding must be one that Python knows"),
        ({"encoding": "utf-8"}, "is not utf-8: line 2 has the byte 0xe9"),
    ],
)
def test_wrong_options_are_refused(
    tmp_path: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        read(tmp_path, "t.csv", "a,y\nné,u\n".encode("latin-1"), **options)


def test_a_separator_can_be_insisted_on(tmp_path: Path) -> None:
    content = "a:b:y\n1:2:u\n3:4:v\n"
    frame, how = read(tmp_path, "t.csv", content, separator=":")
    assert frame.to_numpy().tolist() == [["1", "2", "u"], ["3", "4", "v"]]
    assert how.found == ()
    frame, _ = read(tmp_path, "t.csv", content.replace(":", "\t"), separator="tab")
    assert list(frame.columns) == ["a", "b", "y"]


def test_long_lines_and_many_rows(tmp_path: Path) -> None:
    wide = ",".join(f"f{k}" for k in range(5000)) + "\n" + (",".join(["1.25"] * 5000) + "\n") * 5
    assert read(tmp_path, "t.csv", wide)[0].shape == (5, 5000)
    cell = "x" * 100_000
    assert read(tmp_path, "t.csv", f"a,y\n{cell},u\nx,v\n")[0].iloc[0, 0] == cell


def test_parquet_keeps_its_types(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="parquet needs pyarrow")
    table = pd.DataFrame({"Unnamed: 0": [0, 1], "x": [1.5, None], "when": pd.to_datetime([1, 2])})
    table.to_parquet(tmp_path / "t.parquet")
    frame, how = read_table(tmp_path / "t.parquet")
    pd.testing.assert_frame_equal(frame, table[["x", "when"]])
    assert how.separator is None
    assert how.found == ("the first column is called 'Unnamed: 0': it is an index, left out",)
    with pytest.raises(ValueError, match="sep is for text files"):
        read_table(tmp_path / "t.parquet", separator=";")


def test_a_format_comes_back_from_json(tmp_path: Path) -> None:
    _, how = read(tmp_path, "t.csv", written(";"))
    assert FileFormat.from_dict(how.to_dict()) == how
    with pytest.raises(ValueError, match="the format of the table is damaged"):
        FileFormat.from_dict({"separator": ";"})


@pytest.mark.ci
@pytest.mark.data
def test_the_dialects_of_real_files(data_folder: Path) -> None:
    files = sorted((data_folder / "tables").glob("*.csv*"))
    if not files:
        pytest.skip(f"{data_folder} has no tables")
    for path in files:
        frame, how = read_table(path)
        raw = path.read_bytes()
        lines = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode().splitlines()
        separator = "," if path.name.startswith("raw") else "\t"
        header = not path.name.startswith("raw")
        assert (how.separator, how.header) == (separator, header), path.name
        expected = [[cell.strip() for cell in line.split(separator)] for line in lines[header:]]
        assert frame.to_numpy().tolist() == expected, path.name
