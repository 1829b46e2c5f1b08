-- What was put aside is few, and counted every few seconds for the metrics. The build reads the timers once, for a moment.
create index timer_parked on timer (kind) where parked_at is not null;
