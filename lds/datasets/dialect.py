"""How a text of cells is written: separator, comments, header, decimal mark."""

import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

COMMENTS = ("#", "%", "//")
SEPARATORS = (",", ";", "\t", "|", " ")
NAMES = {",": "','", ";": "';'", "\t": "tabs", "|": "'|'", " ": "spaces"}
SPELLED = {"tab": "\t", "\\t": "\t", "space": " ", "spaces": " ", "comma": ",", "semicolon": ";",
           "pipe": "|"}  # fmt: skip
"""What a person may type for a separator that a shell makes hard to type."""

SAMPLE_LINES, SAMPLE_CHARACTERS = 100, 20_000
"""As much of a file as the separator is found from."""

MISSING = frozenset(("", "?", "-", "--", ".", "na", "n/a", "#n/a", "nan", "null", "none", "<na>"))
"""Cells that say nothing about their column, in lower case."""

VALUE = re.compile(r"(?=.*\d)[^A-Za-z]*(\d[eE][-+]?\d+)?[^A-Za-z]*|[-\d]+T[\d:.,+-]+Z?")
"""A number, an amount, a date or a time: digits and no letter, but for an exponent."""

NUMERIC = 0.9
"""Share of values among the cells of a column that make a word above them a header."""

HEADER_ROWS = 1000
"""Rows that tell a column of values."""


@dataclass(frozen=True)
class Dialect:
    """How cells are parted.

    Arguments:
        separator: one character; " " is any run of spaces and tabs.
        quote: the character around cells that hold a separator.
    """

    separator: str
    quote: str = '"'

    def rows(self, lines: Sequence[str], first: int = 1) -> list[tuple[int, list[str]]]:
        """The number of the line on which each row ends, and its cells, stripped; no blank lines.

        Arguments:
            lines: without their ends.
            first: number of the first one.

        Raises:
            ValueError: a quote is not closed, or is followed by something else than a separator.
        """
        spaces = self.separator == " "
        after = re.compile(rf"{re.escape(self.quote)} +(?={re.escape(self.separator)}|$)")
        source = (
            after.sub(self.quote, (line.replace("\t", " ") if spaces else line).rstrip(" ")) + "\n"
            for line in lines
        )
        escaped = any(f"\\{self.quote}" in line for line in lines)
        reader = csv.reader(
            source, delimiter=self.separator, quotechar=self.quote, skipinitialspace=True,
            escapechar="\\" if escaped else None, strict=True,
        )  # fmt: skip
        rows, begun = [], 0
        try:
            for cells in reader:
                begun = reader.line_num
                if cells:
                    rows.append((first - 1 + begun, [cell.strip() for cell in cells]))
        except csv.Error as error:
            raise ValueError(_broken_quote(str(error), first + begun, self)) from error
        return rows


def _broken_quote(error: str, line: int, dialect: Dialect) -> str:
    if "field larger" in error:
        return f"line {line} has a cell of over 131,072 characters; perhaps a quote is left open"
    if "unexpected end" in error:
        return f"line {line} opens a quote ({dialect.quote}) that nothing closes"
    return (
        f"line {line} has a quote ({dialect.quote}) that is followed by more than a separator "
        f"({NAMES.get(dialect.separator, repr(dialect.separator))}); a quote within a quoted cell "
        "is written twice"
    )


def separator_of(text: str) -> str:
    """A separator as typed: one character, or a word of `SPELLED`.

    Raises:
        ValueError: anything else.
    """
    found = SPELLED.get(text.lower(), text)
    if len(found) != 1 or found in "\"'\n\r" or found.isalnum():
        raise ValueError(
            f"separator must be one character, such as ',' or ';', or a word ({', '.join(SPELLED)})"
            f", got {text!r}"
        )
    return found


SPACED = re.compile(r"""(["']) *([,;|\t]) *(?=["'])""")
"""Spaces around a separator of quoted cells, which would be taken for separators."""


def find_dialect(lines: Sequence[str], separator: str | None) -> Dialect:
    """The separator and the quote of a file, by `clevercsv` (van den Burg, Nazábal, Sutton, 2019).

    Arguments:
        lines: of the file, without comments.
        separator: to insist on; None finds it out.

    Returns:
        A separator of "," also where there is one column and so none.
    """
    import clevercsv

    sample = "\n".join(line for line in lines[:SAMPLE_LINES] if line.strip())
    sample = sample[:SAMPLE_CHARACTERS].rpartition("\n")[0] or sample
    sample = SPACED.sub(r"\1\2", sample)
    among = list(SEPARATORS) if separator is None else [separator]
    found = clevercsv.Sniffer().sniff(sample, delimiters=among)
    quote = "'" if found is not None and found.quotechar == "'" else '"'
    if separator is not None:
        return Dialect(separator, quote)
    guess = Dialect((found and found.delimiter) or ",", quote)
    spaced = Dialect(" ", quote)
    return spaced if _holds_rows(guess, spaced, sample.split("\n")) else guess


SEVERAL = re.compile(r"[-+]?[\d.,]+(\s+[-+]?[\d.,]+)+")
GROUPED = re.compile(r"[-+]?\d{1,3}(\s\d{3})+([.,]\d+)?")
"""Several numbers in one cell, and one number in groups of three digits."""


def _holds_rows(guess: Dialect, spaced: Dialect, sample: list[str]) -> bool:
    """Whether the cells of a guess hold several numbers each, which spaces would part evenly."""
    if guess.separator == " ":
        return False
    try:
        columns = list(zip(*(cells for _, cells in guess.rows(sample)), strict=True))
        parted = {len(cells) for _, cells in spaced.rows(sample)}
    except ValueError:
        return False
    return len(parted) == 1 and any(
        all(SEVERAL.fullmatch(cell) for cell in column)
        and not all(GROUPED.fullmatch(cell) for cell in column)
        for column in columns
    )


def leading_comments(lines: Sequence[str]) -> tuple[int, list[str]]:
    """How many lines come before the first row, and the comments among them without their marks.

    Lines beginning with a mark of `COMMENTS` are comments, unless most lines of the file do.
    """
    marked = sum(line.startswith(COMMENTS) for line in lines)
    if 2 * marked > sum(bool(line.strip()) for line in lines):
        return 0, []
    comments: list[str] = []
    for number, line in enumerate(lines):
        if line.strip() and not line.startswith(COMMENTS):
            return number, comments
        if line.strip():
            comments.append(line.lstrip("#%/ \t"))
    return len(lines), comments


def is_header(first: Sequence[str], body: Sequence[Sequence[str]]) -> bool | None:
    """Whether the first line names columns.

    A word that is nowhere else in its column of numbers makes it a header; a number there makes it
    a row, unless the numbers of the line count up, as names 0, 1, 2 do. Without columns of numbers
    it is a row if one of its cells is in its column again, or twice in the line.

    Arguments:
        first: its cells.
        body: the other rows, of as many cells.

    Returns:
        None where there are both, and more numbers than words.
    """
    cells = [cell for cell in first if cell.lower() not in MISSING]
    body = [row for row in body if row != first]  # a header may be there again
    if not body:
        return not any(VALUE.fullmatch(cell) for cell in cells)
    words, values, numbered = [], [], _counts_up(cells)
    columns = list(zip(*body, strict=True))
    for cell, column in zip(first, columns, strict=True):
        rest = [one for one in column[:HEADER_ROWS] if one.lower() not in MISSING]
        if cell.lower() in MISSING or not rest:
            continue
        if sum(bool(VALUE.fullmatch(one)) for one in rest) < NUMERIC * len(rest):
            continue
        if VALUE.fullmatch(cell):
            values.extend([] if numbered else [cell])
        elif cell not in column:
            words.append(cell)
    if words and len(values) > len(words):
        return None
    if words or values:
        return bool(words)
    if len(set(cells)) < len(cells):
        return False
    return not any(
        cell in column
        for cell, column in zip(first, columns, strict=True)
        if cell.lower() not in MISSING
    )


def _counts_up(cells: Sequence[str]) -> bool:
    """Whether the numbers among names are one integer after the other."""
    numbers = [cell for cell in cells if VALUE.fullmatch(cell)]
    if len(numbers) < 2 or not all(number.isdecimal() for number in numbers):
        return False
    first = int(numbers[0])
    return [int(number) for number in numbers] == list(range(first, first + len(numbers)))


COMMA = re.compile(r"[-+]?(\d{1,3}(\.\d{3})+|\d*),\d+%?")
POINT = re.compile(r"[-+]?(\d{1,3}(,\d{3})+|\d*)\.\d+(e[-+]?\d+)?%?", re.I)
THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2}((\.\d{3})+|(,\d{3})+)%?")
"""Numbers with a decimal comma or point, and those that may be whole numbers in groups of three."""


CERTAIN = 1000
"""Numbers with a certain decimal mark after which no more are looked at."""


def decimal_mark(rows: Sequence[Sequence[str]], separator: str) -> str | None:
    """The decimal mark of numbers, "." or ","; None: no number has one.

    A number such as 1,234 has a decimal comma where other numbers of the file have one and none has
    a point, or where columns are separated by ";", as programs do that write decimal commas.
    """
    found: Counter[str] = Counter()
    for cells in rows:
        if found[","] + found["."] > CERTAIN:
            break
        for cell in cells:
            if "," not in cell and "." not in cell:
                continue
            kind = "," if COMMA.fullmatch(cell) else "." if POINT.fullmatch(cell) else ""
            found[f"{kind}?" if kind and THOUSANDS.fullmatch(cell) else kind] += 1
    if found[","] and found["."]:
        return "," if found[","] > found["."] else "."
    if found[","] or found["."]:
        return "," if found[","] else "."
    if found[",?"] and separator == ";" and not found[".?"]:
        return ","
    return "." if found[".?"] else None
