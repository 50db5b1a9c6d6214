"""A discovery as one web page, made by :func:`msr.report.page.page.discovery_page`."""
