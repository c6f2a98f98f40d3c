BEGIN TRANSACTION;
CREATE TABLE alert (
	id INTEGER NOT NULL, 
	fingerprint TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	rule TEXT NOT NULL, 
	entity TEXT NOT NULL, 
	entity_key JSON NOT NULL, 
	state TEXT NOT NULL, 
	severity TEXT NOT NULL, 
	accepted_severity TEXT, 
	episode INTEGER NOT NULL, 
	version INTEGER NOT NULL, 
	baseline BOOLEAN NOT NULL, 
	value TEXT, 
	threshold TEXT, 
	deviance TEXT, 
	details JSON NOT NULL, 
	first_opened_at DATETIME NOT NULL, 
	opened_at DATETIME NOT NULL, 
	open_since DATETIME NOT NULL, 
	acknowledged_at DATETIME, 
	snoozed_at DATETIME, 
	snoozed_until DATETIME, 
	resolved_at DATETIME, 
	resolved_by TEXT, 
	notified_episode INTEGER, 
	notified_severity TEXT, 
	notified_at DATETIME, 
	notified_firing BOOLEAN, 
	assignee TEXT, 
	note TEXT, 
	handled_by TEXT, 
	CONSTRAINT pk_alert PRIMARY KEY (id), 
	CONSTRAINT uq_alert_fingerprint UNIQUE (fingerprint)
);
INSERT INTO "alert" VALUES(1,'f1','data','late','7','{"loan_id": 7}','open','warning',NULL,2,3,0,NULL,NULL,NULL,'{}','2026-06-30 12:00:00.000000','2026-06-30 12:00:00.000000','2026-06-30 12:00:00.000000',NULL,NULL,NULL,NULL,NULL,2,'warning','2026-06-30 12:00:00.000000',1,NULL,NULL,NULL);
CREATE TABLE alert_event (
	id INTEGER NOT NULL, 
	alert_id INTEGER NOT NULL, 
	occurred_at DATETIME NOT NULL, 
	episode INTEGER NOT NULL, 
	event TEXT NOT NULL, 
	actor TEXT NOT NULL, 
	reason TEXT, 
	CONSTRAINT pk_alert_event PRIMARY KEY (id), 
	CONSTRAINT fk_alert_event_alert_id FOREIGN KEY(alert_id) REFERENCES alert (id)
);
CREATE TABLE audit (
	id INTEGER NOT NULL, 
	occurred_at DATETIME NOT NULL, 
	actor TEXT NOT NULL, 
	action TEXT NOT NULL, 
	subject TEXT NOT NULL, 
	details JSON NOT NULL, 
	CONSTRAINT pk_audit PRIMARY KEY (id)
);
CREATE TABLE cursor (
	name TEXT NOT NULL, 
	value TEXT NOT NULL, 
	updated_wall DATETIME NOT NULL, 
	CONSTRAINT pk_cursor PRIMARY KEY (name)
);
INSERT INTO "cursor" VALUES('dagster_event_log','{}','2026-06-30 12:00:00.000000');
CREATE TABLE finding (
	id INTEGER NOT NULL, 
	rule TEXT NOT NULL, 
	entity TEXT NOT NULL, 
	entity_key JSON NOT NULL, 
	severity TEXT NOT NULL, 
	value TEXT, 
	threshold TEXT, 
	deviance TEXT, 
	details JSON NOT NULL, 
	occurred_at DATETIME, 
	firing BOOLEAN NOT NULL, 
	unseen BOOLEAN NOT NULL, 
	first_seen_at DATETIME NOT NULL, 
	last_seen_at DATETIME NOT NULL, 
	cleared_at DATETIME, 
	evaluation_id INTEGER NOT NULL, 
	CONSTRAINT pk_finding PRIMARY KEY (id), 
	CONSTRAINT fk_finding_evaluation_id FOREIGN KEY(evaluation_id) REFERENCES rule_evaluation (id), 
	CONSTRAINT uq_finding_rule_entity UNIQUE (rule, entity)
);
CREATE TABLE notification (
	id INTEGER NOT NULL, 
	alert_id INTEGER NOT NULL, 
	episode INTEGER NOT NULL, 
	decided_at DATETIME NOT NULL, 
	decision TEXT NOT NULL, 
	reason TEXT NOT NULL, 
	receiver TEXT, 
	outbox_id INTEGER, 
	CONSTRAINT pk_notification PRIMARY KEY (id), 
	CONSTRAINT fk_notification_alert_id FOREIGN KEY(alert_id) REFERENCES alert (id), 
	CONSTRAINT fk_notification_outbox_id FOREIGN KEY(outbox_id) REFERENCES outbox (id)
);
INSERT INTO "notification" VALUES(1,1,2,'2026-06-30 12:00:00.000000','planned','new','ops',1);
CREATE TABLE ops_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT ops_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "ops_version" VALUES('0001');
CREATE TABLE outbox (
	id INTEGER NOT NULL, 
	uid TEXT NOT NULL, 
	dedup_key TEXT NOT NULL, 
	channel TEXT NOT NULL, 
	target TEXT, 
	kind TEXT NOT NULL, 
	payload JSON NOT NULL, 
	thread_key TEXT, 
	parent_id INTEGER, 
	state TEXT NOT NULL, 
	reason TEXT, 
	attempts INTEGER NOT NULL, 
	created_as_of DATETIME NOT NULL, 
	sent_as_of DATETIME, 
	created_wall DATETIME NOT NULL, 
	attempted_wall DATETIME, 
	not_before_wall DATETIME, 
	external_channel TEXT, 
	external_id TEXT, 
	CONSTRAINT pk_outbox PRIMARY KEY (id), 
	CONSTRAINT fk_outbox_parent_id FOREIGN KEY(parent_id) REFERENCES outbox (id), 
	CONSTRAINT uq_outbox_dedup_key UNIQUE (dedup_key), 
	CONSTRAINT uq_outbox_uid UNIQUE (uid)
);
INSERT INTO "outbox" VALUES(1,'u1','d1','slack',NULL,'alert','{"text": "A loan is late", "blocks": []}',NULL,NULL,'sent',NULL,1,'2026-06-30 12:00:00.000000','2026-06-30 12:00:00.000000','2026-06-30 12:00:00.000000',NULL,NULL,'C1','1.0');
CREATE TABLE pipeline_failure (
	"key" TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	message TEXT NOT NULL, 
	link TEXT, 
	rules JSON NOT NULL, 
	sources JSON NOT NULL, 
	datasets JSON NOT NULL, 
	occurrences INTEGER NOT NULL, 
	unseen BOOLEAN NOT NULL, 
	first_seen_at DATETIME NOT NULL, 
	last_seen_at DATETIME NOT NULL, 
	resolved_at DATETIME, 
	CONSTRAINT pk_pipeline_failure PRIMARY KEY ("key")
);
CREATE TABLE rule_evaluation (
	id INTEGER NOT NULL, 
	rule TEXT NOT NULL, 
	rule_version TEXT NOT NULL, 
	as_of DATETIME NOT NULL, 
	outcome TEXT NOT NULL, 
	reason TEXT, 
	findings INTEGER NOT NULL, 
	new_findings INTEGER NOT NULL, 
	cleared_findings INTEGER NOT NULL, 
	frozen BOOLEAN NOT NULL, 
	duration_ms INTEGER NOT NULL, 
	advanced_at DATETIME, 
	CONSTRAINT pk_rule_evaluation PRIMARY KEY (id)
);
CREATE TABLE silence (
	id INTEGER NOT NULL, 
	rule TEXT NOT NULL, 
	entity TEXT, 
	starts_at DATETIME NOT NULL, 
	ends_at DATETIME NOT NULL, 
	created_by TEXT NOT NULL, 
	comment TEXT NOT NULL, 
	CONSTRAINT pk_silence PRIMARY KEY (id)
);
CREATE TABLE sync_run (
	id TEXT NOT NULL, 
	audience TEXT NOT NULL, 
	destination TEXT NOT NULL, 
	started_at DATETIME NOT NULL, 
	finished_at DATETIME, 
	as_of DATETIME NOT NULL, 
	outcome TEXT NOT NULL, 
	counts JSON NOT NULL, 
	error TEXT, 
	CONSTRAINT pk_sync_run PRIMARY KEY (id)
);
INSERT INTO "sync_run" VALUES('r1','recovery','drop','2026-06-30 12:00:00.000000','2026-06-30 12:00:00.000000','2026-06-30 12:00:00.000000','done','{"audience_outcome": "done", "candidates": 1, "desired": 1, "held_back": {}, "snapshot": "1"}',NULL);
CREATE INDEX ix_alert_rule_state ON alert (rule, state);
CREATE INDEX ix_outbox_state ON outbox (state);
CREATE INDEX ix_rule_evaluation_rule_id ON rule_evaluation (rule, id);
CREATE INDEX ix_sync_run_audience_destination_started_at ON sync_run (audience, destination, started_at);
CREATE INDEX ix_alert_event_alert_id ON alert_event (alert_id);
CREATE INDEX ix_notification_alert_id ON notification (alert_id);
CREATE INDEX ix_notification_outbox_id ON notification (outbox_id);
COMMIT;
