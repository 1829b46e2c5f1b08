-- hetao: concurrently
-- Lists by the nearest limit.
create index concurrently if not exists case_file_centre_due on case_file (centre, due_at, id)
    where state not in ('not_accepted', 'transferred', 'closed', 'follow_up');
create index concurrently if not exists case_file_county_due on case_file (county, due_at, id)
    where state not in ('not_accepted', 'transferred', 'closed', 'follow_up');
