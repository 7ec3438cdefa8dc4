"""A piece of work in a supervised child process: for native code that may crash, hang or corrupt memory.

`supervisor.Worker` is what others use; `process.Child` is one child process; `child` is what runs in it.
"""
