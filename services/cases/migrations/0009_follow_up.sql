-- Agreements and their performance, what a concluded case waits for, and what its parties said, counted.
create table agreement (
    id uuid primary key,
    case_id uuid not null references case_file (id),
    form text not null,
    terms bytea not null,
    agreed_at timestamptz not null,
    perform_by date,
    state text not null,
    recorded_by text not null,
    recorded_at timestamptz,
    note bytea,
    media_ids text[] not null,
    version int not null
);
create index agreement_case on agreement (case_id, id);

alter table case_file
    add column performance text not null default '',
    add column perform_by date,
    add column performance_due boolean not null default false,
    add column awaits text not null default '',
    add column asked int[] not null default '{}',
    add column explanation bytea,
    add column reopen_ground text not null default '';
alter table party
    add column in_time text not null default '',
    add column calls int not null default 0;

-- Until now a concluded case was open for one reason alone. What its parties said so far is counted with the next answer.
update case_file set awaits = 'answers' where state = 'follow_up';
