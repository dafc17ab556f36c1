"""A file in any dialect, perhaps damaged, becomes a table, or is refused with a sentence."""

import bz2
import gzip
import lzma
import warnings
import zipfile
from io import BytesIO

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from lds.datasets.registry import load
from lds.datasets.table import load_rows
from tests.datasets.test_fuzz_frames import DATES, GONE, NUMBERS, WORDS
from tests.endings import OPEN, ends_well

CASES, MANY = 150, 3000
TEXTS = [word for word in WORDS if word.isprintable()]
LABELS = [
    ["u", "v"],
    ["0", "1"],
    ["1", "2", "3"],
    ["-1", "1"],
    ["Yes", "yes"],
    ["1.5", "2.5", "9.1"],
    ["?", "a"],
    ["é", "ß"],
    ["1.0", "2"],
    ["u"],
    ["inf", "1"],
    ["007", "7"],
]


@st.composite
def tables(draw):
    """A header and rows of text; the target is the last column."""
    n, d = draw(st.sampled_from([20, 40, 12, 9, 2, 0])), draw(st.sampled_from([2, 3, 4, 1, 0]))
    rng = np.random.default_rng(draw(st.integers(0, 200)))

    def column():
        kind = draw(st.sampled_from(["real", "real", "whole", "few", "pool"]))
        if kind == "real":
            return [f"{value:.3g}" for value in rng.standard_normal(n)]
        if kind == "whole":
            return [str(value) for value in rng.integers(0, 9, n)]
        pool = [NUMBERS, DATES, TEXTS, GONE][draw(st.integers(0, 3))]
        few = rng.choice(np.array(pool, dtype=object), 2 if kind == "few" else 6)
        return [str(few[k]) for k in rng.integers(0, len(few), n)]

    names = draw(st.sampled_from([*[LABELS[0]] * 8, *LABELS]))
    labels = [names[k] for k in rng.integers(0, len(names), n)]
    blanks = draw(st.sampled_from([0.0, 0.0, 0.3, 0.3, 1.0]))
    labels = ["" if u < blanks else label for u, label in zip(rng.random(n), labels, strict=True)]
    header = draw(
        st.sampled_from(
            [
                *[["a", "b", "c", "d"]] * 4,
                ["a", "a", "", " d "],
                ["1", "2", "3", "4"],
                ["id", "x y", "ü", "index"],
                ["", "a", "b", "c"],
            ]
        )
    )
    columns = [column() for _ in range(d)] + [labels]
    return [*header[:d], "y"], list(zip(*columns, strict=True))


@st.composite
def dialects(draw):
    """How to write it; half of them plain."""
    odd = draw(
        st.sets(
            st.sampled_from(
                [
                    "sep",
                    "quote",
                    "encoding",
                    "bom",
                    "header",
                    "comment",
                    "trailing",
                    "blank",
                    "ends",
                    "pack",
                    "index",
                    "decimal",
                    "sep=",
                ]
            ),
            max_size=3,
        )
    )
    return {
        "sep": draw(st.sampled_from([";", "\t", "|", " ", ":", ", "])) if "sep" in odd else ",",
        "quote": draw(st.sampled_from(["all", "'", "none"])) if "quote" in odd else "some",
        "encoding": draw(
            st.sampled_from(
                [
                    "latin-1",
                    "cp1252",
                    "utf-16",
                    "utf-16-le",
                    "utf-32",
                    "cp1251",
                    "shift_jis",
                    "utf-7",
                ]
            )
        )
        if "encoding" in odd
        else "utf-8",
        "ends": draw(st.sampled_from(["\r\n", "\r", "\n\n"])) if "ends" in odd else "\n",
        "pack": draw(st.sampled_from(["gz", "bz2", "xz", "zip"])) if "pack" in odd else "",
        **{
            name: name in odd
            for name in (
                "bom",
                "header",
                "comment",
                "trailing",
                "blank",
                "index",
                "decimal",
                "sep=",
            )
        },
    }


def _cell(text, how):
    quote = "'" if how["quote"] == "'" else '"'
    if how["decimal"]:
        text = text.replace(".", ",")
    if how["quote"] == "none":
        return text
    if how["quote"] in ("all", "'") or how["sep"] in text or quote in text:
        return quote + text.replace(quote, 2 * quote) + quote
    return text


def written(header, rows, how):
    """The bytes of a file."""
    lines = [list(row) for row in rows] if how["header"] else [header, *map(list, rows)]
    if how["index"]:
        lines = [["" if k == 0 else str(k), *line] for k, line in enumerate(lines)]
    texts = [how["sep"].join(_cell(cell, how) for cell in line) for line in lines]
    texts = [text + how["sep"] * how["trailing"] for text in texts]
    if how["comment"]:
        texts = ["# made by hand", *texts, "# the end"]
    if how["blank"]:
        texts = ["", *texts[:2], "", "  ", *texts[2:], ""]
    if how["sep="]:
        texts = [f"sep={how['sep'][0]}", *texts]
    raw = (how["ends"].join(texts) + how["ends"]).encode(how["encoding"], "replace")
    return b"\xef\xbb\xbf" + raw if how["bom"] else raw


def _zipped(raw):
    held = BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("t.csv", raw)
    return held.getvalue()


PACK = {
    "": lambda raw: raw,
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zip": _zipped,
}


@st.composite
def damaged(draw, raw):
    kind = draw(
        st.sampled_from(
            ["none"] * 16
            + ["cut", "nul", "byte", "bytes", "ragged", "twice", "quote", "long", "other"]
        )
    )
    at = draw(st.integers(0, max(0, len(raw) - 1)))
    if kind == "other":
        return draw(
            st.sampled_from(
                [
                    b"",
                    b"\n\n",
                    b"\0" * 50,
                    bytes(range(256)),
                    b"PAR1" + raw,
                    b"PK\x03\x04" + raw,
                    b"BZh9",
                    b"%PDF-1.4",
                    b"<html>",
                    b'[{"a": 1}]',
                    b"\xff\xfe",
                    b"\xef\xbb\xbf",
                    b"#\n#\n",
                    b"sep=;",
                    b"sep=\n1,2\n",
                    b"a",
                    b"a,y",
                    b",,,\n,,,\n",
                    b'"',
                    b'""\n""',
                    b"a,y\n1,2\n",
                    b"\x1a",
                ]
            )
        )
    return {
        "none": raw,
        "cut": raw[:at],
        "nul": raw[:at] + b"\0" + raw[at:],
        "byte": raw[:at] + bytes([draw(st.integers(0, 255))]) + raw[at + 1 :],
        "bytes": raw[:at] + bytes(range(256)) + raw[at:],
        "ragged": raw + b"1,2,3,4,5,6,7,8,9\n",
        "twice": raw + raw,
        "quote": raw[:at] + b'"' + raw[at:],
        "long": raw + b"x" * 140_000 + b",u\n",
    }[kind]


PLAIN = {
    "target": "y",
    "test_size": 0.2,
    "separator": None,
    "encoding": None,
    "header": None,
    "drop": (),
    "identifier": None,
    "unlabelled": None,
}
ODD = {
    "target": [-1, "-1", 0, 9, "z", None, "", "a", 1.5, "Y", True],
    "test_size": [0.0, 0.9, 0.999, 1.0, -0.1, float("nan")],
    "separator": [",", ";", "tab", "ab", "", "\n", '"', "x", "\0", "é"],
    "encoding": [
        "utf-8",
        "latin-1",
        "utf-16",
        "klingon",
        "",
        "rot13",
        "idna",
        "a\0b",
        "unicode_escape",
    ],
    "header": [True, False],
    "drop": [("a",), ("0",), ("a,b",), ("y",), ("z",), (0, 1, 2, 3, 4), ("",)],
    "identifier": ["a", 0, "y", "z", -1, ""],
    "unlabelled": [("",), ("?",), ("u",), ("1",), ("-1", "?"), ("z",)],
}


@st.composite
def calls(draw):
    """Options of `load`, up to two of them odd."""
    odd = draw(st.sets(st.sampled_from(sorted(ODD)), max_size=2)) if draw(st.booleans()) else ()
    return PLAIN | {name: draw(st.sampled_from(ODD[name])) for name in sorted(odd)}


def fuzz_files(data, folder):
    (header, rows), how, options = (data.draw(part) for part in (tables(), dialects(), calls()))
    raw = data.draw(damaged(written(header, rows, how)))
    packed = PACK[how["pack"]](raw)
    if how["pack"] and data.draw(st.integers(0, 5)) == 0:
        packed = data.draw(damaged(packed))
    suffix = data.draw(st.sampled_from(["csv", "csv", "csv", "tsv", "txt", "data", "parquet"]))
    path = folder / f"t.{suffix}{'.' * bool(how['pack'])}{how['pack']}"
    path.write_bytes(packed)
    found = ends_well(lambda: load(path, seed=0, **options))
    event("read" if found is not None else "refused")
    if found is None:
        return
    assert found.features.shape == (len(found.labels), len(found.encoding.feature_names))
    assert np.isfinite(found.features).all()
    assert {-1, *range(len(found.classes))} >= set(found.labels.tolist())
    roles = np.concatenate(
        [found.split.train, found.split.validation, found.split.stopping, found.split.test]
    )
    assert np.array_equal(np.sort(roles), np.flatnonzero(found.labels >= 0))
    source = {
        "target": options["target"],
        "drop": options["drop"],
        "identifier": options["identifier"],
    }
    forced = {
        "separator": options["separator"],
        "text_encoding": options["encoding"],
        "header": options["header"],
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        later = load_rows(path, found.encoding, found.file, source, **forced)
    np.testing.assert_array_equal(later.features, found.features)


@pytest.mark.ci
@given(st.data())
@settings(max_examples=CASES, **OPEN)
def test_files(tmp_path, data):
    fuzz_files(data, tmp_path)


@pytest.mark.slow
@given(st.data())
@settings(max_examples=MANY, **OPEN)
def test_files_at_length(tmp_path, data):
    fuzz_files(data, tmp_path)
