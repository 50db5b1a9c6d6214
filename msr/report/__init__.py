"""Tables, figures and the page of a discovery; the only room that imports a plotting library."""

from msr.report.tables import format_table as format_table

__all__ = ["format_table"]
