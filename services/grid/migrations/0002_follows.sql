-- The report of the same place and kind that had ended before this one came.
alter table report add column follows uuid references report (id);
