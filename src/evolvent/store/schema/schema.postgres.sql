-- The tables of a store on a PostgreSQL server, as the newest version has them.
-- schema.sqlite.sql says the same for SQLite: change both, raise VERSION in migrate.py, and
-- write the steps that lead to it: migrations/NNNN_*.sql.
--
-- Times are seconds since 1970 on the store's clock. JSON is kept as text, because numbers must
-- come back bit for bit. A checkpoint is named by its content address. Scores: higher is better.

-- One row: the version of these tables. An evolvent that knows only older ones refuses the store.
CREATE TABLE schema_version (
    version INTEGER NOT NULL
);

-- One row for each study: its settings, and what changes while it runs.
CREATE TABLE study (
    -- A sequence: no study gets the number of a removed one, which workers may still name.
    id SERIAL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    -- Grows with every change of the settings: caches of other processes read them anew.
    epoch INTEGER NOT NULL,
    -- Why nothing of it is given out: words for people; NULL while it runs.
    stopped TEXT,
    -- Who stopped it: hand, target (the wanted score is reached), or import; NULL while it runs.
    stopped_by TEXT,
    -- The job with the best score, or mean of its last scores; of equal ones the lowest round, then
    -- the lowest member.
    best_member INTEGER,
    best_round INTEGER,
    best_score DOUBLE PRECISION,
    best_checkpoint TEXT,
    created_at DOUBLE PRECISION NOT NULL,
    -- When its first job was claimed.
    started_at DOUBLE PRECISION,
    -- How many scores best_score is the mean of. Added by version 6.
    best_scores INTEGER,
    -- JSON of the settings. Last: what lies behind so long a text is slower to reach.
    record TEXT NOT NULL
);

-- The head of each member: its one open job, or why it has none.
CREATE TABLE member (
    -- study * 2**32 + member: one short path to a head.
    id BIGINT PRIMARY KEY,
    study INTEGER NOT NULL,
    -- Numbered from 0 in each study.
    member INTEGER NOT NULL,
    -- Of the open job, or of the next one; from 0.
    round INTEGER NOT NULL,
    -- queued, running, waiting (for the others, or for a healthy donor) or ended.
    state TEXT NOT NULL,
    -- JSON: those of the open job.
    hyperparameters TEXT NOT NULL,
    -- The job whose checkpoint the open one starts from; NULL for a start from nothing.
    parent_member INTEGER,
    parent_round INTEGER,
    -- That of the parent.
    checkpoint TEXT,
    -- Why these hyperparameters and this parent: words for people.
    reason TEXT NOT NULL,
    -- How often the open job was given out; fences off whoever had it before.
    attempt INTEGER NOT NULL,
    -- How many attempts at the open job lost their worker.
    losses INTEGER NOT NULL,
    -- In how many of them training raised an error.
    failures INTEGER NOT NULL,
    -- Until when the worker has the open job, unless it prolongs.
    lease_until DOUBLE PRECISION,
    worker TEXT,
    -- Of the attempt that runs.
    started_at DOUBLE PRECISION,
    -- What the newest attempt at the open job came to nothing by.
    error TEXT,
    -- The key of the claim that gave the open job out: made again, it is answered the same.
    claim TEXT,
    -- The same as one of a few facts: core.records.Cause. Here, since version 4 added it at the end.
    cause TEXT NOT NULL DEFAULT 'unknown',
    -- Where the open job starts from another member's: that of its own newest job, which others may
    -- copy until it reports again. Added by version 5.
    own_checkpoint TEXT
) WITH (
    -- Few rows that change all the time: claims would read through what they have been before.
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 500,
    autovacuum_vacuum_cost_delay = 0
);
-- The checkpoints that heads start from: they are kept.
CREATE INDEX member_by_checkpoint ON member (study, checkpoint);
-- Those of members that copy, likewise.
CREATE INDEX member_by_own_checkpoint ON member (study, own_checkpoint)
WHERE own_checkpoint IS NOT NULL;
-- A claim that is made again.
CREATE INDEX member_by_claim ON member (claim) WHERE claim IS NOT NULL;
-- The next job to give out, and leases that have expired, without a look at the rows.
CREATE INDEX member_by_state ON member (study, state, round, member, lease_until);

-- The log: finished jobs, never changed.
CREATE TABLE job (
    -- study * 2**32 + line, from line 1: a log lies together, in order.
    id BIGINT PRIMARY KEY,
    study INTEGER NOT NULL,
    member INTEGER NOT NULL,
    round INTEGER NOT NULL,
    -- done or failed.
    state TEXT NOT NULL,
    -- NULL for a failed job.
    score DOUBLE PRECISION,
    -- JSON: what it trained with.
    hyperparameters TEXT NOT NULL,
    -- JSON: all that training returned; may hold NaN and infinities.
    metrics TEXT NOT NULL,
    -- What it saved; NULL for a failed job.
    checkpoint TEXT,
    -- The job that it started from; NULL for a start from nothing.
    parent_member INTEGER,
    parent_round INTEGER,
    parent_checkpoint TEXT,
    -- The one that counts, from 1.
    attempt INTEGER NOT NULL,
    -- Why these hyperparameters and this parent: words for people.
    reason TEXT NOT NULL,
    -- Why it failed: one line.
    error TEXT,
    worker TEXT,
    started_at DOUBLE PRECISION,
    finished_at DOUBLE PRECISION NOT NULL,
    -- The same as one of a few facts: core.records.Cause. Here, since version 4 added it at the end.
    cause TEXT NOT NULL DEFAULT 'unknown'
);
-- A job by its name; also keeps it from being counted twice.
CREATE UNIQUE INDEX job_by_member ON job (study, member, round);
-- The few that failed, to count them without reading the log.
CREATE INDEX job_failed ON job (study) WHERE state = 'failed';

-- What training logged within its rounds, attempt by attempt.
CREATE TABLE point (
    id BIGSERIAL PRIMARY KEY,
    study INTEGER NOT NULL,
    member INTEGER NOT NULL,
    round INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    -- Where in training, in the unit of the training code.
    step DOUBLE PRECISION NOT NULL,
    -- JSON; may hold NaN and infinities.
    metrics TEXT NOT NULL
);
-- The points of a job, or of a member.
CREATE INDEX point_by_job ON point (study, member, round);

-- Attempts that came to nothing.
CREATE TABLE failure (
    id BIGSERIAL PRIMARY KEY,
    study INTEGER NOT NULL,
    member INTEGER NOT NULL,
    round INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    -- raised, invalid, damaged, lost or returned: see FailureKind.
    kind TEXT NOT NULL,
    -- One line.
    message TEXT NOT NULL,
    traceback TEXT,
    worker TEXT NOT NULL,
    at DOUBLE PRECISION NOT NULL
);
-- The newest of a study.
CREATE INDEX failure_by_study ON failure (study, id);

-- What people did to a study, beside its log. Added by version 8.
CREATE TABLE intervention (
    id BIGSERIAL PRIMARY KEY,
    study INTEGER NOT NULL,
    at DOUBLE PRECISION NOT NULL,
    -- extended, retargeted, stopped, resumed or pushed: see InterventionKind.
    kind TEXT NOT NULL,
    -- JSON: what it was and what it is now, why, or which job.
    facts TEXT NOT NULL,
    -- Who: user@host, or the name of a token.
    by TEXT NOT NULL
);
-- The newest of a study.
CREATE INDEX intervention_by_study ON intervention (study, id);

-- Jobs whose checkpoints the user wants kept.
CREATE TABLE pin (
    study INTEGER NOT NULL,
    member INTEGER NOT NULL,
    round INTEGER NOT NULL,
    checkpoint TEXT NOT NULL,
    PRIMARY KEY (study, member, round)
);
-- Whether a checkpoint is kept for a pin.
CREATE INDEX pin_by_checkpoint ON pin (study, checkpoint);

-- What was answered to calls with a key, which are made again when the answer was lost. A claim is
-- not here: its key is with the head that it gave out.
CREATE TABLE answer (
    -- The key.
    id TEXT PRIMARY KEY,
    -- Name and hash of the call: another call with this key is refused.
    call TEXT NOT NULL,
    -- JSON of the answer.
    told TEXT NOT NULL,
    -- When: it is forgotten an hour later.
    at DOUBLE PRECISION NOT NULL
);
-- Those old enough to forget.
CREATE INDEX answer_by_time ON answer (at);

-- Who may use the service.
CREATE TABLE token (
    -- The start of the hash, so that a token finds its row; no secret.
    id TEXT PRIMARY KEY,
    -- SHA-256 of the token, hexadecimal; the token itself is nowhere.
    hash TEXT NOT NULL,
    -- For people: whose it is, or what for.
    name TEXT NOT NULL,
    -- viewer, worker or admin.
    role TEXT NOT NULL,
    -- Name of the only study that it opens; NULL for all.
    study TEXT,
    created_at DOUBLE PRECISION NOT NULL,
    -- NULL for never.
    expires_at DOUBLE PRECISION,
    revoked_at DOUBLE PRECISION
);

-- Browsers that signed in with a token, and count for no longer than it does.
CREATE TABLE session (
    -- The start of the hash.
    id TEXT PRIMARY KEY,
    -- SHA-256 of what the browser's cookie holds, hexadecimal.
    hash TEXT NOT NULL,
    -- Id of the token.
    token TEXT NOT NULL,
    created_at DOUBLE PRECISION NOT NULL,
    expires_at DOUBLE PRECISION NOT NULL
);
-- Those to sign out when their token is revoked.
CREATE INDEX session_by_token ON session (token);

-- One row: under which name the checkpoints of this store lie, and where they were first made. A
-- SQLite file needs none: they lie beside it.
CREATE TABLE place (
    -- Name of the directory, below the one that the user names.
    id TEXT NOT NULL,
    -- HOST:PATH; NULL until the first checkpoint. A worker that finds none there is told so.
    made_at TEXT
);
