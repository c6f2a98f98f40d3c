-- a destination's delivery ledger of the first version, as it was before files carried a version
create table delivered (
    audience varchar, person_key varchar, identifier varchar, payload varchar, payload_hash varchar, is_member boolean,
    state varchar, rejected_hash varchar, rule_version integer, snapshot varchar, consent_basis varchar,
    consent_decided_at timestamptz, send_id varchar, sent_as_of timestamptz, error varchar);
create table outbox (
    plan_no bigint, audience varchar, person_key varchar, action varchar, membership_unsure boolean, identifier varchar,
    payload varchar, payload_hash varchar, rule_version integer, snapshot varchar, consent_basis varchar,
    consent_decided_at timestamptz, send_id varchar, as_of timestamptz, state varchar, error varchar);
create table remote (audience varchar, name varchar, remote_id varchar, as_of timestamptz);
create table synced (audience varchar, as_of timestamptz, rule_version integer);
insert into delivered values
    ('recovery', 'p1', '+2348000000001', '{"a":1}', 'h1', true, 'confirmed', null, 1, '1', 'crm:sms_consent',
     '2026-03-01 00:00:00+00', 's1', '2026-06-30 12:00:00+00', null),
    ('recovery', 'p2', '+2348000000002', '{"a":2}', null, true, 'unknown', null, 1, '1', 'crm:sms_consent',
     '2026-03-01 00:00:00+00', 's1', '2026-06-30 12:00:00+00', 'no answer');
insert into outbox values
    (1, 'recovery', 'p3', 'add', true, '+2348000000003', '{"a":3}', 'h3', 1, '1', 'crm:sms_consent',
     '2026-03-01 00:00:00+00', 's2', '2026-06-30 12:00:00+00', 'in_flight', null);
insert into remote values ('recovery', 'Recovery', '17', '2026-06-30 12:00:00+00');
insert into synced values ('recovery', '2026-06-30 12:00:00+00', 1);
