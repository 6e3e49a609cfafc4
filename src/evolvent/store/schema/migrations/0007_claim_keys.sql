-- Version 7: most claims have no key, and those need not be found again.
DROP INDEX member_by_claim;
CREATE INDEX member_by_claim ON member (claim) WHERE claim IS NOT NULL;
