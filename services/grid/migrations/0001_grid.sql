-- Divisions, as shipped (data/divisions.csv). `pinyin` and `initials` hold several readings parted by blanks.
create table division (
    code text collate "C" primary key,
    name text not null,
    short_name text not null,
    level text not null,
    parent text collate "C" not null,
    code12 text collate "C" not null,
    mca_code text collate "C" not null,
    kind text not null,
    source text not null,
    pinyin text not null,
    initials text not null
);
create index division_parent on division (parent, code);

-- Which content of a shipped file is loaded.
create table shipped (
    name text primary key,
    digest text not null
);

-- The directory. Codes of departments begin with their division's code, so a range of codes is a division and all that lies in it.
create table department (
    id uuid primary key,
    code text collate "C" not null unique,
    name text not null,
    name_en text not null,
    kind text not null,
    division text collate "C" not null,
    parent_id uuid references department (id),
    active boolean not null,
    made boolean not null,
    version int not null
);

create table post (
    id uuid primary key,
    department_id uuid not null references department (id),
    division text collate "C" not null,
    kind text not null,
    name text not null,
    holder text collate "C" not null,
    holder_since date,
    active boolean not null,
    version int not null
);
create index post_department on post (department_id, id);
create index post_division on post (division, id);
create index post_holder on post (holder) where holder <> '';

create table holding (
    id uuid primary key,
    post_id uuid not null references post (id),
    account text collate "C" not null,
    from_date date not null,
    until_date date,
    version int not null
);
create index holding_post on holding (post_id, from_date desc, id desc);

create table duty (
    id uuid primary key,
    post_id uuid not null references post (id),
    department_id uuid not null references department (id),
    account text collate "C" not null,
    from_date date not null,
    until_date date not null,
    version int not null
);
create index duty_department on duty (department_id, from_date, id);
create index duty_post on duty (post_id, until_date);

create table staff (
    id uuid primary key,
    account text collate "C" not null unique,
    name text not null,
    title text not null,
    title_en text not null,
    department_id uuid not null references department (id),
    division text collate "C" not null,
    active boolean not null,
    version int not null
);
create index staff_department on staff (department_id, account);
create index staff_division on staff (division, account);

create table leave (
    id uuid primary key,
    staff_id uuid not null references staff (id),
    account text collate "C" not null,
    from_date date not null,
    until_date date not null,
    substitute text collate "C" not null,
    version int not null
);
create index leave_account on leave (account, from_date desc, id desc);
create index leave_substitute on leave (substitute, until_date) where substitute <> '';

-- Grids. `division` is the community; `code` the community's 12 digits and three of its own.
create table grid (
    id uuid primary key,
    code text collate "C" not null unique,
    name text not null,
    name_en text not null,
    kind text not null,
    form text not null,
    division text collate "C" not null,
    township text collate "C" not null,
    county text collate "C" not null,
    households int not null,
    outline double precision[] not null,
    west double precision,
    south double precision,
    east double precision,
    north double precision,
    active boolean not null,
    made boolean not null,
    version int not null
);
create index grid_box on grid using gist (box(point(west, south), point(east, north))) where west is not null;

create table grid_member (
    id uuid primary key,
    grid_id uuid not null references grid (id),
    grid_code text collate "C" not null,
    division text collate "C" not null,
    role text not null,
    account text collate "C" not null,
    name text not null,
    area text not null,
    from_date date not null,
    until_date date,
    version int not null
);
create index grid_member_grid on grid_member (grid_id, from_date, id);
create index grid_member_account on grid_member (account) where account <> '';

-- Reports. `content` and `result` are sealed.
create table report (
    id uuid primary key,
    kind text not null,
    level text not null,
    state text not null,
    content bytea not null,
    lat double precision,
    lon double precision,
    division text collate "C" not null,
    county text collate "C" not null,
    township text collate "C" not null,
    community text collate "C" not null,
    grid_id uuid references grid (id),
    grid_code text collate "C" not null,
    department_id uuid references department (id),
    reporter text collate "C" not null,
    outside boolean not null,
    occurred_at timestamptz not null,
    captured_at timestamptz not null,
    received_at timestamptz not null,
    outcome text not null,
    handler text collate "C" not null,
    verified_at timestamptz,
    solved_at timestamptz,
    closed_at timestamptz,
    result bytea not null,
    merged_into uuid references report (id),
    -- The report of the same place and kind that had ended before this one came.
    follows uuid references report (id),
    handover_id uuid,
    offered_to text collate "C" not null,
    sender text collate "C" not null,
    version int not null
);
create index report_county on report (county, id);
create index report_county_state on report (county, state, id);
create index report_township on report (township, id);
create index report_township_state on report (township, state, id);
create index report_community on report (community, id);
create index report_community_state on report (community, state, id);
create index report_grid on report (grid_code, id);
create index report_state on report (state, id);
create index report_reporter on report (reporter, id);
create index report_same on report (reporter, kind, occurred_at);
create index report_ended on report (reporter, kind, closed_at) where closed_at is not null;
create index report_merged on report (merged_into) where merged_into is not null;

create table report_photo (
    id uuid primary key,
    report_id uuid not null references report (id),
    media_id text collate "C" not null,
    phase text not null,
    captured_at timestamptz,
    added_by text collate "C" not null,
    added_at timestamptz not null,
    version int not null
);
create index report_photo_report on report_photo (report_id, id);

create table handover (
    id uuid primary key,
    report_id uuid not null references report (id),
    target text not null,
    department_id uuid references department (id),
    grid_id uuid references grid (id),
    grid_code text collate "C" not null,
    emergency_number text not null,
    reason text not null,
    note bytea not null,
    state text not null,
    handed_by text collate "C" not null,
    handed_at timestamptz not null,
    due_at timestamptz,
    rule_version text not null,
    overdue boolean not null,
    answered_by text collate "C" not null,
    answered_at timestamptz,
    answer_reason bytea not null,
    -- Why a centre did not accept it, and the right channel that it named.
    answer_ground text not null,
    answer_ground_zh text not null,
    answer_ground_en text not null,
    answer_channel text not null,
    case_id uuid,
    case_code text not null,
    case_state text not null,
    case_outcome text not null,
    case_epoch bigint not null,
    case_version bigint not null,
    version int not null
);
create index handover_report on handover (report_id, id);
create index handover_offered on handover (id) where state = 'offered';
create index handover_department on handover (department_id, report_id) where state = 'offered';
create index handover_grid on handover (grid_id, report_id) where state = 'offered';

-- The timeline. `facts`: JSON with codes and numbers, from which sentences are made when they are read; no names, no free text.
create table report_entry (
    id bigint generated always as identity primary key,
    report_id uuid not null references report (id),
    at timestamptz not null,
    account text collate "C" not null,
    action text not null,
    facts jsonb not null
);
create index report_entry_report on report_entry (report_id, id);
