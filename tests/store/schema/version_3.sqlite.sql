-- Version 3 as it was first made, whatever the newest is: never to be edited.
CREATE TABLE answer (
    id TEXT NOT NULL,
    call TEXT NOT NULL,
    told TEXT NOT NULL,
    at DOUBLE NOT NULL,
    PRIMARY KEY (id)
)
 WITHOUT ROWID;
CREATE INDEX answer_by_time ON answer (at);
CREATE TABLE failure (
    id INTEGER NOT NULL,
    study INTEGER NOT NULL,
    member INTEGER NOT NULL,
    round INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    kind TEXT NOT NULL,
    message TEXT NOT NULL,
    traceback TEXT,
    worker TEXT NOT NULL,
    at DOUBLE NOT NULL,
    PRIMARY KEY (id)
);
CREATE INDEX failure_by_study ON failure (study, id);
CREATE TABLE job (
    id INTEGER NOT NULL,
    study INTEGER NOT NULL,
    member INTEGER NOT NULL,
    round INTEGER NOT NULL,
    state TEXT NOT NULL,
    score DOUBLE,
    hyperparameters TEXT NOT NULL,
    metrics TEXT NOT NULL,
    checkpoint TEXT,
    parent_member INTEGER,
    parent_round INTEGER,
    parent_checkpoint TEXT,
    attempt INTEGER NOT NULL,
    reason TEXT NOT NULL,
    error TEXT,
    worker TEXT,
    started_at DOUBLE,
    finished_at DOUBLE NOT NULL,
    kept INTEGER NOT NULL,
    PRIMARY KEY (id)
);
CREATE UNIQUE INDEX job_by_member ON job (study, member, round);
CREATE INDEX job_failed ON job (study) WHERE state = 'failed';
CREATE TABLE member (
    id INTEGER NOT NULL,
    study INTEGER NOT NULL,
    member INTEGER NOT NULL,
    round INTEGER NOT NULL,
    state TEXT NOT NULL,
    hyperparameters TEXT NOT NULL,
    parent_member INTEGER,
    parent_round INTEGER,
    checkpoint TEXT,
    reason TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    losses INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    lease_until DOUBLE,
    worker TEXT,
    started_at DOUBLE,
    error TEXT,
    claim TEXT,
    PRIMARY KEY (id)
);
CREATE INDEX member_by_checkpoint ON member (study, checkpoint);
CREATE INDEX member_by_claim ON member (claim);
CREATE INDEX member_by_state ON member (study, state, round, member, lease_until);
CREATE TABLE pin (
    study INTEGER NOT NULL,
    member INTEGER NOT NULL,
    round INTEGER NOT NULL,
    checkpoint TEXT NOT NULL,
    PRIMARY KEY (study, member, round)
)
 WITHOUT ROWID;
CREATE INDEX pin_by_checkpoint ON pin (study, checkpoint);
CREATE TABLE point (
    id INTEGER NOT NULL,
    study INTEGER NOT NULL,
    member INTEGER NOT NULL,
    round INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    step DOUBLE NOT NULL,
    metrics TEXT NOT NULL,
    PRIMARY KEY (id)
);
CREATE INDEX point_by_job ON point (study, member, round);
CREATE TABLE schema_version (
    version INTEGER NOT NULL
);
CREATE TABLE session (
    id TEXT NOT NULL,
    hash TEXT NOT NULL,
    token TEXT NOT NULL,
    created_at DOUBLE NOT NULL,
    expires_at DOUBLE NOT NULL,
    PRIMARY KEY (id)
);
CREATE INDEX session_by_token ON session (token);
CREATE TABLE study (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    stopped TEXT,
    stopped_by TEXT,
    best_member INTEGER,
    best_round INTEGER,
    best_score DOUBLE,
    best_checkpoint TEXT,
    created_at DOUBLE NOT NULL,
    started_at DOUBLE,
    record TEXT NOT NULL,
    UNIQUE (name)
);
CREATE TABLE token (
    id TEXT NOT NULL,
    hash TEXT NOT NULL,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    study TEXT,
    created_at DOUBLE NOT NULL,
    expires_at DOUBLE,
    revoked_at DOUBLE,
    PRIMARY KEY (id)
);
