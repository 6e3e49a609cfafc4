"""Workers on this machine: processes of their own, or this one."""
