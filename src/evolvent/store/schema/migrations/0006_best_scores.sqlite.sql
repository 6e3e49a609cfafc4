-- Version 6: the best job may be that of the highest mean of its last scores; before, of one score.
-- The settings stay last: what lies behind so long a text is slower to reach.
ALTER TABLE study ADD COLUMN best_scores INTEGER;
ALTER TABLE study RENAME COLUMN record TO record_before;
ALTER TABLE study ADD COLUMN record TEXT NOT NULL DEFAULT '';
UPDATE study SET record = record_before;
ALTER TABLE study DROP COLUMN record_before;
UPDATE study SET best_scores = 1 WHERE best_score IS NOT NULL;
