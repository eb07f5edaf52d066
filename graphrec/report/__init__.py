"""Reports: run folders as tables, learning curves and contact sheets."""

from graphrec.report.curves import learning_curves
from graphrec.report.sheet import contact_sheet, typical_users
from graphrec.report.table import Report, Row, report

__all__ = ["Report", "Row", "contact_sheet", "learning_curves", "report", "typical_users"]
