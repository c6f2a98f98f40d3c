-- what an audience remembers, of the first version, as it was before files carried a version
create table desired (
    person_key varchar, identifier varchar, payload varchar, payload_hash varchar, hold boolean, rule_version integer,
    snapshot varchar, consent_basis varchar, consent_decided_at timestamptz, as_of timestamptz, address_hash varchar);
create table decision (person_key varchar, reasons varchar[], asked boolean, as_of timestamptz, rule_version integer);
create table quote (
    person_key varchar, offer_id varchar, amount decimal(38, 6), currency varchar, issued_as_of timestamptz,
    issued_on date, expires_on date, share decimal(5, 4), rule_version integer);
create table engagement (
    person_key varchar, address_hash varchar, first_sent_as_of timestamptz, left_as_of timestamptz);
create table arm (
    person_key varchar, salt varchar, is_held_out boolean, assigned_as_of timestamptz, rule_version integer);
insert into decision values ('p9', ['opt_out'], true, '2026-06-30 12:00:00+00', 1);
insert into quote values
    ('p1', 'o1', 123.45, 'NGN', '2026-06-30 12:00:00+00', '2026-06-30', '2026-07-30', 0.6, 1);
insert into engagement values ('p1', 'x', '2026-06-30 12:00:00+00', null);
insert into arm values ('p1', 'salt', false, '2026-06-30 12:00:00+00', 1);
