"""A simulated world for the real journal: processes and threads, clocks, file systems and an object store.

The code under test runs as it is, in greenlets instead of threads. What it asks of the system (`os`, `time`,
`threading`, obstore) is answered here, and each such call is where another thread may run, a process may be killed or
suspended, or the answer may be an error. All is drawn from one seed, which replays the run.
"""
