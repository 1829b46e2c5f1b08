create table thing (
    id uuid primary key,
    division text collate "C" not null,
    title text not null,
    version int not null
);
create table heard (
    n bigint generated always as identity primary key,
    thing_id uuid not null,
    version int not null,
    title text not null
);
create table newest (
    id uuid primary key,
    epoch int not null,
    version int not null,
    title text not null
);
create table fired (
    n bigint generated always as identity primary key,
    key text not null,
    at timestamptz not null default clock_timestamp()
);
