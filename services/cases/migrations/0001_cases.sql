-- Centres and which of them is responsible where. Reference data, loaded at every start.
create table centre (
    id text collate "C" primary key,
    name text not null,
    level text not null check (level in ('county', 'township')),
    division text collate "C" not null unique,
    superior text collate "C" not null
);
create table coverage (
    division text collate "C" primary key,
    centre text collate "C" not null references centre (id)
);

-- Numbers of case codes, taken in blocks of fifty by each process: no two cases wait for one another, and gaps do not matter.
create sequence case_number increment by 50 minvalue 0 maxvalue 999950 cycle;

create table case_file (
    id uuid primary key,
    code text collate "C" not null unique,
    kind text not null,
    source text not null,
    state text not null,
    division text collate "C" not null,
    county text collate "C" not null,
    township text collate "C" not null,
    community text collate "C" not null,
    centre text collate "C" not null,
    content bytea not null,
    registered_by text not null,
    registered_at timestamptz not null,
    limit_rule text not null,
    limit_version text not null,
    limit_amount int not null,
    limit_from timestamptz not null,
    due_at timestamptz not null,
    category text not null,
    scale text not null,
    risk text not null,
    complexity text not null,
    restricted boolean not null,
    media_ids text[] not null,
    occurred_at timestamptz,
    told int not null,
    round int not null,
    accepted_at timestamptz,
    overdue_since timestamptz,
    ground text not null,
    channel text not null,
    transferred_to text not null,
    outcome text not null,
    outcome_version text not null,
    outcome_note bytea,
    counts_concluded boolean not null,
    counts_resolved boolean not null,
    concluded_at timestamptz,
    resolved_at timestamptz,
    closed_at timestamptz,
    reopened_at timestamptz,
    reopened_count int not null,
    report_id uuid,
    handover_id uuid unique,
    reporter text not null,
    departments text[] not null,
    version int not null
);
-- Lists page by id, which follows the time of registration. What is still open is few and is looked for by state.
create index case_file_county on case_file (county, id);
create index case_file_township on case_file (township, id);
create index case_file_centre on case_file (centre, id);
create index case_file_reporter on case_file (reporter, id) where reporter <> '';
create index case_file_centre_open on case_file (centre, state, id) where state not in ('not_accepted', 'transferred', 'closed');
create index case_file_county_open on case_file (county, state, id) where state not in ('not_accepted', 'transferred', 'closed');

create table task (
    id uuid primary key,
    case_id uuid not null references case_file (id),
    centre text collate "C" not null,
    department text collate "C" not null,
    department_name text not null,
    desk text not null,
    lead boolean not null,
    state text not null,
    dispatched_at timestamptz not null,
    limit_rule text not null,
    limit_version text not null,
    limit_amount int not null,
    limit_from timestamptz not null,
    due_at timestamptz not null,
    demand bytea,
    result bytea,
    media_ids text[] not null,
    told int not null,
    round int not null,
    signed_in_at timestamptz,
    signed_in_by text not null,
    submitted_at timestamptz,
    accepted_at timestamptz,
    overdue_since timestamptz,
    rework_count int not null,
    version int not null
);
create index task_case on task (case_id);
create index task_department on task (department, case_id);
-- A department's worklist: what it still has to do, the nearest limit first.
create index task_open on task (department, due_at, id) where state in ('dispatched', 'signed_in', 'handling', 'rework');

create table party (
    id uuid primary key,
    case_id uuid not null references case_file (id),
    role text not null,
    type text not null,
    identity bytea not null,
    pin bytea not null,
    contacted boolean not null,
    solved text not null,
    satisfaction text not null,
    tries int not null,
    unreachable boolean not null,
    asked_at timestamptz,
    asked_on date,
    version int not null
);
create index party_case on party (case_id);

-- Blind indexes of every two parties of a case, in one order, for the hint that the same quarrel is here already.
create table party_pair (
    key bytea not null,
    seen_at timestamptz not null,
    case_id uuid not null references case_file (id)
);
create index party_pair_key on party_pair (key, seen_at);

-- The timeline. Appended under the lock of its case, so the identity follows the order of what happened.
create table step (
    id bigint generated always as identity primary key,
    case_id uuid not null references case_file (id),
    at timestamptz not null,
    what text not null,
    actor text not null,
    told_parties boolean not null,
    params text not null,
    note bytea
);
create index step_case on step (case_id, id);

-- Every time somebody had a party unmasked.
create table disclosure (
    id uuid primary key,
    case_id uuid not null references case_file (id),
    party_id uuid not null references party (id),
    account text not null,
    at timestamptz not null,
    version int not null
);

-- Tries of the progress look-up by code, whether or not there is a case of that code, so that the answers do not tell.
create table lookup_guard (
    code text collate "C" primary key,
    failures int not null,
    locks int not null,
    locked_until timestamptz,
    last_at timestamptz not null
) with (fillfactor = 70);
create index lookup_guard_last on lookup_guard (last_at);

-- Read model of the grid's departments.
create table department (
    id text collate "C" primary key,
    name text not null,
    division text collate "C" not null,
    active boolean not null,
    epoch bigint not null,
    version bigint not null
);

-- Figures: what each case last said of itself, and the sums by division and day that are asked for.
create table case_fact (
    case_id uuid primary key,
    epoch bigint not null,
    version bigint not null,
    kind text not null,
    category text not null,
    county text collate "C" not null,
    township text collate "C" not null,
    accepted_on date,
    concluded_on date,
    resolved_on date,
    reopened boolean not null,
    overdue boolean not null
);
create table figure (
    division text collate "C" not null,
    day date not null,
    kind text not null,
    category text not null,
    accepted int not null,
    resolved int not null,
    concluded int not null,
    reopened int not null,
    overdue int not null,
    resolved_that_day int not null,
    concluded_that_day int not null,
    primary key (division, day, kind, category)
) with (fillfactor = 70);
