"""From results to figures, tables and pages; needs no model.

index = report.write(study, analyses, "reports/friday")
table = report.summary(study, analyses)
"""

from catchup_eval.report.page import summary, write

__all__ = ["summary", "write"]
