-- What is read for the label is replaced by its pseudonym before anything else sees it.
alter table keel.subjects add column pseudonym boolean not null default false;
