"""`sweep open`: runs as live pages in a browser, read-only, on the loopback interface and with a token.

`followed_runs` reads the journals in this process, so that a sweep's driver has no part in it. `layout`, `run_list`,
`run_page`, `trial_page` and `trial_table` write the pages from the report's own parts, `routes` answers requests with
them, and `event_stream` sends what has changed. `access` and `page_token` say who may read, and `server` runs it all.
"""
