-- Version 4: why a job exists, as a fact beside the words. Those of older rows are read out of the
-- words, here and in `store.codec.records.cause` only. An underscore stands for a semicolon, which
-- would end the statement.
ALTER TABLE member ADD COLUMN cause TEXT NOT NULL DEFAULT 'unknown';
ALTER TABLE job ADD COLUMN cause TEXT NOT NULL DEFAULT 'unknown';
UPDATE member SET cause = CASE
    WHEN state = 'waiting' OR reason = 'rounds done' THEN 'undecided'
    WHEN state = 'ended' THEN 'stopped'
    WHEN reason = 'drawn from the space' THEN 'drawn'
    WHEN reason = 'given by hand' THEN 'given'
    WHEN reason LIKE 'given by hand: %_ the rest drawn from the space' THEN 'given_in_part'
    WHEN reason = 'given by hand, trained already' THEN 'pushed'
    WHEN reason LIKE 'starts again: all members had failed%' THEN 'restarted'
    WHEN reason LIKE '%_ started from %, the nearest sound ancestor' THEN 'fell_back'
    WHEN round = 0 OR parent_member IS NULL THEN 'unknown'
    WHEN parent_member = member THEN 'kept'
    ELSE 'copied' END;
UPDATE job SET cause = CASE
    WHEN reason = 'drawn from the space' THEN 'drawn'
    WHEN reason = 'given by hand' THEN 'given'
    WHEN reason LIKE 'given by hand: %_ the rest drawn from the space' THEN 'given_in_part'
    WHEN reason = 'given by hand, trained already' THEN 'pushed'
    WHEN reason LIKE 'starts again: all members had failed%' THEN 'restarted'
    WHEN reason LIKE '%_ started from %, the nearest sound ancestor' THEN 'fell_back'
    WHEN round = 0 OR parent_member IS NULL THEN 'unknown'
    WHEN parent_member = member THEN 'kept'
    ELSE 'copied' END;
