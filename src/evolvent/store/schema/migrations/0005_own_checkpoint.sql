-- Version 5: a member decides when its round begins, and its own newest checkpoint can be copied
-- until it reports again, though it trains on from another. What had been decided before, stays.
ALTER TABLE member ADD COLUMN own_checkpoint TEXT;
CREATE INDEX member_by_own_checkpoint ON member (study, own_checkpoint)
WHERE own_checkpoint IS NOT NULL;
ALTER TABLE job DROP COLUMN kept;
