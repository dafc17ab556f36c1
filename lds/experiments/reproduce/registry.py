"""All entries by name. Imports nothing heavy."""

import lds.experiments.reproduce.chapter6 as chapter6
import lds.experiments.reproduce.chapter7 as chapter7
import lds.experiments.reproduce.chapter8 as chapter8
import lds.experiments.reproduce.chapter9_figures as chapter9_figures
import lds.experiments.reproduce.chapter9_tables as chapter9_tables
from lds._words import nearest
from lds.experiments.reproduce.entry import Entry

CHAPTERS = (chapter6, chapter7, chapter8, chapter9_tables, chapter9_figures)

ENTRIES: dict[str, Entry] = {entry.name: entry for chapter in CHAPTERS for entry in chapter.ENTRIES}
"""Every table and figure that can be run, in the order of the thesis."""


def entry_of(name: str) -> Entry:
    """Return the entry of a name.

    Raises:
        ValueError: there is none; the message has the nearest.
    """
    if name in ENTRIES:
        return ENTRIES[name]
    hint = nearest(name, ENTRIES)
    raise ValueError(f"NAME must be one of {', '.join(ENTRIES)}, or all, got {name!r}{hint}")
