-- Blind indexes of the parties' telephones and numbers, so that somebody who calls is found. Parties that were there before are filled in by the
-- running service; `party_key_fill` says how far that is.
create table party_key (
    key bytea not null,
    case_id uuid not null,
    party_id uuid not null,
    primary key (key, case_id, party_id)
);
create table party_key_fill (
    id int primary key check (id = 1),
    after uuid not null
);
insert into party_key_fill (id, after) values (1, '00000000-0000-0000-0000-000000000000');

-- Every search by a party's telephone or number. What was looked for is not kept.
create table party_search (
    id uuid primary key,
    account text not null,
    at timestamptz not null,
    by text not null,
    found int not null,
    version int not null
);
