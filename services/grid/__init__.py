"""grid: the organisation and its territory, and what people in the grids see and report.

Owns the divisions, the directory (departments, posts, staff, absences, duty roster), the grids with their triangles, and the reports.
Publishes DepartmentChanged, PostChanged, StaffChanged, ReportChanged, ReportHandedOver and NoticeRequested.
Consumes HandoverAnswered and CaseChanged of the cases, so that a worker learns what came of what she handed over.
"""
