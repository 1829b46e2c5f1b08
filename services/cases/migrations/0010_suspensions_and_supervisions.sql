-- Times in which the clock of the present limit stood, each an ISO 8601 interval with the code of its ground.
alter table case_file add column pauses text[] not null default '{}';
alter table task add column pauses text[] not null default '{}';
alter table supplement add column pauses text[] not null default '{}';
-- The suspension that was asked for or is running.
alter table case_file add column suspension uuid;
alter table case_file add column suspension_by text not null default '';
alter table case_file add column suspensions int not null default 0;

create table suspension (
    id uuid primary key,
    case_id uuid not null references case_file (id),
    state text not null,
    ground text not null,
    days int not null,
    note bytea,
    media_ids text[] not null,
    requested_by text not null,
    requested_at timestamptz not null,
    decided_by text not null,
    decided_at timestamptz,
    decision_note bytea,
    begins timestamptz,
    ends timestamptz,
    ended_by text not null,
    version int not null
);
create index suspension_case on suspension (case_id, id);

-- Supervision orders, and the last number of each centre and year: people count them, so they are without gaps.
create table supervision_number (
    centre text collate "C" not null,
    year int not null,
    last int not null,
    primary key (centre, year)
);
create table supervision (
    id uuid primary key,
    year int not null,
    number int not null,
    centre text collate "C" not null,
    division text collate "C" not null,
    county text collate "C" not null,
    township text collate "C" not null,
    case_id uuid not null references case_file (id),
    code text collate "C" not null,
    task_id uuid,
    department text collate "C" not null,
    department_name text not null,
    department_name_en text not null,
    level int not null,
    state text not null,
    demand bytea not null,
    issued_by text not null,
    issued_for text collate "C" not null,
    issued_at timestamptz not null,
    limit_rule text not null,
    limit_version text not null,
    limit_amount int not null,
    limit_from timestamptz not null,
    due_at timestamptz not null,
    told int not null,
    pauses text[] not null,
    round int not null,
    reply bytea,
    media_ids text[] not null,
    replied_by text not null,
    replied_at timestamptz,
    sent_back_count int not null,
    released_by text not null,
    released_at timestamptz,
    overdue_since timestamptz,
    version int not null,
    unique (centre, year, number)
);
create index supervision_case on supervision (case_id, id);
create index supervision_centre on supervision (centre, id);
create index supervision_department on supervision (department, id);
create index supervision_county on supervision (county, id);
