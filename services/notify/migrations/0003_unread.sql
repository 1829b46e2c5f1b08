-- hetao: concurrently
-- What a person has not read: what a bundle is made of, and what is left of one.
create index concurrently if not exists message_unbundled on message (account, id) where read_at is null and bundle is null;
create index concurrently if not exists message_bundle on message (bundle) where bundle is not null and read_at is null;
