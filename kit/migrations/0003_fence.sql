-- Stretches of the log that a restore went back behind: events of writes that are gone. The service's consumer passes them over.
create table fence (
    topic text collate "C" not null,
    partition int not null,
    -- Offsets: the first one that is gone, and the one behind the last.
    first bigint not null,
    past bigint not null,
    primary key (topic, partition, first)
);
