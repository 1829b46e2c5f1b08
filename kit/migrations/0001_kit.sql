-- The kit's own tables, in the schema of every service.

-- Raised by install and by restore: readers drop what an older epoch said.
create table installation (
    only_one boolean primary key default true check (only_one),
    epoch int not null,
    -- Which keyring the data were sealed with; another one is refused at start.
    keyring text not null
);
insert into installation (epoch, keyring) values (1, '');

-- A rebuild of the projections that is under way: meanwhile they are kept twice, the new ones in the shadow schema.
create table rebuild (
    only_one boolean primary key default true check (only_one),
    started_at timestamptz not null
);

-- Events that wait for the relay, in the order of commits per key. Rows go when the log has them.
create table outbox (
    id bigint generated always as identity primary key,
    event_id uuid not null,
    type text not null,
    key text not null,
    division text collate "C" not null,
    snapshot boolean not null,
    value bytea not null,
    at timestamptz not null,
    traceparent text not null
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);

-- Events already in effect, by handler; kept longer than the log keeps the event.
create table inbox (
    handler text collate "C" not null,
    source text collate "C" not null,
    event_id uuid not null,
    at timestamptz not null,
    primary key (handler, source, event_id)
);
create index inbox_at on inbox (at);

-- Events that a handler could not digest, and the later events of their keys.
create table parked (
    id bigint generated always as identity primary key,
    handler text collate "C" not null,
    key text not null,
    event_id uuid not null,
    type text not null,
    source text not null,
    division text collate "C" not null,
    value bytea not null,
    at timestamptz not null,
    traceparent text not null,
    error text not null,
    attempts int not null,
    parked_at timestamptz not null,
    unique (handler, source, event_id)
);
create index parked_key on parked (handler, key, id);

-- Answers to writes, so that a repeat is answered and not done again.
create table reply (
    account text collate "C" not null,
    method text collate "C" not null,
    request_id text collate "C" not null,
    digest bytea not null,
    answer bytea not null,
    at timestamptz not null,
    primary key (account, method, request_id)
);
create index reply_at on reply (at);

-- Things that happen by themselves. A generation tells this setting of a timer from an earlier one of the same name.
create sequence timer_generation;
create table timer (
    kind text collate "C" not null,
    key text collate "C" not null,
    due timestamptz not null,
    generation bigint not null default nextval('timer_generation'),
    attempts int not null default 0,
    parked_at timestamptz,
    error text,
    primary key (kind, key)
);
create index timer_due on timer (due) where parked_at is null;

-- One holder at a time; a new holder raises the epoch, so that an old one finds out at its next marking.
create table lease (
    name text primary key,
    owner uuid not null,
    epoch bigint not null,
    until timestamptz not null
);

-- Who did what, in the transaction that did it. Rows are only ever added.
create table audit (
    seq bigint generated always as identity primary key,
    entity text collate "C" not null,
    entity_id uuid not null,
    version int not null,
    at timestamptz not null,
    actor text not null,
    on_behalf text not null,
    action text not null,
    before bytea,
    after bytea not null,
    purpose text not null,
    trace text not null,
    unique (entity_id, version, entity)
);

-- The audit's chain of Merkle blocks: each covers the rows from first to last and names the hash of the block before.
create table audit_block (
    number bigint primary key,
    previous bytea not null,
    root bytea not null,
    rows int not null,
    first bigint not null,
    last bigint not null,
    sealed_at timestamptz not null
);
