-- hetao: concurrently
create index concurrently if not exists report_ended on report (reporter, kind, closed_at) where closed_at is not null;
