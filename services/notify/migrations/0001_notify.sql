-- Messages to people, and what became of them.

-- The directory, as the grid tells it: projections, the newest (epoch, version) of each id.
create table department (
    id uuid primary key,
    epoch bigint not null,
    version bigint not null,
    division text collate "C" not null,
    parent_id uuid,
    active boolean not null
);

create table post (
    id uuid primary key,
    epoch bigint not null,
    version bigint not null,
    department_id uuid not null,
    kind text collate "C" not null,
    holder text collate "C" not null,
    duties jsonb not null,
    people text[] collate "C" not null,
    active boolean not null
);
create index post_department on post (department_id);

create table staff (
    id uuid primary key,
    epoch bigint not null,
    version bigint not null,
    account text collate "C" not null,
    department_id uuid not null,
    absences jsonb not null,
    active boolean not null
);
create index staff_account on staff (account);

-- Intents that were heard: each is in effect once, however often and in however many events it comes.
create table notice (
    id uuid primary key,
    template text collate "C" not null,
    variables jsonb not null,
    subject text collate "C" not null,
    division text collate "C" not null,
    urgency text collate "C" not null,
    expires_at timestamptz,
    requested_at timestamptz not null
);

-- The inboxes.
create table message (
    id uuid primary key,
    intent uuid not null,
    account text collate "C" not null,
    template text collate "C" not null,
    title_zh text not null,
    title_en text not null,
    text_zh text not null,
    text_en text not null,
    subject text collate "C" not null,
    link text not null,
    urgency text collate "C" not null,
    division text collate "C" not null,
    department_id uuid,
    post text collate "C" not null,
    ground text collate "C" not null,
    delivered_at timestamptz not null,
    read_at timestamptz,
    acted_at timestamptz,
    action text collate "C" not null,
    version int not null,
    unique (intent, account)
);
create index message_inbox on message (account, id);
create index message_unread on message (account, id) where read_at is null;

-- Where messages to a department also go. url and secret are sealed.
create table endpoint (
    id uuid primary key,
    department_id uuid not null,
    division text collate "C" not null,
    county text collate "C" not null generated always as (left(division, 6)) stored,
    township text collate "C" not null generated always as (left(division, 9)) stored,
    channel text collate "C" not null,
    address text not null,
    url bytea not null,
    secret bytea not null,
    active boolean not null,
    version int not null
);
create index endpoint_department on endpoint (department_id) where active;
create index endpoint_county on endpoint (county, id);
create index endpoint_township on endpoint (township, id);
create index endpoint_division on endpoint (division, id);

-- Notices on their way out of the platform, and those for whose post nobody was found.
create table delivery (
    id uuid primary key,
    intent uuid not null,
    channel text collate "C" not null,
    recipient text collate "C" not null,
    endpoint_id uuid,
    department_id uuid,
    post text collate "C" not null,
    account text collate "C" not null,
    template text collate "C" not null,
    subject text collate "C" not null,
    division text collate "C" not null,
    county text collate "C" not null generated always as (left(division, 6)) stored,
    township text collate "C" not null generated always as (left(division, 9)) stored,
    urgency text collate "C" not null,
    state text collate "C" not null,
    created_at timestamptz not null,
    traceparent text collate "C" not null,
    next_at timestamptz,
    expires_at timestamptz,
    delivered_at timestamptz,
    reason text collate "C" not null,
    attempts int not null,
    possible_repeat boolean not null,
    version int not null,
    unique (intent, channel, recipient)
);
create index delivery_due on delivery (next_at) where state in ('pending', 'failed');
create index delivery_state on delivery (state, id) where state <> 'delivered';
create index delivery_county on delivery (county, id);
create index delivery_township on delivery (township, id);
create index delivery_division on delivery (division, id);

-- Calls to providers: a row before each call, completed after it.
create table attempt (
    delivery_id uuid not null,
    number int not null,
    begun_at timestamptz not null,
    ended_at timestamptz,
    outcome text collate "C" not null,
    reason text collate "C" not null,
    primary key (delivery_id, number)
);
