"""Contexts of a table's rows as one web page, made by :func:`msr.report.context_page.page.context_page`."""
