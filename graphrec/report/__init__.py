"""Reports: run folders as tables, comparisons, learning curves and contact sheets."""

from graphrec.report.compare import RunComparison, compare_runs
from graphrec.report.curves import learning_curves
from graphrec.report.sheet import contact_sheet, typical_users
from graphrec.report.table import Report, Row, report

__all__ = [
    "Report",
    "Row",
    "RunComparison",
    "compare_runs",
    "contact_sheet",
    "learning_curves",
    "report",
    "typical_users",
]
