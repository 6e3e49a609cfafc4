-- Version 8: what people did to a study is told. What was done before, nobody noted.
CREATE TABLE intervention (
    id INTEGER NOT NULL PRIMARY KEY,
    study INTEGER NOT NULL,
    at DOUBLE NOT NULL,
    kind TEXT NOT NULL,
    facts TEXT NOT NULL,
    by TEXT NOT NULL
);
CREATE INDEX intervention_by_study ON intervention (study, id);
