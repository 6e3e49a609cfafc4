-- What was answered to calls that may be made again: claims with their job, all others here.
CREATE TABLE answer (
    id TEXT NOT NULL,
    call TEXT NOT NULL,
    told TEXT NOT NULL,
    at DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (id)
);
CREATE INDEX answer_by_time ON answer (at);
ALTER TABLE member ADD COLUMN claim TEXT;
CREATE INDEX member_by_claim ON member (claim);
