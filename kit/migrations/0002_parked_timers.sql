-- hetao: concurrently
-- What was put aside is few, and counted every few seconds for the metrics.
create index concurrently if not exists timer_parked on timer (kind) where parked_at is not null;
