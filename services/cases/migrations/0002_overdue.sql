-- hetao: concurrently
-- What has run over its limit is few, and counted every few seconds for the metrics.
create index concurrently if not exists case_file_overdue on case_file (state)
    where told >= 2 and state in ('registered', 'accepted', 'handling', 'result_submitted', 'centre_review');
create index concurrently if not exists task_overdue on task (state)
    where told >= 2 and state in ('dispatched', 'signed_in', 'handling', 'rework');
