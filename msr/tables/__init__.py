"""Tables of people: files of rows with named columns, texts and gaps, as numbers; and what was done to make them so."""

from msr.tables.reading import Table as Table
from msr.tables.reading import read_table as read_table

__all__ = ["Table", "read_table"]
