-- Version 6: the best job may be that of the highest mean of its last scores; before, of one score.
ALTER TABLE study ADD COLUMN best_scores INTEGER;
UPDATE study SET best_scores = 1 WHERE best_score IS NOT NULL;
