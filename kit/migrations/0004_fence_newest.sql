-- The time of the newest event behind a fence: what was said later is never passed over, though a topic that was made anew counts its offsets again.
alter table fence add column newest timestamptz not null default 'infinity';
