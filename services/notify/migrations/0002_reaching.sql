-- People who have no account are told by clerks; text messages have receipts; reminders are bundled; what stays unread goes on.

alter table notice add column restricted boolean not null default false;
-- Said by notify itself, not heard in an event.
alter table notice add column own boolean not null default false;

alter table message add column bundle uuid;
alter table message add column escalated int not null default 0;

-- The number that text messages to a person go to. phone is sealed; empty once it was taken away.
create table contact (
    id uuid primary key,
    account text collate "C" not null unique,
    phone bytea not null,
    set_at timestamptz not null,
    version int not null
);

-- What providers of text messages reported, each receipt once. counted: whether it changed the delivery.
create table receipt (
    delivery_id uuid not null,
    receipt_id text collate "C" not null,
    status text collate "C" not null,
    reason text collate "C" not null,
    received_at timestamptz not null,
    counted boolean not null,
    primary key (delivery_id, receipt_id)
);

-- Parties of cases who are to be told by a clerk of the centre. No name, no number: those stand in the case.
create table manual_delivery (
    id uuid primary key,
    intent uuid not null,
    template text collate "C" not null,
    code text collate "C" not null,
    subject text collate "C" not null,
    case_id uuid not null,
    party_id uuid not null,
    party_role text collate "C" not null,
    centre uuid not null,
    division text collate "C" not null,
    restricted boolean not null,
    urgency text collate "C" not null,
    way text collate "C" not null,
    state text collate "C" not null,
    created_at timestamptz not null,
    due_at timestamptz not null,
    overdue_at timestamptz,
    tries int not null,
    taken_by text collate "C" not null,
    taken_at timestamptz,
    completed_at timestamptz,
    reason text collate "C" not null,
    version int not null,
    unique (intent, party_id)
);
create index manual_delivery_due on manual_delivery (centre, due_at, id);
create index manual_delivery_open on manual_delivery (centre, due_at, id) where state in ('waiting', 'taken');
create index manual_delivery_state on manual_delivery (centre, state, due_at, id);
create index manual_delivery_case on manual_delivery (case_id, due_at, id);

-- Tries, each with its proof or the reason why it was in vain. note is sealed.
create table manual_try (
    id uuid primary key,
    delivery_id uuid not null,
    number int not null,
    made_by text collate "C" not null,
    made_at timestamptz not null,
    recorded_at timestamptz not null,
    way text collate "C" not null,
    manner text collate "C" not null,
    reason text collate "C" not null,
    note bytea,
    media_ids text[] not null,
    tracking_number text collate "C" not null,
    version int not null,
    unique (delivery_id, number)
);
