-- The embedded event log. Offsets have no gaps and follow commits, because an append locks its partition's row.

create table partition (
    topic text collate "C" not null,
    number int not null,
    next_offset bigint not null default 0,
    primary key (topic, number)
);

create table record (
    topic text collate "C" not null,
    partition int not null,
    "offset" bigint not null,
    event_id uuid not null,
    type text not null,
    source text not null,
    key text not null,
    division text collate "C" not null,
    snapshot boolean not null,
    value bytea not null,
    at timestamptz not null,
    traceparent text not null,
    primary key (topic, partition, "offset")
);
create unique index record_event on record (event_id);
create index record_at on record (at);

-- How far each group has come: the next offset that it wants.
create table position (
    consumer_group text collate "C" not null,
    topic text collate "C" not null,
    partition int not null,
    "offset" bigint not null,
    primary key (consumer_group, topic, partition)
);

-- Who of a group reads a partition, until when.
create table assignment (
    consumer_group text collate "C" not null,
    topic text collate "C" not null,
    partition int not null,
    owner uuid not null,
    until timestamptz not null,
    primary key (consumer_group, topic, partition)
);

-- The readers of a group, so that each can tell its fair share of the partitions.
create table member (
    consumer_group text collate "C" not null,
    owner uuid not null,
    until timestamptz not null,
    primary key (consumer_group, owner)
);

-- Appends to one partition what it does not have yet, in the order given. Returns how many rows are new.
create function append(
    to_topic text, to_partition int, event_ids uuid[], types text[], sources text[], keys text[], divisions text[],
    snapshots boolean[], contents bytea[], times timestamptz[], traceparents text[]
) returns int language plpgsql as $$
declare
    first_offset bigint;
    added int;
begin
    select next_offset into strict first_offset from partition where topic = to_topic and number = to_partition for no key update;
    insert into record (topic, partition, "offset", event_id, type, source, key, division, snapshot, value, at, traceparent)
    select to_topic, to_partition, first_offset - 1 + row_number() over (order by e.nth),
           e.event_id, e.type, e.source, e.key, e.division, e.snapshot, e.value, e.at, e.traceparent
    from unnest(event_ids, types, sources, keys, divisions, snapshots, contents, times, traceparents) with ordinality
        as e (event_id, type, source, key, division, snapshot, value, at, traceparent, nth)
    where not exists (select from record r where r.event_id = e.event_id);
    get diagnostics added = row_count;
    update partition set next_offset = first_offset + added where topic = to_topic and number = to_partition;
    return added;
end
$$;
