-- Kinds of posts are spelt as the contract of the directory spells them.
update post set kind = replace(kind, '-', '_') where kind like '%-%';
update delivery set post = replace(post, '-', '_') where post like '%-%';
update message set post = replace(post, '-', '_') where post like '%-%';
