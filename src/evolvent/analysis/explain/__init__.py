"""Why a job exists: its decision taken again from the log, in sentences."""
