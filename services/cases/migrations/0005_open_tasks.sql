-- hetao: concurrently
-- A task whose return waits for a decision is open too. Each of these serves what the one in its place served.
create index concurrently if not exists task_in_hand on task (department, due_at, id)
    where state in ('dispatched', 'signed_in', 'handling', 'rework', 'return_pending');
create index concurrently if not exists task_late on task (state)
    where told >= 2 and state in ('dispatched', 'signed_in', 'handling', 'rework', 'return_pending');
drop index concurrently if exists task_open;
drop index concurrently if exists task_overdue;
