-- What people and grids are called in English.
alter table staff add column title_en text not null default '';
alter table grid add column name_en text not null default '';
