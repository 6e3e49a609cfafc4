-- Who may use the service: hashes of tokens, and of the browsers that signed in with one.
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
CREATE TABLE session (
    id TEXT NOT NULL,
    hash TEXT NOT NULL,
    token TEXT NOT NULL,
    created_at DOUBLE NOT NULL,
    expires_at DOUBLE NOT NULL,
    PRIMARY KEY (id)
);
CREATE INDEX session_by_token ON session (token);
