-- Who received a case first, what its applicant was asked for, and which order of another system it came from.
alter table case_file add column first_receiver text collate "C" not null default '';
alter table case_file add column first_desk text not null default '';
alter table case_file add column source_system text collate "C" not null default '';
alter table case_file add column external_id text collate "C" not null default '';
alter table case_file add column supplements int not null default 0;
alter table case_file add column waits timestamptz[] not null default '{}';

create table supplement (
    id uuid primary key,
    case_id uuid not null references case_file (id),
    number int not null,
    papers text[] not null,
    words bytea,
    asked_by text not null,
    asked_at timestamptz not null,
    limit_rule text not null,
    limit_version text not null,
    limit_amount int not null,
    limit_from timestamptz not null,
    due_at timestamptz not null,
    told int not null,
    brought_at timestamptz,
    waived boolean not null,
    media_ids text[] not null,
    version int not null,
    unique (case_id, number)
);

-- Orders of other systems, by the case that each became. `content`: what was brought, sealed, to tell a repeat from another order under the same
-- number. `seq` follows the commits of changes: each takes the next number of its system and holds it until it has committed.
create table external_order (
    id uuid primary key references case_file (id) deferrable initially deferred,
    source_system text collate "C" not null,
    external_id text collate "C" not null,
    content bytea not null,
    seq bigint not null,
    changed_at timestamptz not null
);
create unique index external_order_id on external_order (source_system, external_id) where external_id <> '';
create index external_order_seq on external_order (source_system, seq);
create table order_feed (
    source_system text collate "C" primary key,
    seq bigint not null
);

-- Read model of who works in which department, by the grid's staff and posts.
create table colleague (
    id uuid primary key,
    account text collate "C" not null,
    department text collate "C" not null,
    active boolean not null,
    epoch bigint not null,
    version bigint not null
);
create index colleague_department on colleague (department, account);
