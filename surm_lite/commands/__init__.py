"""The command line: one file a sub-command of `surm-lite`."""
