"""Open a table file: decompress it, recognise it by its first bytes, decode its text."""

import bz2
import codecs
import gzip
import io
import lzma
import re
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

BOMS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Byte order marks, and the encodings they stand for."""

NO_TABLES = {
    b"\xd0\xcf\x11\xe0": "an Excel workbook (.xls); save its sheet as CSV",
    b"%PDF": "a PDF document",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"SQLite format 3\0": "a SQLite database; export its table as CSV",
    b"\x93NUMPY": "a NumPy array; write it with numpy.savetxt",
    b"\x89HDF": "an HDF5 file; export its table as CSV",
    b"\x80\x04": "a Python pickle, which lds never reads; write it with DataFrame.to_csv",
    b"\x80\x05": "a Python pickle, which lds never reads; write it with DataFrame.to_csv",
    b"version https://git-lfs": "a pointer of Git LFS, not the file itself; run `git lfs pull`",
    b"7z\xbc\xaf": "a 7z archive; unpack it first",
    b"Rar!": "a RAR archive; unpack it first",
    b"(\xb5/\xfd": "compressed by zstd; unpack it first",
    b"ARROW1": "an Arrow file; write it as parquet",
    b"Obj\x01": "an Avro file; write it as parquet",
}
"""First bytes of files that are no tables, and what to do with them."""

NO_CELLS = (
    (re.compile(r"<(!doctype|html|head|body|\?xml|table)\b", re.I), "an HTML or XML page"),
    (re.compile(r"[\[{]\s*[\[{\"]"), "JSON; write it as CSV"),
    (re.compile(r"\{\\rtf"), "an RTF document; save it as plain text"),
    (re.compile(r"(%[^\n]*\n|\s)*@relation\b", re.I), "an ARFF file; write it as CSV"),
    (re.compile(r"\S+( \d+:\S+)+ *\n"), "in the sparse format of libsvm; write it as CSV"),
)
"""Beginnings of texts that are no rows of cells, and what they are."""

UNPACK = {
    b"\x1f\x8b": ("gzip", gzip.decompress),
    b"BZh": ("bzip2", bz2.decompress),
    b"\xfd7zXZ\0": ("xz", lzma.decompress),
}
"""First bytes of compressed files, the name of the compression, and what decompresses them."""

WESTERN = re.compile(r"windows-125[0247]|iso-?8859|latin|ascii|cp\d|mac|utf-8|koi8-t", re.I)
"""Guesses that are read as Windows-1252: a few accents do not distinguish such encodings."""

ACCENTS = re.compile(rb"[\x80-\xff]+")
"""Letters beyond ASCII that follow one another, in bytes."""

SINGLE = 0.75
"""Least share of `ACCENTS` of one byte in Western text; words of other alphabets are longer."""

SIGNS = "‘’“”„–—…€£§°²³µ½«»´¿¡ªº©®™\xa0"
"""Signs of Windows-1252 that are usual in Western text."""


@dataclass(frozen=True)
class Opened:
    """The content of a file.

    Arguments:
        data: bytes, decompressed.
        compression: gzip, bzip2, xz, zip, or "".
    """

    data: bytes
    compression: str

    @property
    def is_parquet(self) -> bool:
        """Whether it is a parquet file, whatever its name."""
        return self.data[:4] == b"PAR1"


def open_table(path: Path) -> Opened:
    """Read and decompress a file; its bytes decide what it is, not its name.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file is empty, damaged, an archive of several files, or no table.
    """
    data, compression = path.read_bytes(), ""
    for mark, (name, unpack) in UNPACK.items():
        if data.startswith(mark):
            try:
                data, compression = unpack(data), name
            except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
                raise ValueError(f"{path} is damaged: {name} cannot unpack it ({error})") from error
    if data.startswith(b"PK\x03\x04"):
        data, compression = _unzip(path, data), "zip"
    if not data.strip():
        raise ValueError(f"{path} is empty: it must have a line of cells for each row")
    for mark, what in NO_TABLES.items():
        if data.startswith(mark):
            raise ValueError(f"{path} cannot be read as a table: it is {what}")
    return Opened(data, compression)


def _unzip(path: Path, data: bytes) -> bytes:
    """Decompress the one file in a zip archive."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/")]
            if "[Content_Types].xml" in names or "mimetype" in names:
                raise ValueError(
                    f"{path} cannot be read as a table: it is a workbook or an office document; "
                    "save its sheet as CSV"
                )
            names = [name for name in names if not name.startswith("__MACOSX/")]
            if len(names) != 1:
                raise ValueError(
                    f"{path} must hold one file, got {len(names)} ({', '.join(names[:5])}); unpack "
                    "it and name the table"
                )
            return archive.read(names[0])
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, zlib.error) as error:
        raise ValueError(f"{path} is damaged or locked: zip cannot unpack it ({error})") from error


def decode(path: Path, data: bytes, encoding: str | None) -> tuple[str, str, bool]:
    """Decode bytes as text.

    UTF-8 and the encoding of a byte order mark are certain. Text whose few bytes beyond ASCII stand
    alone, as accents do, is Western. `chardet` guesses any other; it cannot distinguish the
    encodings of Western letters, so all of them are read as Windows-1252.

    Arguments:
        path: of the file, for messages.
        data: its bytes.
        encoding: given by the user; None detects it.

    Returns:
        The text without a byte order mark and with line feeds at the ends of lines, the name of the
        encoding, and whether that is a guess.

    Raises:
        ValueError: the encoding is unknown, the bytes are not of it, or they are no text.
    """
    guessed = False
    if encoding is None:
        encoding, guessed = _encoding(path, data)
    try:
        text = data.decode(encoding)
    except UnicodeError as error:
        start = getattr(error, "start", 0)
        line = data[:start].count(b"\n") + 1
        raise ValueError(
            f"{path} is not {encoding}: line {line} has the byte 0x{data[start]:02x}; give its "
            "own encoding, or none to have it detected"
        ) from None
    except (LookupError, ValueError):  # ValueError: the name has a null character
        raise ValueError(
            f"encoding must be one that Python knows, such as utf-8, cp1252 or utf-16, got "
            f"{encoding!r}"
        ) from None
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").rstrip("\x1a")
    if "\0" in text:
        raise ValueError(f"{path} cannot be read as a table: it is a binary file, not text")
    for begins, what in NO_CELLS:
        if begins.match(text.lstrip()):
            raise ValueError(f"{path} cannot be read as a table: it is {what}")
    return text, encoding, guessed


def _encoding(path: Path, data: bytes) -> tuple[str, bool]:
    """Detect the encoding, and say whether it is a guess."""
    for mark, name in BOMS.items():
        if data.startswith(mark):
            return name, False
    if b"\0" not in data:
        try:
            data.decode("utf-8")
        except UnicodeDecodeError:
            pass
        else:
            return "utf-8", False
    zeros = data[0::2].count(0), data[1::2].count(0)
    if min(zeros) < 0.01 * len(data) < 0.25 * len(data) < max(zeros):
        return ("utf-16-le" if zeros[1] > zeros[0] else "utf-16-be"), True
    import chardet  # of the extra lds[table]

    found = chardet.detect(data)
    name = str(found["encoding"] or "").lower()
    if b"\0" in data:
        if not name.startswith(("utf-16", "utf-32")):
            raise ValueError(f"{path} cannot be read as a table: it is a binary file, not text")
        return name, True
    if not name or WESTERN.match(name) or _has_accents(data):
        return _western(path, data), True
    return name, True


def _has_accents(data: bytes) -> bool:
    """Whether bytes beyond ASCII are few letters and signs of Windows-1252, most of them alone."""
    runs = ACCENTS.findall(data)
    beyond = b"".join(runs)
    try:
        signs = beyond.decode("cp1252")
    except UnicodeDecodeError:
        return False
    letters = all(sign >= "À" or sign in SIGNS for sign in signs)
    alone = sum(len(run) == 1 for run in runs) >= SINGLE * len(runs)
    n_plain = len(re.findall(rb"[A-Za-z]", data))
    return letters and alone and 2 * len(beyond) <= n_plain


def _western(path: Path, data: bytes) -> str:
    """Return Windows-1252, or Latin-1 where it lacks a byte; refuse many control characters."""
    control = len(data.translate(None, bytes(set(range(256)) - set(range(32)) | {9, 10, 12, 13})))
    if control > 0.01 * len(data):
        raise ValueError(f"{path} cannot be read as a table: it is a binary file, not text")
    try:
        data.decode("cp1252")
    except UnicodeDecodeError:
        return "latin-1"
    return "cp1252"
