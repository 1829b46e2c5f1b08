-- What centres and departments are called in English, for the sentences of the timeline.
alter table centre add column name_en text not null default '';
alter table department add column name_en text not null default '';
alter table task add column department_name_en text not null default '';
