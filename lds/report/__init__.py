"""A saved run as one HTML page."""

from lds.report.page import write_report

__all__ = ["write_report"]
