-- What was answered to calls that may be made again: claims with their job, all others here.
CREATE TABLE answer (
    id TEXT NOT NULL,
    call TEXT NOT NULL,
    told TEXT NOT NULL,
    at DOUBLE NOT NULL,
    PRIMARY KEY (id)
) WITHOUT ROWID;
CREATE INDEX answer_by_time ON answer (at);
ALTER TABLE member RENAME TO member_before;
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
INSERT INTO member SELECT *, NULL FROM member_before;
DROP TABLE member_before;
CREATE INDEX member_by_checkpoint ON member (study, checkpoint);
CREATE INDEX member_by_claim ON member (claim);
CREATE INDEX member_by_state ON member (study, state, round, member, lease_until);
