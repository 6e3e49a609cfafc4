"""The log as tables: of jobs and of metrics, for pandas, polars, Arrow and files."""
