-- Tasks beside the straight way: returned, given to another department, cancelled, waived; more time asked for and granted.
alter table task add column refusals int not null default 0;
alter table task add column designated boolean not null default false;
alter table task add column asks int not null default 0;
alter table task add column asked_days int not null default 0;
alter table task add column extended_days int not null default 0;
alter table task add column extended_by text not null default '';
alter table task add column extended_version text not null default '';
alter table task add column ended_at timestamptz;
alter table task add column ended_note bytea;
alter table task add column follows uuid;
alter table case_file add column lead_replaced boolean not null default false;

create table task_return (
    id uuid primary key,
    case_id uuid not null references case_file (id),
    task_id uuid not null references task (id),
    department text collate "C" not null,
    ground text not null,
    ground_version text not null,
    note bytea,
    returned_by text not null,
    returned_at timestamptz not null,
    to_director boolean not null,
    decision text not null,
    reason bytea,
    decided_by text not null,
    decided_at timestamptz,
    version int not null
);
create index task_return_case on task_return (case_id, id);

create table task_extension (
    id uuid primary key,
    case_id uuid not null references case_file (id),
    task_id uuid not null references task (id),
    department text collate "C" not null,
    days int not null,
    reason bytea,
    media_ids text[] not null,
    asked_by text not null,
    asked_at timestamptz not null,
    decision text not null,
    note bytea,
    decided_by text not null,
    decided_at timestamptz,
    version int not null
);
create index task_extension_case on task_extension (case_id, id);
