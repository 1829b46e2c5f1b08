-- Why a centre did not accept what was handed over, and the right channel that it named.
alter table handover
    add column answer_ground text not null default '',
    add column answer_ground_zh text not null default '',
    add column answer_ground_en text not null default '',
    add column answer_channel text not null default '';
