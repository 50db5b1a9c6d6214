"""Tables and figures; the only room that knows a plotting library."""

from msr.report.tables import format_table as format_table

__all__ = ["format_table"]
