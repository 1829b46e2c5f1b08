"""Cases of the governance centres (综治中心): one matter under one code, from registration to closing.

Owns centres and their coverage, cases, their parties, tasks and timeline, the receipts' PINs, and the figures.
Publishes CaseChanged, HandoverAnswered and NoticeRequested. Hears the grid's hand-overs and departments, and its own CaseChanged for the figures.
"""
