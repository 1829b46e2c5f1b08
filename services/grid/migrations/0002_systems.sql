-- The register: outside systems, their keys, and sessions that count no more. `seq` orders every change of it, in the order of commits.
create table register_clock (
    only_one boolean primary key default true check (only_one),
    seq bigint not null
);
insert into register_clock (seq) values (0);

create table system (
    id uuid primary key,
    account text collate "C" not null unique,
    name text not null,
    name_en text not null,
    division text collate "C" not null,
    divisions text[] not null,
    roles text[] not null,
    quota int not null,
    client_id text not null,
    client_subject text not null,
    certificates text[] not null,
    enabled boolean not null,
    created_at timestamptz not null,
    seq bigint not null,
    version int not null
);
create index system_division on system (division, account);
create unique index system_seq on system (seq);
create unique index system_client on system (client_id) where client_id <> '';
create index system_certificates on system using gin (certificates);

create table system_key (
    id uuid primary key,
    system_id uuid not null references system (id),
    kid text collate "C" not null,
    jwk text not null,
    not_before timestamptz not null,
    not_after timestamptz,
    version int not null,
    unique (system_id, kid)
);

create table revocation (
    id uuid primary key,
    mark text not null,
    account text not null,
    before timestamptz,
    until timestamptz not null,
    seq bigint not null,
    version int not null
);
create unique index revocation_seq on revocation (seq);
create index revocation_until on revocation (until);

-- Assertions and logout tokens that were used, by their digest.
create table used_token (
    digest bytea primary key,
    until timestamptz not null
);
create index used_token_until on used_token (until);
